//! What a motion model is to the reenactor, whichever kind it is.

use std::{fmt, time::Duration};

use deepfake_kernels::{Affine, Frame, Point, Rect, SampleSpec, Tensor};

use super::{fomm::Fomm, settings::ReenactSettings, x2face::X2Face};
use crate::{
    engine::{precision, BackendReport, Platform},
    manifest::{Crop, Kind, Manifest},
    Error, Result, StageTimes,
};

/// What relative motion starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The kept reference.
    Kept,
    /// The present frame, which is to be kept.
    Here,
    /// Nothing yet.
    Nowhere,
}

/// A model that moves a portrait as a driver moves. What it knows of both it keeps itself, on its device.
///
/// [`drive`](Self::drive) and [`generate`](Self::generate) are a frame's work, which on a GPU is captured as a graph: they
/// neither wait nor look at results, and give the device the same to do if they are called again for the same frame.
pub trait MotionModel: fmt::Debug + Send {
    /// What runs the networks.
    fn report(&self) -> &BackendReport;

    /// What pictures it takes: of the portrait, of the driver, and what it paints is as large.
    fn spec(&self) -> &SampleSpec;

    /// The square about a face that the networks want.
    fn crop(&self) -> &Crop;

    /// How many pictures of a portrait it makes use of.
    fn most_portraits(&self) -> usize;

    /// Takes `pictures` of a portrait, at least one and at most [`most_portraits`](Self::most_portraits), each a tensor
    /// of its own as [`spec`](Self::spec) says. The portrait before stays in use until [`adopt`](Self::adopt).
    ///
    /// # Errors
    /// [`Error::Network`] if a network fails.
    fn encode(&mut self, pictures: &[Tensor], times: &mut StageTimes) -> Result<()>;

    /// Uses the portrait that was encoded last.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn adopt(&mut self) -> Result<()>;

    /// A frame comes `elapsed` after the last; called once for each, before its work.
    fn step(&mut self, _settings: &ReenactSettings, _elapsed: Duration) {}

    /// Forgets how the driver moved: what follows has nothing to do with it.
    fn reset(&mut self) {}

    /// Looks at the driver in the part of `frame` that `map` takes the input to. What was known of the driver before is
    /// kept for [`take_back`](Self::take_back) if `keep`.
    ///
    /// # Errors
    /// [`Error::Network`] if a network fails.
    fn drive(&mut self, frame: &Frame<'_>, map: &Affine, keep: bool, times: &mut StageTimes) -> Result<()>;

    /// Undoes the last [`drive`](Self::drive), which was told to keep what was before.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn take_back(&mut self) -> Result<()>;

    /// Takes the driver as last seen as what relative motion starts from.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn keep_reference(&mut self) -> Result<()> {
        Ok(())
    }

    /// Paints the portrait, moved as the driver was last seen, into `prediction`, planar RGB in 0..1 of the size of
    /// [`spec`](Self::spec).
    ///
    /// # Errors
    /// [`Error::Network`] if a network fails.
    fn generate(
        &mut self,
        settings: &ReenactSettings,
        start: Start,
        prediction: &mut Tensor,
        times: &mut StageTimes,
    ) -> Result<()>;

    /// Key points of what was painted last, `[1, count, 2]` in -1..1, empty before the first; `None` if the model has
    /// none, and so knows no relative motion either.
    fn keypoints(&self) -> Option<&Tensor>;
}

/// Loads a motion model.
///
/// # Errors
/// [`Error::Manifest`] if `manifest` describes a model that animates nothing, and those of [`Platform::load`].
pub fn load(manifest: &Manifest, platform: &Platform) -> Result<Box<dyn MotionModel>> {
    Ok(match manifest.model().kind {
        Kind::Fomm => Box::new(precision::load::<Fomm>(manifest, platform)?),
        Kind::X2face => Box::new(precision::load::<X2Face>(manifest, platform)?),
        kind => {
            return Err(Error::Manifest {
                path: manifest.path().to_owned(),
                reason: format!("a model of kind {kind:?} cannot animate a portrait"),
            })
        }
    })
}

/// Whoever paints a picture relies on its shape.
///
/// # Errors
/// [`Error::Network`] if `picture`, which `network` gave, is none that `spec` describes.
pub fn check_picture(picture: &Tensor, spec: &SampleSpec, network: &str) -> Result<()> {
    let wanted = [1, 3, spec.height, spec.width];
    if picture.shape() == wanted {
        return Ok(());
    }
    Err(Error::Network {
        name: network.into(),
        reason: format!("gave a picture of shape {:?}, not {wanted:?}", picture.shape()),
    })
}

/// From the input to all of `picture`, and to the same turned and moved a little, which makes a driver of it.
pub fn probe_maps(picture: &Frame<'_>, spec: &SampleSpec) -> (Affine, Affine) {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let beside = Point { x: 0.53 * width, y: 0.48 * height };
    (
        Affine::from_rect(Rect::new(0.0, 0.0, width, height), spec.width, spec.height),
        Affine::from_rotated_square(beside, width, 0.1, spec.width),
    )
}
