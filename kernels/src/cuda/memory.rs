//! Memory of a GPU, and page-locked memory of the host.

use std::{fmt, sync::Arc};

use cudarc::driver::sys;

use super::{
    context::Context,
    driver::{check, DeviceError},
    CudaDevice,
};

/// A piece of a GPU's memory, freed when dropped. Addresses are multiples of 256.
pub(crate) struct DeviceMemory {
    context: Arc<Context>,
    address: sys::CUdeviceptr,
    bytes: usize,
}

impl fmt::Debug for DeviceMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.bytes, self.address)
    }
}

impl DeviceMemory {
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, DeviceError> {
        let mut address = 0;
        let _current = context.enter()?;
        // SAFETY: a valid place for the result, and a context is current. Nothing of no size can be allocated.
        match unsafe { sys::cuMemAlloc_v2(&mut address, bytes.max(1)) } {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Err(DeviceError::OutOfMemory { bytes }),
            result => check("cuMemAlloc", result),
        }?;
        Ok(Self { context: Arc::clone(context), address, bytes })
    }

    /// The first byte.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Whether it lies in the context of `device`.
    pub fn is_of(&self, device: &CudaDevice) -> bool {
        Arc::ptr_eq(&self.context, device.shared_context())
    }

    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if let Ok(_current) = self.context.enter() {
            // SAFETY: ours, and freed once. The driver waits for work that uses it.
            let _ = unsafe { sys::cuMemFree_v2(self.address) };
        }
    }
}

/// Memory of the host that the GPU reads and writes by itself.
pub(super) struct PinnedMemory {
    context: Arc<Context>,
    address: *mut u8,
    bytes: usize,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for PinnedMemory {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, DeviceError> {
        let mut address = std::ptr::null_mut();
        let _current = context.enter()?;
        // SAFETY: a valid place for the result, and a context is current.
        check("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&mut address, bytes.max(1), 0) })?;
        let address = address.cast::<u8>();
        // SAFETY: the driver gave that many bytes; what they hold is not specified until written.
        unsafe { std::ptr::write_bytes(address, 0, bytes) };
        Ok(Self { context: Arc::clone(context), address, bytes })
    }

    pub(super) fn address(&self) -> *mut u8 {
        self.address
    }

    pub(super) fn data(&self) -> &[u8] {
        // SAFETY: as many initialised bytes as allocated; who lends them to the GPU waits for it before looking.
        unsafe { std::slice::from_raw_parts(self.address, self.bytes) }
    }

    pub(super) fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.bytes) }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        if let Ok(_current) = self.context.enter() {
            // SAFETY: ours, and freed once.
            let _ = unsafe { sys::cuMemFreeHost(self.address.cast()) };
        }
    }
}
