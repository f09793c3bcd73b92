//! What can go wrong on a GPU, in words.

use cudarc::driver::sys;
use thiserror::Error;

use crate::FrameLayout;

/// What went wrong on a GPU.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    /// The driver's library is missing.
    #[error(
        "there is no NVIDIA driver on this machine (libcuda.so.1 was not found); install it, or use the CPU with \
         backend=onnxruntime"
    )]
    NoDriver,
    /// The driver has no GPU of that number.
    #[error("there is no GPU number {ordinal}; the driver has {count}")]
    NoDevice {
        /// The number asked for.
        ordinal: u32,
        /// Number of GPUs.
        count: u32,
    },
    /// The compiler's library is missing.
    #[error(
        "NVRTC, which compiles the CUDA kernels, was not found; install the CUDA toolkit's libnvrtc.so.12 or .13, or name \
         it in the environment variable {variable}", variable = super::compile::LIBRARY_VARIABLE
    )]
    NoCompiler,
    /// The kernels do not compile for this GPU.
    #[error("the CUDA kernels do not compile for {architecture}: {log}")]
    Compile {
        /// As in `sm_90`.
        architecture: String,
        /// The compiler's words.
        log: String,
    },
    /// The GPU's memory is full.
    #[error("the GPU has no {bytes} bytes of memory left")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// A frame or tensor lies where the device cannot work on it.
    #[error("a {what} lies in {found} memory, but {wanted} memory is needed")]
    WrongMemory {
        /// `frame` or `tensor`.
        what: &'static str,
        /// Where it lies.
        found: &'static str,
        /// Where it should lie.
        wanted: &'static str,
    },
    /// A frame is of another layout than the one it is painted into.
    #[error("the frame below is {found:?}, but what is painted is {wanted:?}")]
    WrongLayout {
        /// Its layout.
        found: FrameLayout,
        /// The output's.
        wanted: FrameLayout,
    },
    /// A call of the driver failed.
    #[error("{call}: {reason}")]
    Call {
        /// The driver's function or the kernel.
        call: &'static str,
        /// The driver's words.
        reason: String,
    },
}

/// The driver's verdict on a call.
pub(super) fn check(call: &'static str, result: sys::CUresult) -> Result<(), DeviceError> {
    match result {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        code => Err(DeviceError::Call { call, reason: describe(code) }),
    }
}

fn describe(code: sys::CUresult) -> String {
    let mut text = std::ptr::null();
    // SAFETY: `text` is a valid place for the result, which is a constant string or left alone.
    let known = unsafe { sys::cuGetErrorString(code, &mut text) } == sys::CUresult::CUDA_SUCCESS;
    if known && !text.is_null() {
        // SAFETY: the driver returned a constant string that ends in a zero.
        let text = unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy();
        format!("{text} ({code:?})")
    } else {
        format!("{code:?}")
    }
}
