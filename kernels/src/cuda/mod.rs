//! Kernels, memory and streams of an NVIDIA GPU, over the driver's interface.
//!
//! The driver (`libcuda.so.1`) and NVRTC are opened at run time: a build needs neither, and where they are missing
//! everything here returns [`DeviceError`] and the CPU works on.

mod cache;
mod compile;
mod context;
mod driver;
mod graph;
mod memory;
mod module;
mod staging;

use std::{any::Any, ffi::c_void, fmt, sync::Arc};

use cudarc::driver::sys;

pub use self::compile::{compile, CompiledKernels, ARCHITECTURES};
pub use self::driver::DeviceError;
pub use self::graph::Graph;
pub(crate) use self::graph::Work;
pub(crate) use self::memory::DeviceMemory;
pub(crate) use self::module::Kernel;
pub use self::module::KernelResources;
pub use self::staging::{Download, Upload};

use self::{
    context::{Context, Current},
    driver::check,
    graph::Recorder,
};

/// A context of a GPU and one stream in it. Work of one `CudaDevice` runs in the order in which it was given; work of
/// two runs at the same time. Clones share the stream.
#[derive(Clone)]
pub struct CudaDevice {
    inner: Arc<Inner>,
}

struct Inner {
    context: Arc<Context>,
    stream: sys::CUstream,
    recorder: Recorder,
}

// SAFETY: a stream may be used from any thread, as may everything in `Context`; the recorder has a lock of its own.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaDevice")
            .field("name", &self.name())
            .field("stream", &self.inner.stream)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(_current) = self.context.enter() {
            // SAFETY: the stream is ours and nobody can use it any more. The driver finishes its work first.
            let _ = unsafe { sys::cuStreamDestroy_v2(self.stream) };
        }
    }
}

/// A launch's extent: blocks of the grid, threads of a block, dynamic shared memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Blocks along x, y, z.
    pub grid: (u32, u32, u32),
    /// Threads along x, y, z.
    pub block: (u32, u32, u32),
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

impl CudaDevice {
    /// A new stream in the primary context of GPU number `ordinal`, which the whole process shares.
    ///
    /// # Errors
    /// [`DeviceError`] if there is no driver, no such GPU, or no NVRTC to make its kernels.
    pub fn new(ordinal: u32) -> Result<Self, DeviceError> {
        Self::in_context(Context::primary(ordinal)?)
    }

    /// A new stream in a context that somebody else made, such as a media framework.
    ///
    /// # Safety
    /// `raw` must be a valid `CUcontext` for as long as `owner` lives, which is kept as long as anything uses the context.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub unsafe fn from_context(
        raw: *mut c_void,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self, DeviceError> {
        // SAFETY: the caller's promise.
        Self::in_context(unsafe { Context::external(raw.cast(), owner)? })
    }

