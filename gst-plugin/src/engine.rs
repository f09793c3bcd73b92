//! The property `backend`, and errors of the core in GStreamer's words.

use deepfake_models::{engine, Error};
use gst::glib;

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

impl Backend {
    /// What the core wants to know.
    pub fn options(self) -> engine::EngineOptions {
        let backend = match self {
            Self::Auto => engine::Backend::Auto,
            Self::TensorRt => engine::Backend::TensorRt,
            Self::OnnxRuntime => engine::Backend::OnnxRuntime,
        };
        engine::EngineOptions { backend, ..Default::default() }
    }
}

/// The fields of a status message about the backend taken.
pub fn status(message: &str, report: &engine::BackendReport) -> gst::Structure {
    gst::Structure::builder(message)
        .field("status", "backend")
        .field("backend", report.backend)
        .field("version", &report.version)
        .field("reason", &report.reason)
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
        | Error::NoFaceInPortrait
        | Error::NoPortrait => {
            gst::error_msg!(gst::ResourceError::Settings, ("{}", text), ["{}", debug])
        }
        Error::Runtime { .. } => gst::error_msg!(gst::LibraryError::Init, ("{}", text), ["{}", debug]),
        Error::Device(_) => gst::error_msg!(gst::ResourceError::Failed, ("{}", text), ["{}", debug]),
        Error::Network { .. } => gst::error_msg!(gst::LibraryError::Failed, ("{}", text), ["{}", debug]),
    }
}
