//! Video frames in CUDA memory, mapped for a GPU.
//!
//! # Who waits for whom
//! The kernels run on a stream of their own, which is not ordered with any other.
//!
//! * Before: what others do with a buffer must be over. Until GStreamer 1.22 every element waits for its own work
//!   before it pushes a buffer; only copies that the allocator makes may be under way, on the default stream. From 1.24
//!   on memory belongs to the stream of the pool that it came from, and elements may push it with work under way there,
//!   or, which reads as well, give it back to the pool. [`Mapped::new`] waits for either.
//! * After: the core waits for its stream before it returns from a frame, so that what is unmapped is finished; for
//!   that reason nothing has to be told to downstream, whatever its release expects.

use std::mem::MaybeUninit;

use gst::glib::translate::*;
use gst_video::{ffi::GstVideoFrame, VideoInfo};

use super::{
    context::Context,
    library::{GstCudaMemory, Library},
};

/// Next after GStreamer's own flags, as libgstcuda has it.
const MAP_CUDA: gst::ffi::GstMapFlags = gst::ffi::GST_MAP_FLAG_LAST << 1;

/// A frame of which `data` and `map` hold addresses on the GPU, until it is dropped.
pub struct Mapped(GstVideoFrame);

impl Mapped {
    /// Maps `buffer` for reading, and waits until its memory may be used.
    ///
    /// # Errors
    /// Why the kernels cannot reach it, in words for the user.
    pub fn readable(buffer: &gst::BufferRef, info: &VideoInfo, context: &Context) -> Result<Self, String> {
        // SAFETY: it is mapped for reading only.
        unsafe { Self::new(buffer.as_mut_ptr(), info, context, gst::ffi::GST_MAP_READ) }
    }

    /// Maps `buffer` for reading and writing, and waits until its memory may be used. Memory that others hold too is
    /// copied first.
    ///
    /// # Errors
    /// Why the kernels cannot reach it, in words for the user.
    pub fn writable(
        buffer: &mut gst::BufferRef,
        info: &VideoInfo,
        context: &Context,
    ) -> Result<Self, String> {
        // SAFETY: the reference says that the buffer is writable.
        unsafe { Self::new(buffer.as_mut_ptr(), info, context, gst::ffi::GST_MAP_READWRITE) }
    }

    /// # Safety
    /// `buffer` is live for as long as the result is, and may be mapped with `access`.
    unsafe fn new(
        buffer: *mut gst::ffi::GstBuffer,
        info: &VideoInfo,
        context: &Context,
        access: gst::ffi::GstMapFlags,
    ) -> Result<Self, String> {
        // Looked at before the mapping: other memory would be mapped as well, for the CPU.
        // SAFETY: the buffer is live.
        unsafe { check(buffer, context) }?;
        let mut frame = MaybeUninit::<GstVideoFrame>::zeroed();
        // Without a reference of its own, which would make the buffer read-only.
        let flags = access | MAP_CUDA | gst_video::ffi::GST_VIDEO_FRAME_MAP_FLAG_NO_REF;
        // SAFETY: frame, info and buffer are live; `VideoInfo` is a `GstVideoInfo`.
        let mapped = unsafe {
            gst_video::ffi::gst_video_frame_map(
                frame.as_mut_ptr(),
                std::ptr::from_ref(info).cast(),
                buffer,
                flags,
            )
        };
        if mapped == gst::glib::ffi::GFALSE {
            return Err("it does not hold the picture that its caps describe".into());
        }
        // SAFETY: it was filled. From here on it is unmapped when dropped.
        let mapped = Self(unsafe { frame.assume_init() });
        // Memory that others hold too was copied by the mapping: this is the buffer's memory now.
        // SAFETY: the buffer is live, and its memory was checked.
        unsafe { wait(buffer, context) }?;
        Ok(mapped)
    }

    /// The frame as mapped.
    pub fn frame(&self) -> &GstVideoFrame {
        &self.0
    }

    /// Its own description: a `GstVideoMeta` may differ from the caps.
    pub fn info(&self) -> VideoInfo {
        // SAFETY: a live `GstVideoInfo`, which is copied.
        unsafe { from_glib_none(&raw const self.0.info) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped, and its buffer is live.
        unsafe { gst_video::ffi::gst_video_frame_unmap(&mut self.0) };
    }
}

/// The memory of `buffer`, to be looked at; valid until the buffer changes.
///
/// # Safety
/// `buffer` is live.
unsafe fn memories(buffer: *mut gst::ffi::GstBuffer) -> impl Iterator<Item = *mut gst::ffi::GstMemory> {
    // SAFETY: the buffer is live, and the indices are below the number of its memories.
    unsafe {
        let count = gst::ffi::gst_buffer_n_memory(buffer);
        (0..count).map(move |index| gst::ffi::gst_buffer_peek_memory(buffer, index))
    }
}

/// Whether all memory of `buffer` is CUDA memory that is reached from `context`.
///
/// # Safety
/// `buffer` is live.
unsafe fn check(buffer: *mut gst::ffi::GstBuffer, context: &Context) -> Result<(), String> {
    let library = context.library();
    let mut empty = true;
    // SAFETY: the buffer is live.
    for memory in unsafe { memories(buffer) } {
        empty = false;
        // SAFETY: the memory is live.
        if unsafe { (library.is_cuda_memory)(memory) } == gst::glib::ffi::GFALSE {
            return Err("its caps say CUDA memory, but it lies elsewhere".into());
        }
        // SAFETY: it was just found to be CUDA memory, which always has a context.
        let other = unsafe { (library.cuda_context_get_handle)((*memory.cast::<GstCudaMemory>()).context) };
        if other != context.handle() {
            return Err(
                "its CUDA memory belongs to another CUDA context; give all CUDA elements of the pipeline \
                        the same device, or put 'cudadownload ! cudaupload' before"
                    .into(),
            );
        }
    }
    if empty {
        return Err("it has no memory".into());
    }
    Ok(())
}

/// Waits until nobody else works on the memory of `buffer`.
///
/// # Safety
/// `buffer` is live, and `check` found nothing wrong with it.
unsafe fn wait(buffer: *mut gst::ffi::GstBuffer, context: &Context) -> Result<(), String> {
    let library = context.library();
    match library.cuda_memory_sync {
        Some(sync) => {
            // SAFETY: the buffer is live, and all its memory is CUDA memory.
            unsafe { memories(buffer).for_each(|memory| sync(memory.cast::<GstCudaMemory>())) };
            Ok(())
        }
        None => wait_for_default_stream(library, context),
    }
}

fn wait_for_default_stream(library: &Library, context: &Context) -> Result<(), String> {
    // SAFETY: the context is live, what is pushed is popped again, and null names the default stream.
    let waited = unsafe {
        if (library.cuda_context_push)(context.as_ptr()) == gst::glib::ffi::GFALSE {
            return Err("its CUDA context cannot be used any more".into());
        }
        let waited = (library.cu_stream_synchronize)(std::ptr::null_mut());
        (library.cuda_context_pop)(std::ptr::null_mut());
        waited
    };
    match waited {
        0 => Ok(()),
        code => Err(format!("work on it failed with CUDA's error {code}")),
    }
}
