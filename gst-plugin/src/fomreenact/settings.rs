//! The properties of `fomreenact`.

use std::{path::PathBuf, sync::LazyLock};

use deepfake_kernels::CudaDevice;
use deepfake_models::reenact::{self, ReenactSettings, ReenactorOptions};
use gst::{glib, prelude::*};

use crate::engine::{EngineSettings, Listener};

/// How the driver's motion is put on the portrait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFomReenactMotion")]
#[repr(u32)]
pub enum Motion {
    /// What changed since the reference.
    #[default]
    #[enum_value(
        name = "What changed since the reference is added to the portrait's own pose",
        nick = "relative"
    )]
    Relative,
    /// The driver's pose as it is.
    #[enum_value(name = "The portrait takes the driver's pose and shape of the head", nick = "absolute")]
    Absolute,
}

/// Which driving frame relative motion starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFomReenactReference")]
#[repr(u32)]
pub enum Reference {
    /// The first with a face.
    #[enum_value(name = "The first frame with a face", nick = "first")]
    First,
    /// The one nearest to the portrait.
    #[default]
    #[enum_value(
        name = "The frame of the first seconds whose pose is nearest to the portrait's",
        nick = "best"
    )]
    Best,
    /// The one after `calibrate`.
    #[enum_value(name = "The frame after the signal calibrate", nick = "manual")]
    Manual,
}

/// Which part of a picture is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFomReenactCrop")]
#[repr(u32)]
pub enum Crop {
    /// A square about the face.
    #[default]
    #[enum_value(name = "A square about the face", nick = "track")]
    Track,
    /// A square in the middle.
    #[enum_value(name = "The largest square in the middle", nick = "center")]
    Center,
    /// Everything.
    #[enum_value(name = "Everything, squeezed into a square", nick = "none")]
    None,
}

/// What the output shows of the portrait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFomReenactComposition")]
#[repr(u32)]
pub enum Composition {
    /// The crop.
    #[default]
    #[enum_value(name = "The animated crop", nick = "portrait")]
    Portrait,
    /// The picture.
    #[enum_value(name = "The portrait's whole picture, with the animated crop in its place", nick = "scene")]
    Scene,
}

/// What is shown while the driver has no face.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFomReenactFaceLost")]
#[repr(u32)]
pub enum FaceLost {
    /// The last animated picture.
    #[default]
    #[enum_value(name = "The last animated picture, or the portrait if there is none", nick = "hold")]
    Hold,
    /// The portrait.
    #[enum_value(name = "The still portrait", nick = "source")]
    Source,
    /// Nothing.
    #[enum_value(name = "Black", nick = "black")]
    Black,
}

/// How the output says that it is synthetic.
#[glib::flags(name = "GstFomReenactMarking")]
pub enum MarkingFlags {
    /// On every buffer and in the tags of the stream.
    // The bit below is kept for the watermark.
    #[flags_value(name = "Metadata on every buffer, tags on the stream", nick = "metadata")]
    METADATA = 1 << 1,
}

impl Default for MarkingFlags {
    fn default() -> Self {
        Self::METADATA
    }
}

/// What the properties say.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Of one portrait; usually one.
    pub source_locations: Vec<PathBuf>,
    pub model: String,
    pub engine: EngineSettings,
    pub motion: Motion,
    pub adapt_scale: bool,
    pub motion_scale: f32,
    pub reference: Reference,
    pub smoothing: f32,
    pub driver_crop: Crop,
    pub source_crop: Crop,
    pub composition: Composition,
    pub on_face_lost: FaceLost,
    pub keypoints: bool,
    pub marking: MarkingFlags,
    pub bypass: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            source_locations: Vec::new(),
            model: "fomm-lite".into(),
            engine: EngineSettings::default(),
            motion: Motion::default(),
            adapt_scale: true,
            motion_scale: 1.0,
            reference: Reference::default(),
            smoothing: 0.3,
            driver_crop: Crop::default(),
            source_crop: Crop::default(),
            composition: Composition::default(),
            on_face_lost: FaceLost::default(),
            keypoints: false,
            marking: MarkingFlags::default(),
            bypass: false,
        }
    }
}

