//! A frame of our own, in the memory of a device.

use crate::{
    cuda::DeviceMemory,
    frame::{CudaPlane, Frame, FrameLayout, FrameMut, Plane, PlaneMut},
    Device, DeviceError,
};

/// Rows on a GPU start at multiples of this many bytes, so that neighbouring threads read whole lines.
const ALIGNMENT: usize = 256;

/// A frame in memory of its own.
#[derive(Debug)]
pub struct FrameBuffer {
    layout: FrameLayout,
    /// Offset and stride of each plane.
    planes: Vec<(usize, usize)>,
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    Host(Vec<u8>),
    Cuda(DeviceMemory),
}

impl FrameBuffer {
    /// A frame on `device`; what it shows is not specified.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`].
    pub fn new(device: &Device, layout: FrameLayout) -> Result<Self, DeviceError> {
        let mut bytes = 0;
        let planes = (0..layout.format.planes())
            .map(|plane| {
                let stride = layout.format.row_bytes(plane, layout.width).next_multiple_of(ALIGNMENT);
                let offset = bytes;
                bytes += stride * layout.format.rows(plane, layout.height);
                (offset, stride)
            })
            .collect();
        let storage = match device {
            Device::Cpu => Storage::Host(vec![0; bytes]),
            Device::Cuda(cuda) => {
                let memory = cuda.allocate(bytes)?;
                // For what lies between rows, which nobody writes and downloads read.
                cuda.clear(&memory)?;
                Storage::Cuda(memory)
            }
        };
        Ok(Self { layout, planes, storage })
    }

    /// The frame in `slot`, made anew where it has another layout or lies elsewhere.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`].
    pub fn fit<'a>(
        slot: &'a mut Option<Self>,
        device: &Device,
        layout: FrameLayout,
    ) -> Result<&'a mut Self, DeviceError> {
        if slot.as_ref().is_none_or(|frame| frame.layout != layout || !frame.is_on(device)) {
            // First what is there, so that both never need room at once.
            *slot = None;
            *slot = Some(Self::new(device, layout)?);
        }
        Ok(slot.as_mut().expect("filled above"))
    }

    fn is_on(&self, device: &Device) -> bool {
        match (&self.storage, device) {
            (Storage::Host(_), Device::Cpu) => true,
            (Storage::Cuda(memory), Device::Cuda(cuda)) => memory.is_of(cuda),
            _ => false,
        }
    }

    /// Format, colour space and size.
    pub fn layout(&self) -> FrameLayout {
        self.layout
    }

    /// The planes on a GPU; none on the host.
    pub(crate) fn planes(&self) -> Vec<CudaPlane> {
        let Storage::Cuda(memory) = &self.storage else { return Vec::new() };
        let plane = |(index, &(offset, stride)): (usize, &(usize, usize))| CudaPlane {
            address: memory.address() + offset as u64,
            stride,
            bytes: stride * self.layout.format.rows(index, self.layout.height),
        };
        self.planes.iter().enumerate().map(plane).collect()
    }

    /// To read.
    pub fn frame(&self) -> Frame<'_> {
        match &self.storage {
            Storage::Host(bytes) => {
                let plane = |&(offset, stride): &(usize, usize)| Plane { data: &bytes[offset..], stride };
                Frame::from_layout(self.layout, self.planes.iter().map(plane).collect())
                    .expect("made to hold the picture")
            }
            // SAFETY: the memory lives as long as the frame that borrows it.
            Storage::Cuda(_) => unsafe {
                Frame::from_cuda(self.layout, self.planes()).expect("made to hold the picture")
            },
        }
    }

    /// To write.
    pub fn frame_mut(&mut self) -> FrameMut<'_> {
        let layout = self.layout;
        let cuda = self.planes();
        match &mut self.storage {
            Storage::Host(bytes) => {
                let mut rest = bytes.as_mut_slice();
                let mut planes = Vec::with_capacity(self.planes.len());
                for (index, &(_, stride)) in self.planes.iter().enumerate() {
                    let (data, after) = rest.split_at_mut(stride * layout.format.rows(index, layout.height));
                    planes.push(PlaneMut { data, stride });
                    rest = after;
                }
                FrameMut::from_layout(layout, planes).expect("made to hold the picture")
            }
            // SAFETY: the memory lives as long as the frame that borrows it, alone.
            Storage::Cuda(_) => unsafe {
                FrameMut::from_cuda(layout, cuda).expect("made to hold the picture")
            },
        }
    }
}