    fn in_context(context: Arc<Context>) -> Result<Self, DeviceError> {
        let current = context.enter()?;
        let mut stream = std::ptr::null_mut();
        // Not ordered with the default stream, which belongs to nobody in particular.
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: `stream` is a valid place for the result and a context is current.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut stream, flags) })?;
        drop(current);
        Ok(Self { inner: Arc::new(Inner { context, stream, recorder: Recorder::default() }) })
    }

    /// Another stream in the same context.
    ///
    /// # Errors
    /// [`DeviceError::Call`] if the driver refuses.
    pub fn fork(&self) -> Result<Self, DeviceError> {
        Self::in_context(Arc::clone(&self.inner.context))
    }

    /// Has what this stream is given from now on wait for what `other` was given so far, without the processor waiting.
    ///
    /// # Errors
    /// [`DeviceError::Call`] if the driver refuses.
    pub fn wait_for(&self, other: &Self) -> Result<(), DeviceError> {
        let _current = self.inner.context.enter()?;
        let mut event = std::ptr::null_mut();
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: a valid place for the result, and a context is current.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut event, flags) })?;
        // SAFETY: a live event and live streams.
        let done =
            check("cuEventRecord", unsafe { sys::cuEventRecord(event, other.inner.stream) }).and_then(|()| {
                // SAFETY: as above.
                check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(self.inner.stream, event, 0) })
            });
        // SAFETY: ours; the driver frees it once nothing waits for it any more.
        let _ = unsafe { sys::cuEventDestroy_v2(event) };
        done
    }

    /// The stream, a `CUstream`, for libraries that enqueue work themselves.
    pub fn stream(&self) -> *mut c_void {
        self.inner.stream.cast()
    }

    /// The context, a `CUcontext`; two devices with the same one share memory.
    pub fn context(&self) -> *mut c_void {
        self.inner.context.raw().cast()
    }

    /// Whether work on the stream is being captured into a graph at the moment, and so not done.
    pub fn is_capturing(&self) -> bool {
        self.inner.recorder.is_capturing()
    }

    /// The GPU, a `CUdevice`.
    pub fn handle(&self) -> i32 {
        self.inner.context.device()
    }

    /// Makes the context the calling thread's current one until the result is dropped; for libraries that want that.
    ///
    /// # Errors
    /// [`DeviceError::Call`] if the driver refuses.
    pub fn enter(&self) -> Result<impl Drop + use<>, DeviceError> {
        self.inner.context.enter()
    }

    /// Name of the GPU, as the driver has it.
    pub fn name(&self) -> &str {
        self.inner.context.name()
    }

    /// Major and minor number of the GPU's compute capability.
    pub fn compute_capability(&self) -> (u32, u32) {
        self.inner.context.compute_capability()
    }

    /// Waits until all work of this stream is done.
    ///
    /// # Errors
    /// [`DeviceError::Call`] if any of it failed.
    pub fn synchronize(&self) -> Result<(), DeviceError> {
        let _current = self.inner.context.enter()?;
        // SAFETY: the stream lives as long as `self`.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.inner.stream) })
    }

    /// Free and total bytes of the GPU's memory.
    ///
    /// # Errors
    /// [`DeviceError::Call`] if the driver refuses.
    pub fn memory_info(&self) -> Result<(usize, usize), DeviceError> {
        let _current = self.inner.context.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both are valid places for the results and a context is current.
        check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok((free, total))
    }

    /// Registers, shared and local memory of every kernel on this GPU.
    ///
    /// # Errors
    /// [`DeviceError::Call`] if the driver refuses.
    pub fn kernel_resources(&self) -> Result<Vec<KernelResources>, DeviceError> {
        let _current = self.inner.context.enter()?;
        self.inner.context.module().resources()
    }

    /// Uninitialised memory of the GPU.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<DeviceMemory, DeviceError> {
        DeviceMemory::new(&self.inner.context, bytes)
    }

    /// Zeros in all of `memory`, in order with the stream's work.
    pub(crate) fn clear(&self, memory: &DeviceMemory) -> Result<(), DeviceError> {
        // In a graph this would wipe out each frame what others write only once.
        if self.inner.recorder.is_capturing() {
            return Ok(());
        }
        let _current = self.inner.context.enter()?;
        // SAFETY: as many bytes as there are.
        check("cuMemsetD8Async", unsafe {
            sys::cuMemsetD8Async(memory.address(), 0, memory.bytes(), self.inner.stream)
        })
    }

    /// Whether host memory may be copied now. A graph would keep its address, which is only lent.
    fn check_host_copy(&self) -> Result<(), DeviceError> {
        if self.inner.recorder.is_capturing() {
            let reason = "the host's memory cannot be part of work that is replayed".into();
            return Err(DeviceError::Call { call: "cuMemcpy", reason });
        }
        Ok(())
    }

    /// Copies `bytes` to the start of `memory`, in order with the stream's work. They may be reused when this returns.
    pub(crate) fn write(&self, memory: &DeviceMemory, bytes: &[u8]) -> Result<(), DeviceError> {
        assert!(bytes.len() <= memory.bytes(), "the memory is too small");
        self.check_host_copy()?;
        let _current = self.inner.context.enter()?;
        // SAFETY: the memory is large enough. From pageable memory the driver takes its own copy before it returns.
        check("cuMemcpyHtoDAsync", unsafe {
            sys::cuMemcpyHtoDAsync_v2(memory.address(), bytes.as_ptr().cast(), bytes.len(), self.inner.stream)
        })
    }

    /// Copies the start of `memory` to `bytes`, in order with the stream's work. They hold it after
    /// [`synchronize`](Self::synchronize).
    pub(crate) fn read(&self, memory: &DeviceMemory, bytes: &mut [u8]) -> Result<(), DeviceError> {
        assert!(bytes.len() <= memory.bytes(), "the memory is too small");
        self.check_host_copy()?;
        let _current = self.inner.context.enter()?;
        // SAFETY: the memory is large enough. To pageable memory the driver returns only when the copy is done.
        check("cuMemcpyDtoHAsync", unsafe {
            sys::cuMemcpyDtoHAsync_v2(
                bytes.as_mut_ptr().cast(),
                memory.address(),
                bytes.len(),
                self.inner.stream,
            )
        })
    }

    /// Runs `kernel` on the stream with `parameters` as its only argument, by value.
    ///
    /// # Safety
    /// `P` must be the `repr(C)` twin of the kernel's parameter structure, and every address in it must be memory of this
    /// context that is large enough for what the kernel does with it and outlives the stream's work.
    pub(crate) unsafe fn launch<P: Copy + 'static>(
        &self,
        kernel: Kernel,
        extent: Extent,
        parameters: &P,
    ) -> Result<(), DeviceError> {
        let function = self.inner.context.module().function(kernel);
        // SAFETY: any `Copy` value may be read as bytes; padding is only copied, never looked at.
        let bytes =
            unsafe { std::slice::from_raw_parts(std::ptr::from_ref(parameters).cast(), size_of::<P>()) };
        if !self.inner.recorder.take(Work::Kernel { kernel, extent, parameters: bytes }) {
            return Ok(());
        }
        let _current = self.inner.context.enter()?;
        let mut arguments = [std::ptr::from_ref(parameters).cast_mut().cast::<c_void>()];
        let Extent { grid, block, shared } = extent;
        // SAFETY: the one argument is of the size that the kernel declares, by the caller's promise.
        check(kernel.name(), unsafe {
            sys::cuLaunchKernel(
                function,
                grid.0,
                grid.1,
                grid.2,
                block.0,
                block.1,
                block.2,
                shared,
                self.inner.stream,
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        })
    }

    /// Has `enqueue` put work of a library on the stream. `what` must tell different work apart (the library's object and
    /// every address it was given), as a graph is replayed only while it is the same.
    ///
    /// # Errors
    /// Those of `enqueue`, and [`DeviceError::Call`].
    pub fn enqueue<E: From<DeviceError>>(
        &self,
        what: u64,
        enqueue: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.inner.recorder.take(Work::Library(what)) {
            return Ok(());
        }
        let _current: Current = self.inner.context.enter()?;
        enqueue()
    }

    fn raw_stream(&self) -> sys::CUstream {
        self.inner.stream
    }
    fn shared_context(&self) -> &Arc<Context> {
        &self.inner.context
    }
    fn recorder(&self) -> &Recorder {
        &self.inner.recorder
    }
}
