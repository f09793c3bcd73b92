//! Frames between the host's memory and the GPU's.
//!
//! A frame goes in pieces through two page-locked buffers: while the GPU fetches one, the processor fills the other.

use cudarc::driver::sys;

use super::{
    driver::{check, DeviceError},
    memory::PinnedMemory,
    CudaDevice,
};
use crate::{framebuffer::FrameBuffer, Device, Frame, FrameMut, Memory};

/// Bytes of each of the two buffers: large enough that a transfer outlasts its call, small enough that the first one
/// starts soon.
const PIECE: usize = 256 << 10;

/// Two page-locked buffers and whether the GPU is done with each.
struct Buffers {
    device: CudaDevice,
    memory: [PinnedMemory; 2],
    done: [sys::CUevent; 2],
}

// SAFETY: events may be used from any thread.
unsafe impl Send for Buffers {}
// SAFETY: as above; nothing is done with a shared reference.
unsafe impl Sync for Buffers {}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Buffers {
    fn new(device: &CudaDevice, piece: usize) -> Result<Self, DeviceError> {
        let context = device.shared_context();
        let memory = [PinnedMemory::new(context, piece)?, PinnedMemory::new(context, piece)?];
        let mut buffers = Self { device: device.clone(), memory, done: [std::ptr::null_mut(); 2] };
        let _current = context.enter()?;
        for event in &mut buffers.done {
            let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
            // SAFETY: a valid place for the result, and a context is current.
            check("cuEventCreate", unsafe { sys::cuEventCreate(event, flags) })?;
        }
        drop(_current);
        Ok(buffers)
    }

    /// Waits until the GPU is done with buffer `index`.
    fn wait(&self, index: usize) -> Result<(), DeviceError> {
        // SAFETY: an event that lives as long as `self`; one never recorded counts as done.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.done[index]) })
    }

    /// Notes that the GPU will be done with buffer `index` when it has done what it was given so far.
    fn mark(&self, index: usize) -> Result<(), DeviceError> {
        // SAFETY: a live event and a live stream.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.done[index], self.device.raw_stream()) })
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.shared_context().enter() {
            for event in self.done.into_iter().filter(|event| !event.is_null()) {
                // SAFETY: ours; waited for, since its buffer is freed next.
                unsafe {
                    let _ = sys::cuEventSynchronize(event);
                    let _ = sys::cuEventDestroy_v2(event);
                }
            }
        }
    }
}

fn check_host(memory: Memory) -> Result<(), DeviceError> {
    match memory {
        Memory::Host => Ok(()),
        Memory::Cuda => {
            let (found, wanted) = (memory.name(), Memory::Host.name());
            Err(DeviceError::WrongMemory { what: "frame", found, wanted })
        }
    }
}

/// The pieces of a plane: first row and number of rows, none more than `most` bytes unless a single row is.
fn pieces(rows: usize, stride: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let at_once = (most / stride.max(1)).max(1);
    (0..rows).step_by(at_once).map(move |first| (first, at_once.min(rows - first)))
}

/// Takes frames from the host's memory to the GPU's.
#[derive(Debug)]
pub struct Upload {
    buffers: Buffers,
    frame: Option<FrameBuffer>,
}

impl Upload {
    /// Room for frames on the way to `device`.
    ///
    /// # Errors
    /// [`DeviceError`] where there is no memory.
    pub fn new(device: &CudaDevice) -> Result<Self, DeviceError> {
        Ok(Self { buffers: Buffers::new(device, PIECE)?, frame: None })
    }

    /// Copies `frame` and returns the copy on the GPU, to be used on the device's stream. When this returns, `frame` has been
    /// read.
    ///
    /// # Errors
    /// [`DeviceError`] where there is no memory, the driver refuses, or `frame` does not lie in the host's.
    pub fn take(&mut self, frame: &Frame<'_>) -> Result<Frame<'_>, DeviceError> {
        check_host(frame.memory())?;
        let device = Device::Cuda(self.buffers.device.clone());
        let copy = FrameBuffer::fit(&mut self.frame, &device, frame.layout())?;
        let _current = self.buffers.device.shared_context().enter()?;
        let widest = copy.planes().iter().map(|plane| plane.stride).max().unwrap_or(0);
        if widest > self.buffers.memory[0].data().len() {
            self.buffers = Buffers::new(&self.buffers.device, widest)?;
        }
        let mut turn = 0;
        for (plane, (source, target)) in frame.planes().iter().zip(copy.planes()).enumerate() {
            let row_bytes = frame.format().row_bytes(plane, frame.width());
            let rows = frame.format().rows(plane, frame.height());
            for (first, count) in pieces(rows, target.stride, self.buffers.memory[0].data().len()) {
                self.buffers.wait(turn)?;
                let staging = self.buffers.memory[turn].data_mut();
                for (row, to) in (first..first + count).zip(staging.chunks_mut(target.stride)) {
                    to[..row_bytes].copy_from_slice(&source.data[row * source.stride..][..row_bytes]);
                }
                // The last row's padding need not be there.
                let bytes = (count - 1) * target.stride + row_bytes;
                // SAFETY: the plane has room from this row on, and the buffer is not touched before its event is done.
                check("cuMemcpyHtoDAsync", unsafe {
                    sys::cuMemcpyHtoDAsync_v2(
                        target.address + (first * target.stride) as u64,
                        self.buffers.memory[turn].address().cast_const().cast(),
                        bytes,
                        self.buffers.device.raw_stream(),
                    )
                })?;
                self.buffers.mark(turn)?;
                turn = 1 - turn;
            }
        }
        Ok(copy.frame())
    }
}

/// Takes frames from the GPU's memory to the host's.
#[derive(Debug)]
pub struct Download {
    buffers: Buffers,
    frame: Option<FrameBuffer>,
}

impl Download {
    /// Room for frames on the way from `device`.
    ///
    /// # Errors
    /// [`DeviceError`] where there is no memory.
    pub fn new(device: &CudaDevice) -> Result<Self, DeviceError> {
        Ok(Self { buffers: Buffers::new(device, PIECE)?, frame: None })
    }