impl Settings {
    /// Properties that differ from their default and only mean something to a model with key points.
    pub fn about_keypoints(&self) -> Vec<&'static str> {
        let default = Self::default();
        [
            ("motion", self.motion != default.motion),
            ("adapt-scale", self.adapt_scale != default.adapt_scale),
            ("motion-scale", self.motion_scale != default.motion_scale),
            ("reference", self.reference != default.reference),
            ("smoothing", self.smoothing != default.smoothing),
            ("keypoints", self.keypoints != default.keypoints),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect()
    }

    /// What the core is loaded with; see [`EngineSettings::options`].
    pub fn options(&self, cuda: Option<CudaDevice>, listener: &Listener<'_>) -> ReenactorOptions {
        ReenactorOptions { model: self.model.clone(), engine: self.engine.options(cuda, listener) }
    }

    /// What the core may be told.
    pub fn reenact(&self) -> ReenactSettings {
        let crop = |crop| match crop {
            Crop::Track => reenact::CropMode::Track,
            Crop::Center => reenact::CropMode::Center,
            Crop::None => reenact::CropMode::None,
        };
        ReenactSettings {
            motion: match self.motion {
                Motion::Relative => reenact::Motion::Relative,
                Motion::Absolute => reenact::Motion::Absolute,
            },
            adapt_scale: self.adapt_scale,
            motion_scale: self.motion_scale,
            reference: match self.reference {
                Reference::First => reenact::Reference::First,
                Reference::Best => reenact::Reference::Best,
                Reference::Manual => reenact::Reference::Manual,
            },
            smoothing: self.smoothing,
            driver_crop: crop(self.driver_crop),
            source_crop: crop(self.source_crop),
            composition: match self.composition {
                Composition::Portrait => reenact::Composition::Portrait,
                Composition::Scene => reenact::Composition::Scene,
            },
            on_face_lost: match self.on_face_lost {
                FaceLost::Hold => reenact::FaceLost::Hold,
                FaceLost::Source => reenact::FaceLost::Source,
                FaceLost::Black => reenact::FaceLost::Black,
            },
            keypoints: self.keypoints,
        }
    }

    /// Sets a property. GObject has checked name, type and range.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
            value.get().unwrap_or_else(|_| unreachable!("GObject checks types"))
        }
        match name {
            "source-location" => {
                self.source_locations = get::<Option<PathBuf>>(value).into_iter().collect();
            }
            "source-locations" => {
                let paths = get::<gst::ArrayRef<'_>>(value);
                let paths = paths.iter().filter_map(|path| path.get::<Option<PathBuf>>().ok().flatten());
                self.source_locations = paths.collect();
            }
            "model" => {
                self.model = get::<Option<String>>(value).unwrap_or_else(|| Self::default().model);
            }
            "motion" => self.motion = get(value),
            "adapt-scale" => self.adapt_scale = get(value),
            "motion-scale" => self.motion_scale = get(value),
            "reference" => self.reference = get(value),
            "smoothing" => self.smoothing = get(value),
            "driver-crop" => self.driver_crop = get(value),
            "source-crop" => self.source_crop = get(value),
            "composition" => self.composition = get(value),
            "on-face-lost" => self.on_face_lost = get(value),
            "keypoints" => self.keypoints = get(value),
            "marking" => self.marking = get(value),
            "bypass" => self.bypass = get(value),
            name => {
                let known = self.engine.set(name, value);
                debug_assert!(known, "GObject checks names");
            }
        }
    }

    /// Reads a property.
    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            // Of several none is the one.
            "source-location" => match &self.source_locations[..] {
                [path] => path.to_str().to_value(),
                _ => None::<&str>.to_value(),
            },
            "source-locations" => {
                gst::Array::new(self.source_locations.iter().filter_map(|p| p.to_str())).to_value()
            }
            "model" => self.model.to_value(),
            "motion" => self.motion.to_value(),
            "adapt-scale" => self.adapt_scale.to_value(),
            "motion-scale" => self.motion_scale.to_value(),
            "reference" => self.reference.to_value(),
            "smoothing" => self.smoothing.to_value(),
            "driver-crop" => self.driver_crop.to_value(),
            "source-crop" => self.source_crop.to_value(),
            "composition" => self.composition.to_value(),
            "on-face-lost" => self.on_face_lost.to_value(),
            "keypoints" => self.keypoints.to_value(),
            "marking" => self.marking.to_value(),
            "bypass" => self.bypass.to_value(),
            name => self.engine.get(name).unwrap_or_else(|| unreachable!("GObject checks names")),
        }
    }
}

