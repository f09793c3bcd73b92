//! What both elements tell the core of engines: their properties, messages about them, and errors in GStreamer's words.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use deepfake_kernels::{CudaDevice, DeviceError};
use deepfake_models::{
    engine::{
        self,
        tensorrt::{self, Severity},
    },
    Error,
};
use gst::{glib, prelude::*};

/// Which library runs the networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDeepfakeBackend")]
#[repr(u32)]
pub enum Backend {
    /// TensorRT where it works, else ONNX Runtime.
    #[default]
    #[enum_value(name = "TensorRT where it works, else ONNX Runtime", nick = "auto")]
    Auto,
    /// NVIDIA TensorRT, nothing else.
    #[enum_value(name = "NVIDIA TensorRT on a GPU", nick = "tensorrt")]
    TensorRt,
    /// ONNX Runtime, nothing else.
    #[enum_value(name = "ONNX Runtime on the CPU", nick = "onnxruntime")]
    OnnxRuntime,
}

/// How exactly the networks calculate on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDeepfakePrecision")]
#[repr(u32)]
pub enum Precision {
    /// Half precision where the model allows it.
    #[default]
    #[enum_value(
        name = "Half precision where the model has it and it is found to agree, else TF32",
        nick = "auto"
    )]
    Auto,
    /// Single precision.
    #[enum_value(name = "Single precision", nick = "fp32")]
    Fp32,
    /// Single precision, products of 10 bits.
    #[enum_value(name = "Single precision, with factors rounded to 10 bits", nick = "tf32")]
    Tf32,
    /// Half precision.
    #[enum_value(name = "Half precision", nick = "fp16")]
    Fp16,
}

/// The properties about engines, of either element.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineSettings {
    pub backend: Backend,
    pub device_id: i32,
    pub precision: Precision,
    pub engine_cache_dir: Option<PathBuf>,
}

impl EngineSettings {
    /// Whether a GPU may be used.
    pub fn may_use_gpu(&self) -> bool {
        self.backend != Backend::OnnxRuntime
    }

    /// What the core wants to know. `cuda`: the device to work on, else the core finds one.
    pub fn options(&self, cuda: Option<CudaDevice>, listener: &Listener<'_>) -> engine::EngineOptions {
        engine::EngineOptions {
            backend: match self.backend {
                Backend::Auto => engine::Backend::Auto,
                Backend::TensorRt => engine::Backend::TensorRt,
                Backend::OnnxRuntime => engine::Backend::OnnxRuntime,
            },
            device_id: u32::try_from(self.device_id).unwrap_or(0),
            precision: match self.precision {
                Precision::Auto => engine::Precision::Auto,
                Precision::Fp32 => engine::Precision::Fp32,
                Precision::Tf32 => engine::Precision::Tf32,
                Precision::Fp16 => engine::Precision::Fp16,
            },
            cache_dir: self.engine_cache_dir.clone(),
            cuda,
            progress: listener.progress(),
            warnings: listener.warnings(),
            ..Default::default()
        }
    }

    /// Sets a property; `false` if it is none of these. GObject has checked type and range.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
            value.get().unwrap_or_else(|_| unreachable!("GObject checks types"))
        }
        match name {
            "backend" => self.backend = get(value),
            "device-id" => self.device_id = get(value),
            "precision" => self.precision = get(value),
            "engine-cache-dir" => self.engine_cache_dir = get(value),
            _ => return false,
        }
        true
    }

    /// Reads a property; `None` if it is none of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "backend" => self.backend.to_value(),
            "device-id" => self.device_id.to_value(),
            "precision" => self.precision.to_value(),
            "engine-cache-dir" => self.engine_cache_dir.as_ref().and_then(|p| p.to_str()).to_value(),
            _ => return None,
        })
    }

    /// The properties.
    pub fn properties() -> [glib::ParamSpec; 4] {
        let default = Self::default();
        [
            glib::ParamSpecEnum::builder_with_default("backend", default.backend)
                .nick("Backend")
                .blurb("What runs the networks; a choice other than auto never falls back to another")
                .mutable_ready()
                .build(),
            glib::ParamSpecInt::builder("device-id")
                .nick("Device")
                .blurb("Number of the GPU to work on, where a GPU is used")
                .minimum(0)
                .default_value(default.device_id)
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("precision", default.precision)
                .nick("Precision")
                .blurb("How exactly the networks calculate on a GPU; a CPU always does in single precision")
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("engine-cache-dir")
                .nick("Engine cache folder")
                .blurb(
                    "Where built TensorRT engines are kept (unset: gst-plugin-deepfake in the user's cache)",
                )
                .mutable_ready()
                .build(),
        ]
    }
}

/// Who wants to know how engines are made.
pub struct Listener<'a> {
    pub element: &'a gst::Element,
    /// The name of its messages about itself.
    pub status: &'static str,
}

impl Listener<'_> {
    /// Posts element messages of how far the building of engines is. They come from the thread that builds, so that a
    /// handler gets them while the start of the element goes on.
    fn progress(&self) -> engine::Progress {
        let (element, status) = (self.element.downgrade(), self.status);
        engine::Progress::to(move |progress| {
            let Some(element) = element.upgrade() else { return };
            let structure = gst::Structure::builder(status)
                .field("status", "engine-progress")
                .field("network", &progress.network)
                .field("percent", (progress.done.clamp(0.0, 1.0) * 100.0) as u32)
                .field("done", progress.done >= 1.0)
                .build();
            // Without a bus nobody wants to know.
            let _ = element.post_message(gst::message::Element::builder(structure).src(&element).build());
        })
    }

    /// Posts warnings.
    fn warnings(&self) -> engine::Warnings {
        let element = self.element.downgrade();
        engine::Warnings::to(move |text| {
            if let Some(element) = element.upgrade() {
                gst::element_warning!(element, gst::LibraryError::Settings, ("{}", text));
            }
        })
    }
}