    /// A frame on the GPU of the same layout as `output`, to be written on the device's stream before
    /// [`give`](Self::give).
    ///
    /// # Errors
    /// [`DeviceError`] where there is no memory.
    pub fn target(&mut self, output: &FrameMut<'_>) -> Result<FrameMut<'_>, DeviceError> {
        let device = Device::Cuda(self.buffers.device.clone());
        Ok(FrameBuffer::fit(&mut self.frame, &device, output.layout())?.frame_mut())
    }

    /// Waits for what was enqueued on the device's stream and copies the frame that [`target`](Self::target) gave to
    /// `output`, of the same layout.
    ///
    /// # Errors
    /// [`DeviceError`] if any of that work failed, or if `output` does not lie in the host's memory.
    pub fn give(&mut self, output: &mut FrameMut<'_>) -> Result<(), DeviceError> {
        check_host(output.memory())?;
        let device = Device::Cuda(self.buffers.device.clone());
        let layout = output.layout();
        let source = FrameBuffer::fit(&mut self.frame, &device, layout)?;
        let _current = self.buffers.device.shared_context().enter()?;
        let widest = source.planes().iter().map(|plane| plane.stride).max().unwrap_or(0);
        if widest > self.buffers.memory[0].data().len() {
            self.buffers = Buffers::new(&self.buffers.device, widest)?;
        }
        let piece = self.buffers.memory[0].data().len();
        let all: Vec<(usize, usize, usize)> = (0..layout.format.planes())
            .flat_map(|plane| {
                let rows = layout.format.rows(plane, layout.height);
                pieces(rows, source.planes()[plane].stride, piece)
                    .map(move |(first, count)| (plane, first, count))
            })
            .collect();
        let row_bytes = |plane| layout.format.row_bytes(plane, layout.width);
        let fetch = |index: usize| -> Result<(), DeviceError> {
            let Some(&(plane, first, count)) = all.get(index) else { return Ok(()) };
            let from = source.planes()[plane];
            let bytes = (count - 1) * from.stride + row_bytes(plane);
            // SAFETY: the buffer has room for a piece and is not touched before its event is done.
            check("cuMemcpyDtoHAsync", unsafe {
                sys::cuMemcpyDtoHAsync_v2(
                    self.buffers.memory[index % 2].address().cast(),
                    from.address + (first * from.stride) as u64,
                    bytes,
                    self.buffers.device.raw_stream(),
                )
            })?;
            self.buffers.mark(index % 2)
        };
        fetch(0)?;
        for (index, &(plane, first, count)) in all.iter().enumerate() {
            fetch(index + 1)?;
            self.buffers.wait(index % 2)?;
            let stride = source.planes()[plane].stride;
            let row_bytes = row_bytes(plane);
            let target = &mut output.planes_mut()[plane];
            let staging = self.buffers.memory[index % 2].data();
            for (row, from) in (first..first + count).zip(staging.chunks(stride)) {
                target.data[row * target.stride..][..row_bytes].copy_from_slice(&from[..row_bytes]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_row_once() {
        for (rows, stride, most) in
            [(1080, 2048, 256 << 10), (1, 7, 3), (5, 10, 25), (540, 4096, 4096), (3, 0, 9)]
        {
            let mut next = 0;
            for (first, count) in pieces(rows, stride, most) {
                assert_eq!(first, next);
                assert!(
                    count >= 1 && (count == 1 || count * stride <= most),
                    "{rows} {stride} {most}: {count}"
                );
                next += count;
            }
            assert_eq!(next, rows);
        }
    }
}