/// The properties, `stats` included.
pub fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let default = Settings::default();
        let mut all = vec![
            glib::ParamSpecString::builder("source-location")
                .nick("Source location")
                .blurb("Path of the portrait (PNG, JPEG, WebP, BMP); of this and the pad 'source' the last one wins")
                .mutable_playing()
                .build(),
            gst::ParamSpecArray::builder("source-locations")
                .nick("Source locations")
                .blurb(
                    "Paths of pictures of the person in the portrait, for models that make one face of several; \
                     source-location is the same with one",
                )
                .element_spec(
                    &glib::ParamSpecString::builder("source-location")
                        .nick("Source location")
                        .blurb("Path of a picture")
                        .build(),
                )
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("model")
                .nick("Model")
                .blurb("Name of a motion model in the zoo, or path of a manifest (anything with a slash)")
                .default_value(Some(default.model.as_str()))
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("motion", default.motion)
                .nick("Motion")
                .blurb("How the driver's motion is put on the portrait")
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("adapt-scale")
                .nick("Adapt scale")
                .blurb("Scale relative motion by the ratio of the two faces' sizes")
                .default_value(default.adapt_scale)
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("motion-scale")
                .nick("Motion scale")
                .blurb("Factor on all motion (0: the portrait stays still)")
                .minimum(0.0)
                .maximum(3.0)
                .default_value(default.motion_scale)
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("reference", default.reference)
                .nick("Reference")
                .blurb("Which driving frame relative motion starts from")
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("smoothing")
                .nick("Smoothing")
                .blurb("Smoothing of the motion over time (0: none, 1: nothing moves)")
                .minimum(0.0)
                .maximum(1.0)
                .default_value(default.smoothing)
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("driver-crop", default.driver_crop)
                .nick("Driver crop")
                .blurb("Which part of the driving video is used")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("source-crop", default.source_crop)
                .nick("Source crop")
                .blurb("Which part of the portrait is used; other than track, it need not show a face")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("composition", default.composition)
                .nick("Composition")
                .blurb("What the output shows of the portrait; never anything of the driver's picture")
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("on-face-lost", default.on_face_lost)
                .nick("On face lost")
                .blurb("What is shown while the driver has no face; never the driver")
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("keypoints")
                .nick("Key points")
                .blurb("Draw the key points into the output")
                .default_value(default.keypoints)
                .mutable_playing()
                .build(),
            glib::ParamSpecFlags::builder::<MarkingFlags>("marking")
                .nick("Marking")
                .blurb("How the output says that it is synthetic")
                .default_value(default.marking)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("bypass")
                .nick("Bypass")
                .blurb("Show the still portrait; never the driver")
                .default_value(default.bypass)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("Counters, and the median milliseconds of each stage over the last frames")
                .read_only()
                .build(),
        ];
        all.extend(EngineSettings::properties());
        all
    });
    &PROPERTIES
}