/// Has TensorRT write into GStreamer's log.
pub fn log_tensorrt() {
    static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
        gst::DebugCategory::new(
            "deepfake-tensorrt",
            gst::DebugColorFlags::empty(),
            Some("What TensorRT says while deepfake elements use it"),
        )
    });
    tensorrt::set_log(Some(Arc::new(|severity, text| match severity {
        Severity::Error => gst::error!(CAT, "{text}"),
        Severity::Warning => gst::warning!(CAT, "{text}"),
        Severity::Info => gst::info!(CAT, "{text}"),
        Severity::Verbose => gst::log!(CAT, "{text}"),
    })));
}

/// Whether the networks run on a GPU.
pub fn on_gpu(report: &engine::BackendReport) -> bool {
    report.backend == "tensorrt"
}

/// The fields of a status message about the backend taken.
pub fn status(message: &str, report: &engine::BackendReport) -> gst::Structure {
    gst::Structure::builder(message)
        .field("status", "backend")
        .field("backend", report.backend)
        .field("version", &report.version)
        .field("reason", &report.reason)
        .field("device", &report.device)
        .field("precision", report.precision)
        .build()
}
/// `error` as an error message for the bus. The core words its errors for users; the domain is chosen here.
pub fn error_message(error: &Error) -> gst::ErrorMessage {
    let text = error.to_string();
    let debug = format!("{error:?}");
    match error {
        Error::ModelNotFound { .. } | Error::RuntimeNotFound { .. } => {
            gst::error_msg!(gst::ResourceError::NotFound, ("{}", text), ["{}", debug])
        }
        Error::ModelFile { .. } | Error::Portrait { .. } => {
            gst::error_msg!(gst::ResourceError::OpenRead, ("{}", text), ["{}", debug])
        }
        Error::Hash { .. } => gst::error_msg!(gst::ResourceError::Read, ("{}", text), ["{}", debug]),
        Error::Manifest { .. }
        | Error::BackendUnavailable { .. }
        | Error::Device(DeviceError::NoDriver | DeviceError::NoDevice { .. } | DeviceError::NoCompiler)
        | Error::NoFaceInPortrait
        | Error::TooManyPortraits { .. }
        | Error::NoFaceInPicture { .. }
        | Error::NoPortrait => {
            gst::error_msg!(gst::ResourceError::Settings, ("{}", text), ["{}", debug])
        }
        Error::Runtime { .. } => gst::error_msg!(gst::LibraryError::Init, ("{}", text), ["{}", debug]),
        Error::Device(DeviceError::OutOfMemory { .. }) => {
            gst::error_msg!(gst::ResourceError::NoSpaceLeft, ("{}", text), ["{}", debug])
        }
        Error::Device(_) => gst::error_msg!(gst::ResourceError::Failed, ("{}", text), ["{}", debug]),
        Error::Network { .. } => gst::error_msg!(gst::LibraryError::Failed, ("{}", text), ["{}", debug]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_warnings_reach_the_bus_from_the_thread_that_builds() {
        gst::init().unwrap();
        let element = gst::Pipeline::new();
        let bus = element.bus().unwrap();
        let listener = Listener { element: element.upcast_ref(), status: "some-status" };
        let options = EngineSettings::default().options(None, &listener);
        std::thread::spawn(move || {
            options.progress.report("keypoints.onnx", 0.5);
            options.warnings.warn("a plan was damaged");
            options.progress.report("keypoints.onnx", 1.0);
        })
        .join()
        .unwrap();
        let mut told = Vec::new();
        while let Some(message) = bus.pop_filtered(&[gst::MessageType::Element, gst::MessageType::Warning]) {
            assert_eq!(message.src(), Some(element.upcast_ref::<gst::Object>()));
            match message.view() {
                gst::MessageView::Warning(warning) => told.push(warning.error().message().to_owned()),
                _ => {
                    let structure = message.structure().unwrap();
                    assert_eq!(structure.name(), "some-status");
                    assert_eq!(structure.get::<&str>("status").unwrap(), "engine-progress");
                    assert_eq!(structure.get::<&str>("network").unwrap(), "keypoints.onnx");
                    let (percent, done) = (structure.get::<u32>("percent"), structure.get::<bool>("done"));
                    told.push(format!("{} {}", percent.unwrap(), done.unwrap()));
                }
            }
        }
        assert_eq!(told, ["50 false", "a plan was damaged", "100 true"]);
    }

    #[test]
    fn a_listener_that_is_gone_is_not_kept_alive() {
        gst::init().unwrap();
        let element = gst::Pipeline::new();
        let listener = Listener { element: element.upcast_ref(), status: "some-status" };
        let options = EngineSettings::default().options(None, &listener);
        let weak = element.downgrade();
        drop(element);
        assert!(weak.upgrade().is_none());
        options.progress.report("keypoints.onnx", 0.5);
    }
}
