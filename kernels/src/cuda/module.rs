//! The kernels of one context.

use std::ffi::CString;

use cudarc::driver::sys;

use super::{
    cache,
    driver::{check, DeviceError},
};

macro_rules! kernels {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// A kernel of `kernels/cu`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kernel { $($(#[$doc])* $variant,)+ }

        impl Kernel {
            /// All of them, in the order of their numbers.
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in the source.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

kernels! {
    /// Copies floats.
    Copy = "copy",
    /// Samples frames of 3 bytes a pixel.
    SamplePacked3 = "sample_packed3",
    /// Samples frames of 4 bytes a pixel.
    SamplePacked4 = "sample_packed4",
    /// Samples NV12.
    SampleNv12 = "sample_nv12",
    /// Samples I420.
    SampleI420 = "sample_i420",
    /// Composes frames of 4:2:0.
    ComposeSubsampled = "compose_subsampled",
    /// Composes frames of 3 bytes a pixel.
    ComposePacked3 = "compose_packed_3",
    /// Composes frames of 4 bytes a pixel.
    ComposePacked4 = "compose_packed_4",
    /// Puts motion on the key points of a portrait.
    Transfer = "transfer",
    /// Moves key points towards others.
    Smooth = "smooth",
    /// Draws shapes.
    Draw = "draw",
    /// Lays a map of values over a frame.
    DrawHeat = "draw_heat",
}

/// What a kernel takes of a multiprocessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelResources {
    /// Its name.
    pub kernel: &'static str,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of static shared memory of a block.
    pub shared: u32,
    /// Bytes of local memory of a thread: spilled registers and arrays.
    pub local: u32,
}

pub(super) struct Module {
    raw: sys::CUmodule,
    functions: Vec<sys::CUfunction>,
}

impl Module {
    /// Loads all kernels into the current context.
    pub(super) fn load(compute_capability: (u32, u32)) -> Result<Self, DeviceError> {
        let cubin = cache::cubin(compute_capability)?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: a valid place for the result; the image is a cubin as NVRTC made it.
        check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut raw, cubin.as_ptr().cast()) })?;
        let mut module = Self { raw, functions: Vec::with_capacity(Kernel::ALL.len()) };
        for kernel in Kernel::ALL {
            let name = CString::new(kernel.name()).unwrap_or_default();
            let mut function = std::ptr::null_mut();
            // SAFETY: a valid place for the result, a live module and a string that ends in a zero.
            let found = check("cuModuleGetFunction", unsafe {
                sys::cuModuleGetFunction(&mut function, raw, name.as_ptr())
            });
            if let Err(error) = found {
                module.unload();
                return Err(error);
            }
            module.functions.push(function);
        }
        Ok(module)
    }

    pub(super) fn function(&self, kernel: Kernel) -> sys::CUfunction {
        self.functions[kernel as usize]
    }

    pub(super) fn resources(&self) -> Result<Vec<KernelResources>, DeviceError> {
        use sys::CUfunction_attribute_enum::*;
        Kernel::ALL
            .iter()
            .map(|&kernel| {
                let attribute = |attribute| {
                    let mut value = 0;
                    // SAFETY: a valid place for the result and a function of a live module.
                    check("cuFuncGetAttribute", unsafe {
                        sys::cuFuncGetAttribute(&mut value, attribute, self.function(kernel))
                    })
                    .map(|()| u32::try_from(value).unwrap_or(0))
                };
                Ok(KernelResources {
                    kernel: kernel.name(),
                    registers: attribute(CU_FUNC_ATTRIBUTE_NUM_REGS)?,
                    shared: attribute(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
                    local: attribute(CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
                })
            })
            .collect()
    }

    /// Frees the kernels; the context that they were loaded into must be current.
    pub(super) fn unload(&self) {
        // SAFETY: called once, when nothing can launch them any more.
        let _ = unsafe { sys::cuModuleUnload(self.raw) };
    }
}
