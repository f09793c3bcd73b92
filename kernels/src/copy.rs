//! From tensor to tensor on a GPU.

use crate::{
    cuda::{CudaDevice, DeviceError, Extent, Kernel},
    device::wrong_tensor,
    Element, Tensor,
};

/// The twin of the structure in `copy.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    from: u64,
    to: u64,
    count: u64,
    quads: u64,
}

/// Copies `from` into `to`, which has room for it from its value number `at` on.
pub(crate) fn cuda(
    device: &CudaDevice,
    from: &Tensor,
    to: &mut Tensor,
    at: usize,
) -> Result<(), DeviceError> {
    let (Some(from_address), Some(to_address)) = (from.cuda_address(), to.cuda_address()) else {
        return Err(wrong_tensor("system", "CUDA"));
    };
    if from.element() != Element::F32 || to.element() != Element::F32 {
        return Err(DeviceError::Call { call: "copy", reason: "half precision is not supported".into() });
    }
    assert!(at + from.len() <= to.len(), "{} values do not fit into {} from {at} on", from.len(), to.len());
    let to_address = to_address + (at * size_of::<f32>()) as u64;
    let count = from.len() as u64;
    let quads = if (from_address | to_address).is_multiple_of(16) { count / 4 } else { 0 };
    let parameters = Parameters { from: from_address, to: to_address, count, quads };
    let threads = count - 3 * quads;
    let extent = Extent { grid: (threads.div_ceil(256).max(1) as u32, 1, 1), block: (256, 1, 1), shared: 0 };
    // SAFETY: `Parameters` is the kernel's, and the assertion says that `to` has room for the values.
    unsafe { device.launch(Kernel::Copy, extent, &parameters) }
}
