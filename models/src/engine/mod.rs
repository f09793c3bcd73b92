//! A network ready to run, whatever runs it.

mod onnxruntime;
mod shared;

use std::{fmt, path::PathBuf};

use deepfake_kernels::Tensor;

use crate::Result;

pub use self::onnxruntime::locate_runtime;
pub use self::shared::load;

/// Which library runs the networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// TensorRT where it works, else ONNX Runtime.
    #[default]
    Auto,
    /// NVIDIA TensorRT on a GPU.
    TensorRt,
    /// ONNX Runtime on the CPU.
    OnnxRuntime,
}

/// How engines are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EngineOptions {
    /// The backend asked for.
    pub backend: Backend,
    /// Threads a network may use; 0: as many as there are processors.
    pub threads: usize,
    /// Shared library of ONNX Runtime; `None`: see [`locate_runtime`].
    pub runtime_library: Option<PathBuf>,
}

/// Which backend was taken and why, to be told to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendReport {
    /// Name of the backend: `onnxruntime` or `tensorrt`.
    pub backend: &'static str,
    /// Its version.
    pub version: String,
    /// Why it was taken.
    pub reason: String,
}

/// Values of one input, by name.
pub type Input<'a> = (&'a str, &'a Tensor);

/// A network ready to run.
pub trait Engine: Send + Sync + fmt::Debug {
    /// Runs the network on `inputs` and writes the outputs named in `outputs`, giving each tensor its shape.
    ///
    /// # Errors
    /// [`crate::Error::Network`] if a name or a shape is not the network's, or if the run fails.
    fn run(&self, inputs: &[Input<'_>], outputs: &mut [(&str, &mut Tensor)]) -> Result<()>;

    /// Which backend runs it, and why.
    fn report(&self) -> &BackendReport;
}
