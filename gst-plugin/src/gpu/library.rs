//! libgstcuda, opened at run time: a plugin that linked it would not load where it is missing.

use std::{
    ffi::{c_int, c_void},
    sync::OnceLock,
};

use gst::glib::ffi::gboolean;
use libloading::Library as Shared;

/// `GstCudaContext`; behind its parent it is private.
#[repr(C)]
pub struct GstCudaContext {
    _parent: gst::ffi::GstObject,
}

/// `GstCudaMemory`, as far as it is public.
#[repr(C)]
pub struct GstCudaMemory {
    _parent: gst::ffi::GstMemory,
    pub context: *mut GstCudaContext,
}

/// What NVIDIA's driver installs. Without it nothing of CUDA works, and libgstcuda, which pulls in OpenGL and a window
/// system, need not be opened.
const DRIVER: &str = "libcuda.so.1";
const LIBRARY: &str = "libgstcuda-1.0.so.0";

/// The functions in use, named as in C without their prefix `gst_`; there since 1.22 where nothing else is said.
pub struct Library {
    pub is_cuda_memory: unsafe extern "C" fn(*mut gst::ffi::GstMemory) -> gboolean,
    pub cuda_buffer_pool_new: unsafe extern "C" fn(*mut GstCudaContext) -> *mut gst::ffi::GstBufferPool,
    pub cuda_context_get_handle: unsafe extern "C" fn(*mut GstCudaContext) -> *mut c_void,
    pub cuda_context_new_wrapped: unsafe extern "C" fn(*mut c_void, c_int) -> *mut GstCudaContext,
    pub context_new_cuda_context: unsafe extern "C" fn(*mut GstCudaContext) -> *mut gst::ffi::GstContext,
    pub cuda_handle_set_context: unsafe extern "C" fn(
        *mut gst::ffi::GstElement,
        *mut gst::ffi::GstContext,
        c_int,
        *mut *mut GstCudaContext,
    ) -> gboolean,
    pub cuda_handle_context_query: unsafe extern "C" fn(
        *mut gst::ffi::GstElement,
        *mut gst::ffi::GstQuery,
        *mut GstCudaContext,
    ) -> gboolean,
    pub cuda_context_push: unsafe extern "C" fn(*mut GstCudaContext) -> gboolean,
    pub cuda_context_pop: unsafe extern "C" fn(*mut *mut c_void) -> gboolean,
    /// The driver's own function, by another name.
    pub cu_stream_synchronize: unsafe extern "C" fn(*mut c_void) -> c_int,
    /// Since 1.24.
    pub cuda_memory_sync: Option<unsafe extern "C" fn(*mut GstCudaMemory)>,
    cuda_load_library: unsafe extern "C" fn() -> gboolean,
    cuda_memory_init_once: unsafe extern "C" fn(),
}

impl Library {
    /// Opens the library at `path`, without asking for a GPU yet.
    fn open(path: &str) -> Result<Self, String> {
        // SAFETY: libgstcuda runs nothing at its opening that could interfere with other threads; it registers its
        // types when they are first asked for.
        let shared = unsafe { Shared::new(path) }.map_err(|error| format!("{path}: {error}"))?;
        // Its types stay registered with GObject for ever, so its code must stay as well.
        let shared: &'static Shared = Box::leak(Box::new(shared));

        /// `symbol`, which the caller gives the type that it has in C.
        ///
        /// # Safety
        /// `F` is the type of `symbol`.
        unsafe fn get<F: Copy>(shared: &'static Shared, symbol: &str) -> Result<F, String> {
            // SAFETY: as promised by the caller.
            let found = unsafe { shared.get::<F>(symbol) }.map_err(|error| format!("{symbol}: {error}"))?;
            Ok(*found)
        }
        // SAFETY: the types of the fields are those of gstcudacontext.h, gstcudamemory.h, gstcudabufferpool.h,
        // gstcudautils.h and gstcudaloader.h in the releases 1.22, 1.24 and 1.26, and later ones keep them.
        unsafe {
            Ok(Self {
                is_cuda_memory: get(shared, "gst_is_cuda_memory")?,
                cuda_buffer_pool_new: get(shared, "gst_cuda_buffer_pool_new")?,
                cuda_context_get_handle: get(shared, "gst_cuda_context_get_handle")?,
                cuda_context_new_wrapped: get(shared, "gst_cuda_context_new_wrapped")?,
                context_new_cuda_context: get(shared, "gst_context_new_cuda_context")?,
                cuda_handle_set_context: get(shared, "gst_cuda_handle_set_context")?,
                cuda_handle_context_query: get(shared, "gst_cuda_handle_context_query")?,
                cuda_context_push: get(shared, "gst_cuda_context_push")?,
                cuda_context_pop: get(shared, "gst_cuda_context_pop")?,
                cu_stream_synchronize: get(shared, "CuStreamSynchronize")?,
                cuda_memory_sync: get(shared, "gst_cuda_memory_sync").ok(),
                cuda_load_library: get(shared, "gst_cuda_load_library")?,
                cuda_memory_init_once: get(shared, "gst_cuda_memory_init_once")?,
            })
        }
    }

    /// Lets the library open NVIDIA's driver and make its allocator known.
    fn prepare(self) -> Result<Self, String> {
        // SAFETY: both may be called at any time and more than once, after `gst_init`, which registered this plugin.
        unsafe {
            if (self.cuda_load_library)() == gst::glib::ffi::GFALSE {
                return Err(format!("{LIBRARY} cannot use this machine's NVIDIA driver"));
            }
            (self.cuda_memory_init_once)();
        }
        Ok(self)
    }
}

/// The library, opened once a process.
///
/// # Errors
/// Why there is no CUDA memory on this machine, in words for the user.
pub fn library() -> Result<&'static Library, &'static str> {
    static LOADED: OnceLock<Result<Library, String>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            // SAFETY: the driver's library is made to be opened by whoever needs it.
            let driver = unsafe { Shared::new(DRIVER) };
            let driver = driver.map_err(|_| format!("there is no NVIDIA driver ({DRIVER})"))?;
            // Closing and reopening it costs more than it frees.
            std::mem::forget(driver);
            Library::open(LIBRARY)?.prepare()
        })
        .as_ref()
        .map_err(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_an_error_that_names_it() {
        let error = Library::open("libgstcuda-that-is-nowhere.so.0").err().unwrap();
        assert!(error.contains("libgstcuda-that-is-nowhere.so.0"), "{error}");
    }

    #[test]
    fn a_library_that_lacks_a_function_is_an_error_that_names_it() {
        // Present wherever GStreamer is.
        let error = Library::open("libgstreamer-1.0.so.0").err().unwrap();
        assert!(error.contains("gst_is_cuda_memory"), "{error}");
    }

    #[test]
    fn the_installed_library_has_every_function() {
        gst::init().unwrap();
        // Comes with the package of the plugins that the tests use (gstreamer1.0-plugins-bad).
        let library = Library::open(LIBRARY).unwrap();
        // `GST_CHECK_VERSION` of what is installed: only from 1.24 on is there a stream to wait for.
        let (major, minor, ..) = gst::version();
        assert_eq!(library.cuda_memory_sync.is_some(), (major, minor) >= (1, 24));
    }
}
