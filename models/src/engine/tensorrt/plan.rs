//! A plan in memory: what a process shares, however many run it.

use std::{
    ffi::{c_char, c_void, CStr, CString},
    fmt,
    mem::ManuallyDrop,
};

use deepfake_kernels::CudaDevice;

use super::{
    abi::{call, Object, DELETE, MODE_INPUT, TYPE_FLOAT},
    kernel_cache::{Compiling, Kernels},
    library::Library,
    plan_cache::KernelFile,
};
use crate::engine::Warnings;

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorInfo {
    pub name: CString,
    pub input: bool,
}

impl TensorInfo {
    /// Whether it is the input or output of that name.
    pub fn is(&self, name: &str, input: bool) -> bool {
        self.input == input && self.name.to_bytes() == name.as_bytes()
    }
}

/// A network that TensorRT has loaded onto a GPU.
pub(super) struct Plan {
    tensors: Vec<TensorInfo>,
    /// Where kernels are compiled at run time.
    kernels: Option<Kernels>,
    warnings: Warnings,
    // Deleted in this order, while the GPU is current.
    engine: ManuallyDrop<Object>,
    runtime: ManuallyDrop<Object>,
    library: &'static Library,
    device: CudaDevice,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("tensors", &self.tensors)
            .field("library", &self.library)
            .finish_non_exhaustive()
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let _current = self.device.enter();
        if let Some(kernels) = &self.kernels {
            kernels.end();
        }
        // SAFETY: dropped here and nowhere else, and not used any more.
        unsafe {
            ManuallyDrop::drop(&mut self.engine);
            ManuallyDrop::drop(&mut self.runtime);
        }
    }
}

impl Plan {
    /// Loads `bytes` onto `device`.
    ///
    /// # Errors
    /// TensorRT's words: not a plan, one of another release or GPU, no memory; or an input or output that is not of
    /// 32-bit floating point values.
    pub fn load(library: &'static Library, device: &CudaDevice, bytes: &[u8]) -> Result<Self, String> {
        let _current = device.enter().map_err(|e| e.to_string())?;
        let release = library.release();
        let runtime = library.runtime()?;
        check_validity(library, &runtime, bytes)?;
        let mark = library.logger().mark();
        // SAFETY: a living runtime; the bytes are as many as said. The runtime is kept for longer than the engine.
        let engine = unsafe {
            let raw = call!(runtime.implementation(), release.runtime_load,
                [bytes.as_ptr() => *const u8, bytes.len() => usize] -> *mut c_void);
            Object::new(raw, DELETE)
        };
        let reason =
            || library.logger().errors_since(mark, "TensorRT could not load the plan and gave no reason");
        let engine = engine.ok_or_else(reason)?;
        let tensors = tensors(library, &engine)?;
        Ok(Self {
            tensors,
            kernels: None,
            warnings: Warnings::default(),
            engine: ManuallyDrop::new(engine),
            runtime: ManuallyDrop::new(runtime),
            library,
            device: device.clone(),
        })
    }

    /// Has its execution contexts, of which there must be none yet, share the kernels that are compiled for them, among
    /// each other and by way of `file` with later processes; `warnings` is told where that fails.
    pub fn share_kernels(&mut self, file: Option<KernelFile>, warnings: &Warnings) {
        self.warnings = warnings.clone();
        self.kernels = Kernels::new(self.library, &self.device, &self.engine, file, warnings);
    }

