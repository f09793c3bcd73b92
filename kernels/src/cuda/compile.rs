//! CUDA C++ to machine code, by NVRTC.

use std::{
    env,
    ffi::{c_char, CStr, CString},
    path::PathBuf,
    sync::OnceLock,
};

use cudarc::nvrtc::sys;

use super::DeviceError;

/// Names NVRTC's library where it is not where the system's loader looks.
pub(super) const LIBRARY_VARIABLE: &str = "DEEPFAKE_NVRTC_LIBRARY";

/// Compute capabilities that the kernels are known to compile for, as in `sm_90`.
pub const ARCHITECTURES: [(u32, u32); 7] = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];

/// All kernels, in one program: they share helpers and are loaded together.
pub(super) const SOURCE: &str = concat!(
    "#line 1 \"common.cuh\"\n",
    include_str!("../../cu/common.cuh"),
    "\n#line 1 \"copy.cu\"\n",
    include_str!("../../cu/copy.cu"),
    "\n#line 1 \"sample.cu\"\n",
    include_str!("../../cu/sample.cu"),
    "\n#line 1 \"compose.cu\"\n",
    include_str!("../../cu/compose.cu"),
    "\n#line 1 \"motion.cu\"\n",
    include_str!("../../cu/motion.cu"),
    "\n#line 1 \"draw.cu\"\n",
    include_str!("../../cu/draw.cu"),
);

/// Machine code of all kernels for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledKernels {
    /// A cubin, as the driver loads it.
    pub cubin: Vec<u8>,
    /// What the compiler had to say, registers and shared memory of each kernel included.
    pub log: String,
}

/// Version of NVRTC, major and minor.
///
/// # Errors
/// [`DeviceError::NoCompiler`].
pub(super) fn version() -> Result<(i32, i32), DeviceError> {
    open()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: valid places for the results.
    check("nvrtcVersion", unsafe { sys::nvrtcVersion(&mut major, &mut minor) })?;
    Ok((major, minor))
}

/// Compiles all kernels for a compute capability. Needs no GPU.
///
/// # Errors
/// [`DeviceError::NoCompiler`] without NVRTC, [`DeviceError::Compile`] if it refuses.
pub fn compile(compute_capability: (u32, u32)) -> Result<CompiledKernels, DeviceError> {
    open()?;
    let architecture = format!("sm_{}{}", compute_capability.0, compute_capability.1);
    let options = [
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".into(),
        // The CPU twins do not contract either: results agree to rounding.
        "--fmad=false".into(),
        "--generate-line-info".into(),
        "--ptxas-options=-v".into(),
    ];
    let options: Vec<CString> = options.into_iter().filter_map(|option| CString::new(option).ok()).collect();
    let program = Program::new(SOURCE)?;
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    // SAFETY: the program lives, and so do the strings.
    let result = unsafe { sys::nvrtcCompileProgram(program.0, pointers.len() as i32, pointers.as_ptr()) };
    let log = program.log();
    if result != sys::nvrtcResult::NVRTC_SUCCESS {
        return Err(DeviceError::Compile { architecture, log: format!("{result:?}: {log}") });
    }
    Ok(CompiledKernels { cubin: program.cubin()?, log })
}

/// Opens the library once; cudarc panics where it is missing.
fn open() -> Result<(), DeviceError> {
    static RESULT: OnceLock<bool> = OnceLock::new();
    let found = RESULT.get_or_init(|| {
        if let Some(path) = env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) {
            // SAFETY: the user named it. Once it is open, the loader finds it by its own name for cudarc.
            if let Ok(library) = unsafe { libloading::Library::new(path) } {
                std::mem::forget(library);
            }
        }
        // SAFETY: only tries to open the library.
        unsafe { sys::is_culib_present() }
    });
    if *found {
        Ok(())
    } else {
        Err(DeviceError::NoCompiler)
    }
}

fn check(call: &'static str, result: sys::nvrtcResult) -> Result<(), DeviceError> {
    match result {
        sys::nvrtcResult::NVRTC_SUCCESS => Ok(()),
        code => Err(DeviceError::Call { call, reason: format!("{code:?}") }),
    }
}

struct Program(sys::nvrtcProgram);

impl Program {
    fn new(source: &str) -> Result<Self, DeviceError> {
        let source = CString::new(source)
            .map_err(|e| DeviceError::Call { call: "nvrtcCreateProgram", reason: e.to_string() })?;
        let mut program = std::ptr::null_mut();
        // SAFETY: a valid place for the result and a string that ends in a zero; there are no headers.
        check("nvrtcCreateProgram", unsafe {
            sys::nvrtcCreateProgram(
                &mut program,
                source.as_ptr(),
                c"kernels.cu".as_ptr(),
                0,
                std::ptr::null(),
                std::ptr::null(),
            )
        })?;
        Ok(Self(program))
    }

    fn log(&self) -> String {
        let mut size = 0;
        // SAFETY: the program lives, and `size` is a valid place.
        if unsafe { sys::nvrtcGetProgramLogSize(self.0, &mut size) } != sys::nvrtcResult::NVRTC_SUCCESS {
            return String::new();
        }
        let mut log = vec![0u8; size + 1];
        // SAFETY: a place of the size that NVRTC asked for.
        let result = unsafe { sys::nvrtcGetProgramLog(self.0, log.as_mut_ptr().cast()) };
        if result != sys::nvrtcResult::NVRTC_SUCCESS {
            return String::new();
        }
        CStr::from_bytes_until_nul(&log)
            .map(|log| log.to_string_lossy().trim().to_owned())
            .unwrap_or_default()
    }

    fn cubin(&self) -> Result<Vec<u8>, DeviceError> {
        let mut size = 0;
        // SAFETY: the program lives, and `size` is a valid place.
        check("nvrtcGetCUBINSize", unsafe { sys::nvrtcGetCUBINSize(self.0, &mut size) })?;
        let mut cubin = vec![0u8; size];
        // SAFETY: a place of the size that NVRTC asked for.
        check("nvrtcGetCUBIN", unsafe { sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast()) })?;
        Ok(cubin)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: ours, and destroyed once.
        let _ = unsafe { sys::nvrtcDestroyProgram(&mut self.0) };
    }
}
