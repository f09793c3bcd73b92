//! Drawing on a GPU: what `draw.cu` is given.

use super::{font, heat, heat::Axis, marks, Ink, Mark, Shape};
use crate::color::FromRgb;
use crate::cuda::{CudaDevice, DeviceError, Extent, Kernel};
use crate::device::wrong_tensor;
use crate::{FrameMut, PixelFormat, Tensor};

/// Marks of one launch; its parameters must not take more than 4 KiB.
const MARKS: usize = 120;

/// Cells of 2x2 pixels across and down of a block.
const BLOCK: (u32, u32) = (32, 8);

/// Largest width and height of a frame; what the kernels count in 32 bits stays far below their end.
const LARGEST: usize = 1 << 20;

/// Kinds of marks.
const AREA: u8 = 0;
const DISC: u8 = 1;
const LETTER: u8 = 2;

/// The twins of the structures in `draw.cu`. None has padding, so that every byte of them is defined.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct DevicePlane {
    address: u64,
    stride: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceFrame {
    planes: [DevicePlane; 3],
    width: i32,
    height: i32,
    format: i32,
    swapped: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct DeviceMark {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
    ink: [u8; 3],
    kind: u8,
    /// Floats of a disc as their bits: centre and radius. Of a letter the size of a dot and two words of dots.
    rest: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    frame: DeviceFrame,
    x: i32,
    y: i32,
    count: i32,
    unused: i32,
    marks: [DeviceMark; MARKS],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceAxis {
    first: i32,
    behind: i32,
    start: f32,
    step: f32,
    cells: i32,
    unused: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct HeatParameters {
    frame: DeviceFrame,
    values: u64,
    x: DeviceAxis,
    y: DeviceAxis,
    from_rgb: FromRgb,
    ramp: [[f32; 3]; 5],
    opacity: f32,
}

const _: () = assert!(size_of::<DeviceMark>() == 32);
const _: () = assert!(size_of::<Parameters>() == 80 + MARKS * 32 && size_of::<Parameters>() <= 4096);
const _: () = assert!(size_of::<FromRgb>() == 40);
const _: () = assert!(size_of::<HeatParameters>() == 64 + 8 + 2 * 24 + 40 + 60 + 4);

impl DeviceFrame {
    fn new(frame: &FrameMut<'_>) -> Result<Self, DeviceError> {
        let largest = frame.width().max(frame.height());
        if largest > LARGEST {
            let reason = format!("{largest} pixels are more than the {LARGEST} that a GPU can draw on");
            return Err(DeviceError::Call { call: "draw", reason });
        }
        let mut planes = [DevicePlane::default(); 3];
        for (plane, from) in planes.iter_mut().zip(frame.cuda_planes()) {
            *plane = DevicePlane { address: from.address, stride: from.stride as u64 };
        }
        let format = match frame.format() {
            PixelFormat::Rgb | PixelFormat::Bgr => 0,
            PixelFormat::Rgba | PixelFormat::Bgra | PixelFormat::Rgbx | PixelFormat::Bgrx => 1,
            PixelFormat::Nv12 => 2,
            PixelFormat::I420 => 3,
        };
        let swapped = matches!(frame.format(), PixelFormat::Bgr | PixelFormat::Bgra | PixelFormat::Bgrx);
        let (width, height) = (frame.width() as i32, frame.height() as i32);
        Ok(Self { planes, width, height, format, swapped: swapped.into() })
    }
}

impl DeviceMark {
    fn new(mark: &Mark, ink: Ink) -> Self {
        let ink = match ink {
            Ink::Packed([first, second, third, _], _) => [first, second, third],
            Ink::Yuv(luma, [blue, red]) => [luma, blue, red],
        };
        match mark {
            Mark::Area { x, y } => Self {
                left: x.start as i32,
                top: y.start as i32,
                right: x.end as i32,
                bottom: y.end as i32,
                ink,
                kind: AREA,
                rest: [0; 3],
            },
            Mark::Disc { center, radius, x, y } => Self {
                left: x.start as i32,
                top: y.start as i32,
                right: x.end as i32,
                bottom: y.end as i32,
                ink,
                kind: DISC,
                rest: [center.x, center.y, *radius].map(f32::to_bits),
            },
            // A part of it is in the frame and dots have at most 2^16 pixels: the numbers are small.
            Mark::Letter { left, top, dot, glyph } => {
                let bits = (0..)
                    .zip(glyph.iter())
                    .fold(0u64, |bits, (row, dots)| bits | u64::from(*dots) << (row * font::COLUMNS));
                Self {
                    left: *left as i32,
                    top: *top as i32,
                    right: (left + dot * font::COLUMNS as i64) as i32,
                    bottom: (top + dot * font::ROWS as i64) as i32,
                    ink,
                    kind: LETTER,
                    rest: [*dot as u32, bits as u32, (bits >> 32) as u32],
                }
            }
        }
    }
}

/// See [`Device::draw`](crate::Device::draw).
pub(super) fn draw(
    device: &CudaDevice,
    shapes: &[Shape<'_>],
    frame: &FrameMut<'_>,
) -> Result<(), DeviceError> {
    let there = DeviceFrame::new(frame)?;
    let (format, space, size) = (frame.format(), frame.color(), (frame.width(), frame.height()));
    let mut all = Vec::new();
    for shape in shapes {
        marks(shape, size, &mut |color, mark| {
            all.push(DeviceMark::new(&mark, Ink::new(format, space, color)));
        });
    }
    for group in all.chunks(MARKS) {
        // Letters reach outside the frame.
        let least = |edge: fn(&DeviceMark) -> i32| group.iter().map(edge).min().unwrap_or(0).max(0);
        let most = |edge: fn(&DeviceMark) -> i32, limit| group.iter().map(edge).max().unwrap_or(0).min(limit);
        let (left, top) = (least(|mark| mark.left) / 2, least(|mark| mark.top) / 2);
        let right = most(|mark| mark.right, there.width);
        let bottom = most(|mark| mark.bottom, there.height);
        let cells = |from: i32, to: i32| (to as u32).div_ceil(2) - from as u32;
        let mut parameters = Parameters {
            frame: there,
            x: left,
            y: top,
            count: group.len() as i32,
            unused: 0,
            marks: [DeviceMark::default(); MARKS],
        };
        parameters.marks[..group.len()].copy_from_slice(group);
        // SAFETY: `Parameters` is the kernel's, and the planes hold the frame, outside of which it writes nothing.
        unsafe { device.launch(Kernel::Draw, extent(cells(left, right), cells(top, bottom)), &parameters)? };
    }
    Ok(())
}

/// See [`Device::draw_heat`](crate::Device::draw_heat).
pub(super) fn draw_heat(
    device: &CudaDevice,
    map: &Tensor,
    x: &Axis,
    y: &Axis,
    opacity: f32,
    frame: &FrameMut<'_>,
) -> Result<(), DeviceError> {
    let values = map.cuda_address().ok_or_else(|| wrong_tensor("system", "CUDA"))?;
    let axis = |axis: &Axis| DeviceAxis {
        first: axis.pixels.start as i32,
        behind: axis.pixels.end as i32,
        start: axis.start,
        step: axis.step,
        cells: axis.cells as i32,
        unused: 0,
    };
    let parameters = HeatParameters {
        frame: DeviceFrame::new(frame)?,
        values,
        x: axis(x),
        y: axis(y),
        from_rgb: FromRgb::new(frame.color()),
        ramp: heat::RAMP,
        opacity,
    };
    let cells = |axis: &Axis| (axis.pixels.end.div_ceil(2) - axis.pixels.start / 2) as u32;
    // SAFETY: `HeatParameters` is the kernel's, the map has that many values and the planes hold the frame.
    unsafe { device.launch(Kernel::DrawHeat, extent(cells(x), cells(y)), &parameters) }
}

/// As many blocks as have that many cells of 2x2 pixels.
fn extent(across: u32, down: u32) -> Extent {
    let grid = (across.div_ceil(BLOCK.0), down.div_ceil(BLOCK.1), 1);
    Extent { grid, block: (BLOCK.0, BLOCK.1, 1), shared: 0 }
}
