//! The CUDA context that the elements of a pipeline share, found as all CUDA elements of GStreamer do: asked for
//! downstream and upstream, then from the application; made, and offered to the others, where nobody has one.

use std::{
    ffi::{c_int, c_void},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

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

    /// The functions that made it.
    pub fn library(&self) -> &'static Library {
        self.library
    }
}

/// A place on the stack of [`ContextHolder::ensure`].
struct Place(*mut *mut GstCudaContext);
// SAFETY: it is used by the thread only to which it belongs.
unsafe impl Send for Place {}

#[derive(Default)]
struct Inner {
    context: Option<Context>,
    /// Set while a thread searches: libgstcuda looks into that place for what `set_context` put there.
    search: Option<(ThreadId, Place)>,
}

/// An element's context.
#[derive(Default)]
pub struct ContextHolder(Mutex<Inner>);

impl ContextHolder {
    fn lock(&self) -> MutexGuard<'_, Inner> {
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
        let mut inner = self.lock();
        let mut offered = std::ptr::null_mut();
        let searching = inner.search.as_ref().filter(|(thread, _)| *thread == thread::current().id());
        let place = match searching {
            Some((_, place)) => place.0,
            None if inner.context.is_none() => &raw mut offered,
            None => return,
        };
        // SAFETY: element and context are live. `place` is that of a search of this very thread, which is below on its
        // stack, or the variable above. The lock is not needed by what this calls, which reads a structure.
        unsafe {
            (library.cuda_handle_set_context)(
                element.as_ptr(),
                context.as_mut_ptr(),
                c_int::from(device_id),
                place,
            );
        }
        // SAFETY: null or a reference of its own, by the function's documentation.
        if let Some(context) = unsafe { Context::from_full(offered, library) } {
            inner.context = Some(context);
        }
    }

    /// For `start`: the context, found or made on the device `device_id`.
    ///
    /// # Errors
    /// Why there is none, in words for the user.
    pub fn ensure(&self, element: &gst::Element, device_id: i32) -> Result<Context, String> {
        let library = library()?;
        if let Some(context) = self.get() {
            return Ok(context);
        }
        let mut found = std::ptr::null_mut();
        let place = &raw mut found;
        self.lock().search = Some((thread::current().id(), Place(place)));
        // SAFETY: the element is live, and the place is written by this thread only: here and, for this thread, by
        // `offer`, which the search calls through `set_context`.
        unsafe { (library.cuda_ensure_element_context)(element.as_ptr(), c_int::from(device_id), place) };
        let mut inner = self.lock();
        inner.search = None;
        // SAFETY: nobody but this thread has the place any more; null or a reference of its own.
        if let Some(context) = unsafe { Context::from_full(place.read(), library) } {
            inner.context = Some(context);
        }
        inner.context.clone().ok_or_else(|| format!("no CUDA context can be made on device {device_id}"))
    }

    /// The context, if there is one.
    pub fn get(&self) -> Option<Context> {
        self.lock().context.clone()
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
        self.lock().context = None;
    }
}
