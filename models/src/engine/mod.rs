//! A network ready to run, whatever runs it.
//!
//! A [`Platform`] is a device together with the library that runs networks on it; it loads an [`Engine`] for each network.

mod intake;
mod onnxruntime;
mod platform;
pub(crate) mod precision;
mod progress;
mod replayed;
mod shared;
pub mod tensorrt;
mod warnings;
mod weak_cache;

use std::{fmt, path::PathBuf};

use deepfake_kernels::{CudaDevice, Device, Tensor};

use crate::Result;

pub(crate) use self::intake::{Intake, Outlet};
pub use self::onnxruntime::locate_runtime;
pub use self::platform::{choose, Platform};
pub use self::progress::{Progress, ProgressReport};
pub(crate) use self::replayed::Replayed;
pub use self::warnings::Warnings;

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

/// Does two things, on a GPU at the same time: most of what loading an engine takes there is compiling, which one processor
/// does. ONNX Runtime loads in no time, and threads that come and go at every start would only scatter its memory.
pub(crate) fn both<A: Send, B>(
    device: &Device,
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B,
) -> (A, B) {
    if device.cuda().is_none() {
        return (first(), second());
    }
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (first, second)
    })
}

/// How exactly a GPU computes. ONNX Runtime on the CPU always computes in 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The quickest that agrees with 32 bits in a check at load: 16 bits where the model has such a form, else TF32.
    #[default]
    Auto,
    /// 32 bits throughout.
    Fp32,
    /// 32 bits whose products are rounded to 19 first (NVIDIA's TF32).
    Tf32,
    /// 16 bits in the convolutions, 32 in what decides on positions.
    Fp16,
}

impl Precision {
    /// The same, but for half precision: for networks that have no form in it, or whose positions it would spoil.
    pub(crate) fn without_half(self) -> Self {
        match self {
            Self::Fp32 => Self::Fp32,
            _ => Self::Tf32,
        }
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Fp16 => "fp16",
        }
    }
}

/// How engines are made.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// The backend asked for.
    pub backend: Backend,
    /// Threads a network may use on the CPU; 0: as many as there are processors.
    pub threads: usize,
    /// Shared library of ONNX Runtime; `None`: see [`locate_runtime`].
    pub runtime_library: Option<PathBuf>,
    /// Number of the GPU, where `cuda` names none.
    pub device_id: u32,
    /// How exactly a GPU computes.
    pub precision: Precision,
    /// Folder of built TensorRT engines; `None`: `gst-plugin-deepfake` in the user's cache.
    pub cache_dir: Option<PathBuf>,
    /// Shared library of TensorRT; `None`: it is looked for.
    pub tensorrt_library: Option<PathBuf>,
    /// A GPU and context to work in, such as that of the surrounding media pipeline.
    pub cuda: Option<CudaDevice>,
    /// Told how far the building of engines is, which takes seconds to minutes the first time.
    pub progress: Progress,
    /// Told what is not as it should be and does no harm, such as a damaged engine in the cache.
    pub warnings: Warnings,
}

/// Which backend was taken and why, to be told to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendReport {
    /// Name of the backend: `onnxruntime` or `tensorrt`.
    pub backend: &'static str,
    /// Its version.
    pub version: String,
    /// `CPU`, or the GPU's name.
    pub device: String,
    /// How exactly it computes: `fp32`, `tf32` or `fp16`.
    pub precision: &'static str,
    /// Why it was taken.
    pub reason: String,
}

/// Values of one input, by name.
pub type Input<'a> = (&'a str, &'a Tensor);

/// A network ready to run, for one user at a time: what is run on it concurrently takes turns.
pub trait Engine: Send + Sync + fmt::Debug {
    /// Runs the network on `inputs` and writes the outputs named in `outputs`, giving each tensor its shape. All of them
    /// lie on `device`; on a GPU the work is enqueued on its stream, and nothing waits.
    ///
    /// # Errors
    /// [`crate::Error::Network`] if a name or a shape is not the network's, or if the run fails.
    fn run(&self, device: &Device, inputs: &[Input<'_>], outputs: &mut [(&str, &mut Tensor)]) -> Result<()>;

    /// Which backend runs it, and why.
    fn report(&self) -> &BackendReport;
}
