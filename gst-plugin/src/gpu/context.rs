//! The CUDA context that the elements of a pipeline share, found as all CUDA elements of GStreamer do: asked for
//! downstream and upstream, then from the application. Where nobody has one it is the GPU's primary context, offered to
//! the others: so all pipelines of a process work in one context and share its engines, where GStreamer's own elements
//! would make one a pipeline.

use std::{
    collections::HashMap,
    ffi::{c_int, c_void},
    fmt,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use deepfake_kernels::CudaDevice;
use gst::{glib::translate::*, prelude::*};

use super::library::{library, GstCudaContext, Library};

/// The name by which elements ask for it.
const CONTEXT_TYPE: &str = "gst.cuda.context";

/// A reference to a `GstCudaContext`.
#[derive(Clone)]
pub struct Context {
    object: gst::Object,
    library: &'static Library,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({:?})", self.object)
    }
}

impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl Context {
    /// # Safety
    /// `context` is null or a `GstCudaContext`, of which the caller gives a reference away.
    unsafe fn from_full(context: *mut GstCudaContext, library: &'static Library) -> Option<Self> {
        // SAFETY: as promised by the caller; a `GstCudaContext` is a `GstObject`.
        let object = unsafe { Option::<gst::Object>::from_glib_full(context.cast::<gst::ffi::GstObject>()) }?;
        Some(Self { object, library })
    }

    /// The `GstCudaContext`, valid as long as `self`.
    pub fn as_ptr(&self) -> *mut GstCudaContext {
        self.object.as_ptr().cast()
    }

    /// Its `CUcontext`, valid as long as `self` or a clone.
    pub fn handle(&self) -> *mut c_void {
        // SAFETY: the pointer is to a live `GstCudaContext`.
        unsafe { (self.library.cuda_context_get_handle)(self.as_ptr()) }
    }

    /// Number of its GPU.
    fn device_id(&self) -> u32 {
        self.object.property("cuda-device-id")
    }

    /// The functions that made it.
    pub fn library(&self) -> &'static Library {
        self.library
    }
}

/// The primary contexts in use, by the numbers of their GPUs. Kept for the life of the process: what libraries load into a
/// context they look for there again, and to start anew takes seconds.
static PRIMARY: OnceLock<Mutex<HashMap<u32, (Context, CudaDevice)>>> = OnceLock::new();

/// The primary context of GPU number `device_id`, as GStreamer has it.
fn primary(device_id: i32, library: &'static Library) -> Result<Context, String> {
    let number = u32::try_from(device_id).unwrap_or(0);
    let mut all = PRIMARY.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((context, _)) = all.get(&number) {
        return Ok(context.clone());
    }
    let device = CudaDevice::new(number).map_err(|error| error.to_string())?;
    // SAFETY: the context lives as long as `device`, which is kept beside the wrapper; the device is its own.
    let wrapped =
        unsafe { (library.cuda_context_new_wrapped)(device.context(), c_int::from(device.handle())) };
    // SAFETY: null or a reference of its own, by the function's documentation.
    let context = unsafe { Context::from_full(wrapped, library) }
        .ok_or_else(|| format!("GStreamer cannot use the CUDA context of device {number}"))?;
    context.object.set_object_flags(gst::ObjectFlags::MAY_BE_LEAKED);
    all.insert(number, (context.clone(), device));
    Ok(context)
}

/// An element's context.
#[derive(Default)]
pub struct ContextHolder(Mutex<Option<Context>>);

impl ContextHolder {
    fn lock(&self) -> MutexGuard<'_, Option<Context>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `set_context`: takes the context that is offered if it is a CUDA context on the device `device_id` and there
    /// is none yet.
    pub fn offer(&self, element: &gst::Element, context: &gst::Context, device_id: i32) {
        if context.context_type() != CONTEXT_TYPE {
            return;
        }
        // Somebody in this process has a CUDA context, so opening the library costs nothing.
        let Ok(library) = library() else { return };
        let mut held = self.lock();
        if held.is_some() {
            return;
        }
        let mut offered = std::ptr::null_mut();
        // SAFETY: element and context are live, and so is the variable. What this calls reads a structure only, so the lock
        // is in nobody's way.
        unsafe {
            (library.cuda_handle_set_context)(
                element.as_ptr(),
                context.as_mut_ptr(),
                c_int::from(device_id),
                &raw mut offered,
            );
        }
        // SAFETY: null or a reference of its own, by the function's documentation.
        *held = unsafe { Context::from_full(offered, library) };
    }

    /// Before the start: the context, found or that of the device `device_id`.
    ///
    /// # Errors
    /// Why there is none, in words for the user.
    pub fn ensure(&self, element: &gst::Element, device_id: i32) -> Result<Context, String> {
        let library = library()?;
        // One found on the way to READY, before the device was chosen, is no answer to that choice.
        let wanted = u32::try_from(device_id).unwrap_or(0);
        self.lock().take_if(|held| held.device_id() != wanted);
        self.search(element);
        if let Some(context) = self.get() {
            return Ok(context);
        }
        let context = primary(device_id, library)?;
        *self.lock() = Some(context.clone());
        // SAFETY: the context is live; the result is a reference of its own.
        let offer: gst::Context =
            unsafe { from_glib_full((library.context_new_cuda_context)(context.as_ptr())) };
        element.set_context(&offer);
        let _ = element.post_message(gst::message::HaveContext::builder(offer).src(element).build());
        Ok(context)
    }

    /// Asks the neighbours downstream, then those upstream, then the bins and the application. Whoever has a context sets it
    /// by `set_context`, which comes here by [`offer`](Self::offer).
    fn search(&self, element: &gst::Element) {
        let mut query = gst::query::Context::new(CONTEXT_TYPE);
        for pads in [element.src_pads(), element.sink_pads()] {
            if self.lock().is_some() {
                return;
            }
            if pads.iter().any(|pad| pad.peer_query(&mut query)) {
                if let Some(context) = query.context_owned() {
                    element.set_context(&context);
                }
            }
        }
        if self.lock().is_none() {
            let need = gst::message::NeedContext::builder(CONTEXT_TYPE).src(element).build();
            let _ = element.post_message(need);
        }
    }

    /// The context, if there is one.
    pub fn get(&self) -> Option<Context> {
        self.lock().clone()
    }

    /// Answers the query of another element for a context; `false` if there is none to answer with.
    pub fn answer(&self, element: &gst::Element, query: &mut gst::QueryRef) -> bool {
        let Some(context) = self.get() else { return false };
        // SAFETY: element, query and context are live; the query is borrowed mutably.
        let answered = unsafe {
            (context.library.cuda_handle_context_query)(
                element.as_ptr(),
                query.as_mut_ptr(),
                context.as_ptr(),
            )
        };
        answered != gst::glib::ffi::GFALSE
    }

    /// For `stop`: lets go of it.
    pub fn clear(&self) {
        *self.lock() = None;
    }
}