    /// To be held while one of its contexts is run with new shapes; `None` where that compiles nothing. Waits for others
    /// of this plan who do the same.
    pub fn compiling(&self) -> Option<Compiling<'_>> {
        self.kernels.as_ref().map(Kernels::compiling)
    }

    /// To be called after that, while the stream is not captured: kernels that were compiled are kept. Does not wait.
    pub fn keep_kernels_soon(&self) {
        if let Some(kernels) = &self.kernels {
            kernels.keep_soon();
        }
    }

    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// # Errors
    /// If `device` is another GPU or another context of it than the plan is in.
    pub fn check_device(&self, device: &CudaDevice) -> Result<(), String> {
        if device.context() == self.device.context() {
            Ok(())
        } else {
            Err("was loaded into another CUDA context than the one it is to run in".to_owned())
        }
    }

    pub fn library(&self) -> &'static Library {
        self.library
    }

    /// What runs it for one user: the context, and the settings that it was made with, where there are any.
    ///
    /// # Errors
    /// TensorRT's words.
    pub fn context(&self) -> Result<(Object, Option<Object>), String> {
        let _current = self.device.enter().map_err(|e| e.to_string())?;
        let release = self.library.release();
        let this = self.engine.implementation();
        let compiling = self.compiling();
        let mark = self.library.logger().mark();
        // SAFETY: a living engine of a release that has the functions; new objects. The caller keeps the settings for
        // longer than the context and the plan for longer than both.
        let (context, settings) = unsafe {
            match (
                release.engine_create_runtime_config,
                release.engine_create_context_with_config,
                release.runtime_config_set_specialization,
            ) {
                (Some(create), Some(with), Some(specialize)) => {
                    let settings = Object::new(call!(this, create, [] -> *mut c_void), DELETE)
                        .ok_or("TensorRT made no runtime configuration")?;
                    // Kernels for a new batch size are made at once (1), not in the background (0): a CUDA graph would
                    // keep the slow ones that stand in meanwhile.
                    call!(settings.implementation(), specialize, [1 => i32]);
                    if compiling.as_ref().is_some_and(|compiling| !compiling.share_with(&settings)) {
                        self.warnings
                            .warn("TensorRT keeps no compiled kernels; each start will compile them again");
                    }
                    let raw = call!(this, with, [settings.raw().as_ptr() => *mut c_void] -> *mut c_void);
                    (Object::new(raw, DELETE), Some(settings))
                }
                // 0: memory for the largest shapes, at once. 8.6 has no such argument and does the same.
                _ => {
                    let raw = call!(this, release.engine_create_context, [0 => i32] -> *mut c_void);
                    (Object::new(raw, DELETE), None)
                }
            }
        };
        let reason = || self.library.logger().errors_since(mark, "TensorRT made no execution context");
        let context = context.ok_or_else(reason)?;
        drop(compiling);
        self.keep_kernels_soon();
        Ok((context, settings))
    }
}

/// The only fault that TensorRT finds: the GPU is not on its list. 1.6 runs on some that are not (compute capability 9.0,
/// an H100), 1.7 does not; loading the plan tells.
const UNLISTED_GPU: u64 = 2;

/// Whether the plan is for this release and GPU, where TensorRT can tell by its head.
pub(super) fn check_validity(library: &Library, runtime: &Object, bytes: &[u8]) -> Result<(), String> {
    let Some(slot) = library.release().runtime_validity else { return Ok(()) };
    let (mut diagnostics, size) = (0u64, bytes.len() as i64);
    let mark = library.logger().mark();
    // SAFETY: a living runtime of a release that has the function; the bytes are as many as said.
    let validity = unsafe {
        call!(runtime.implementation(), slot,
            [bytes.as_ptr() => *const u8, size => i64, &raw mut diagnostics => *mut u64] -> i32)
    };
    // 0: valid, 1: valid but slower than one made here would be.
    if (0..=1).contains(&validity) || diagnostics == UNLISTED_GPU {
        return Ok(());
    }
    let otherwise = format!("the plan is not for this TensorRT and GPU (diagnostics {diagnostics:#x})");
    Err(library.logger().errors_since(mark, &otherwise))
}

fn tensors(library: &Library, engine: &Object) -> Result<Vec<TensorInfo>, String> {
    let release = library.release();
    let this = engine.implementation();
    // SAFETY: a living engine; the names it gives live as long as it does.
    unsafe {
        let count = call!(this, release.engine_tensor_count, [] -> i32);
        (0..count)
            .map(|index| {
                let name = call!(this, release.engine_tensor_name, [index => i32] -> *const c_char);
                let mode = call!(this, release.engine_tensor_mode, [name => *const c_char] -> i32);
                let kind = call!(this, release.engine_tensor_type, [name => *const c_char] -> i32);
                let name = CStr::from_ptr(name).to_owned();
                if kind != TYPE_FLOAT {
                    return Err(format!("{name:?} is not of 32-bit floating point values (type {kind})"));
                }
                Ok(TensorInfo { name, input: mode == MODE_INPUT })
            })
            .collect()
    }
}
