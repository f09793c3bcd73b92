//! What a user can set while a portrait is being animated.

/// How the driver's motion is put on the portrait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Motion {
    /// Its difference from the reference frame is added to the portrait's own pose.
    #[default]
    Relative,
    /// The portrait takes the driver's key points as they are, shape of the head included.
    Absolute,
}

/// Which driving frame relative motion starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reference {
    /// The first with a face.
    First,
    /// The one whose landmarks are nearest the portrait's, searched for in the first two seconds with a face; until
    /// a better one comes, the best so far. Searched for again when another driver comes, or one comes back.
    #[default]
    Best,
    /// The one that the user names by [`super::Reenactor::calibrate`]; the portrait stays still until then.
    Manual,
}

/// Which part of a picture goes into the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CropMode {
    /// The square about the face that the network was trained on.
    #[default]
    Track,
    /// The largest square in the middle.
    Center,
    /// All of it, squeezed into a square.
    None,
}

/// What is shown while the driver's face is not found. No choice shows the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaceLost {
    /// The last animated picture, or the portrait if there is none yet.
    #[default]
    Hold,
    /// The still portrait.
    Source,
    /// Black.
    Black,
}

/// What the output shows of the portrait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Composition {
    /// The animated crop.
    #[default]
    Portrait,
    /// The portrait's whole picture, with the animated crop in its place.
    Scene,
}

/// The settings of a [`super::Reenactor`].
#[derive(Clone, Debug, PartialEq)]
pub struct ReenactSettings {
    /// How motion is transferred.
    pub motion: Motion,
    /// Whether relative motion is scaled by the ratio of the two faces' sizes.
    pub adapt_scale: bool,
    /// Factor on all motion, 0..3; 0 keeps the portrait still.
    pub motion_scale: f32,
    /// Where relative motion starts from.
    pub reference: Reference,
    /// Smoothing of the key points over time, 0 (none) to 1 (nothing moves): the share of a key point's old position
    /// that is left after a 25th of a second.
    pub smoothing: f32,
    /// Part of the driving frame that is used.
    pub driver_crop: CropMode,
    /// Part of the portrait that is used.
    pub source_crop: CropMode,
    /// What the output shows of the portrait.
    pub composition: Composition,
    /// What is shown without a driver's face.
    pub on_face_lost: FaceLost,
    /// Whether the key points are drawn into the output.
    pub keypoints: bool,
}

impl Default for ReenactSettings {
    fn default() -> Self {
        Self {
            motion: Motion::default(),
            adapt_scale: true,
            motion_scale: 1.0,
            reference: Reference::default(),
            smoothing: 0.3,
            driver_crop: CropMode::default(),
            source_crop: CropMode::default(),
            composition: Composition::default(),
            on_face_lost: FaceLost::default(),
            keypoints: false,
        }
    }
}
