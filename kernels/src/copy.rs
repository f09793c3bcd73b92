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
}

pub(crate) fn cuda(device: &CudaDevice, from: &Tensor, to: &mut Tensor) -> Result<(), DeviceError> {
    let (Some(from_address), Some(to_address)) = (from.cuda_address(), to.cuda_address()) else {
        return Err(wrong_tensor("system", "CUDA"));
    };
    if from.element() != Element::F32 {
        return Err(DeviceError::Call { call: "copy", reason: "half precision is not supported".into() });
    }
    let parameters = Parameters { from: from_address, to: to_address, count: from.len() as u64 };
    // One more thread for what is left after whole float4s.
    let threads = (from.len() / 4 + 1) as u32;
    let extent = Extent { grid: (threads.div_ceil(256), 1, 1), block: (256, 1, 1), shared: 0 };
    // SAFETY: `Parameters` is the kernel's; both tensors hold as many values, since `to` was prepared for them.
    unsafe { device.launch(Kernel::Copy, extent, &parameters) }
}
