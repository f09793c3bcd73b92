//! The properties of `deepfakedetect`.

use std::{path::PathBuf, sync::LazyLock, time::Duration};

use deepfake_kernels::CudaDevice;
use deepfake_models::detect::{FaceSource, InspectSettings, InspectorOptions};
use gst::{glib, prelude::*};

use crate::engine::{EngineSettings, Listener};

/// Where the faces come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDeepfakeDetectFaces")]
#[repr(u32)]
pub enum Faces {
    /// Upstream's where a frame has some, else the own detector.
    #[default]
    #[enum_value(
        name = "Regions of type 'face' where a frame has some, else the own detector",
        nick = "auto"
    )]
    Auto,
    /// The own detector.
    #[enum_value(name = "The own detector", nick = "detector")]
    Detector,
    /// Upstream's.
    #[enum_value(name = "Regions of type 'face' found upstream", nick = "metadata")]
    Metadata,
}

/// The value of the property `threshold` that stands for the model's own.
const MODEL_THRESHOLD: f32 = -1.0;

/// What the properties say.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub model: String,
    pub engine: EngineSettings,
    pub threshold: f32,
    pub interval: u32,
    pub max_faces: u32,
    pub min_face_size: u32,
    pub crops: u32,
    pub window: f64,
    pub faces: Faces,
    pub overlay: bool,
    pub post_messages: bool,
    pub report_location: Option<PathBuf>,
    pub read_marking: bool,
    pub bypass: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: "fwa-lite".into(),
            engine: EngineSettings::default(),
            threshold: MODEL_THRESHOLD,
            interval: 1,
            max_faces: 8,
            min_face_size: 48,
            crops: 1,
            window: 2.0,
            faces: Faces::default(),
            overlay: false,
            post_messages: true,
            report_location: None,
            read_marking: true,
            bypass: false,
        }
    }
}

impl Settings {
    /// What the core is loaded with; see [`EngineSettings::options`].
    pub fn options(&self, cuda: Option<CudaDevice>, listener: &Listener<'_>) -> InspectorOptions {
        InspectorOptions { model: self.model.clone(), engine: self.engine.options(cuda, listener) }
    }

    /// What the core may be told at any time.
    pub fn inspect(&self) -> InspectSettings {
        InspectSettings {
            threshold: (self.threshold >= 0.0).then_some(self.threshold),
            interval: self.interval,
            max_faces: self.max_faces,
            min_face_size: self.min_face_size,
            crops: self.crops,
            window: Duration::from_secs_f64(self.window),
            faces: match self.faces {
                Faces::Auto => FaceSource::Auto,
                Faces::Detector => FaceSource::Detector,
                Faces::Metadata => FaceSource::Metadata,
            },
        }
    }

    /// Sets a property. GObject has checked name, type and range.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
            value.get().unwrap_or_else(|_| unreachable!("GObject checks types"))
        }
        match name {
            "model" => {
                self.model = get::<Option<String>>(value).unwrap_or_else(|| Self::default().model);
            }
            "threshold" => self.threshold = get(value),
            "interval" => self.interval = get(value),
            "max-faces" => self.max_faces = get(value),
            "min-face-size" => self.min_face_size = get(value),
            "crops" => self.crops = get(value),
            "window" => self.window = get(value),
            "faces" => self.faces = get(value),
            "overlay" => self.overlay = get(value),
            "post-messages" => self.post_messages = get(value),
            "report-location" => self.report_location = get(value),
            "read-marking" => self.read_marking = get(value),
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
            "model" => self.model.to_value(),
            "threshold" => self.threshold.to_value(),
            "interval" => self.interval.to_value(),
            "max-faces" => self.max_faces.to_value(),
            "min-face-size" => self.min_face_size.to_value(),
            "crops" => self.crops.to_value(),
            "window" => self.window.to_value(),
            "faces" => self.faces.to_value(),
            "overlay" => self.overlay.to_value(),
            "post-messages" => self.post_messages.to_value(),
            "report-location" => self.report_location.as_ref().and_then(|p| p.to_str()).to_value(),
            "read-marking" => self.read_marking.to_value(),
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
            glib::ParamSpecString::builder("model")
                .nick("Model")
                .blurb("Name of a classifier in the zoo, or path of a manifest (anything with a slash)")
                .default_value(Some(default.model.as_str()))
                .mutable_ready()
                .build(),
            glib::ParamSpecFloat::builder("threshold")
                .nick("Threshold")
                .blurb("Score, 0 to 1, from which on a face is called fake (-1: the model's own)")
                .minimum(MODEL_THRESHOLD)
                .maximum(1.0)
                .default_value(default.threshold)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("interval")
                .nick("Interval")
                .blurb("Classify a face in every n-th frame of its track; between, its last score is repeated as stale")
                .minimum(1)
                .default_value(default.interval)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("max-faces")
                .nick("Maximum number of faces")
                .blurb("Look at no more faces of a frame than these, the largest first")
                .minimum(1)
                .maximum(64)
                .default_value(default.max_faces)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("min-face-size")
                .nick("Minimum size of a face")
                .blurb("Ignore faces whose longer side has fewer pixels")
                .minimum(1)
                .maximum(i32::MAX as u32)
                .default_value(default.min_face_size)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("crops")
                .nick("Crops")
                .blurb("Classify that many slightly different crops of each face; its score is the mean of the higher half of theirs")
                .minimum(1)
                .maximum(10)
                .default_value(default.crops)
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("window")
                .nick("Window")
                .blurb("Seconds over which the score of a track is smoothed (0: not at all)")
                .minimum(0.0)
                .maximum(3600.0)
                .default_value(default.window)
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("faces", default.faces)
                .nick("Faces")
                .blurb("Where the faces come from")
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("overlay")
                .nick("Overlay")
                .blurb("Draw a box about every face and its score, or that there is none")
                .default_value(default.overlay)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("post-messages")
                .nick("Post messages")
                .blurb("Post an element message per frame, and one at the end of the stream")
                .default_value(default.post_messages)
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("report-location")
                .nick("Report location")
                .blurb("Write what is found to this file, as JSON Lines")
                .mutable_ready()
                .build(),
            glib::ParamSpecBoolean::builder("read-marking")
                .nick("Read marking")
                .blurb("Report whether a frame says of itself that it is synthetic")
                .default_value(default.read_marking)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("bypass")
                .nick("Bypass")
                .blurb("Pass frames on without looking at them")
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
