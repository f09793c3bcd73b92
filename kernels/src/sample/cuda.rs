//! Sampling on a GPU: what `sample.cu` is given.

use super::{is_swapped, Border, Channels, Layout, SampleSpec};
use crate::color::ToRgb;
use crate::cuda::{CudaDevice, DeviceError, Extent, Kernel};
use crate::resample::{coefficients, fixed, is_straight, point_counts, Coefficients};
use crate::{Affine, Element, Frame, PixelFormat};

/// Outputs of one launch; its parameters must not take more than 4 KiB.
const AT_ONCE: usize = 32;

/// Rows of a block.
const ROWS: u32 = 2;

/// Largest width and height of a frame or an output: what the kernel counts in 32 bits stays far below their end.
const LARGEST: usize = 1 << 17;

/// The twins of the structures in `sample.cu`. None has padding, so that every byte of them is defined.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Plane {
    address: u64,
    stride: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Crop {
    map: Coefficients,
    steps: [[[i64; 2]; 2]; 2],
    points: [[u8; 2]; 2],
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    planes: [Plane; 3],
    output: u64,
    width: i32,
    height: i32,
    columns: i32,
    rows: i32,
    outside: i32,
    swapped: i32,
    interleaved: i32,
    bgr: i32,
    half: i32,
    unused: i32,
    /// Black, luma, blue to green, blue to blue, red to red, red to green.
    to_rgb: [f32; 6],
    constant: [f32; 3],
    gain: [f32; 3],
    bias: [f32; 3],
    unused_too: i32,
    crops: [Crop; AT_ONCE],
}

const _: () = assert!(size_of::<Crop>() == 120);
const _: () = assert!(size_of::<Parameters>() == 160 + AT_ONCE * size_of::<Crop>());
const _: () = assert!(size_of::<Parameters>() <= 4096);

impl Crop {
    fn new(map: &Affine, spec: &SampleSpec) -> Self {
        let map = coefficients(map);
        if is_straight(&map, (spec.width, spec.height)) {
            return Self { map, ..Self::default() };
        }
        let half = map.map(|value| value / 2.0);
        let kind = |map: &Coefficients| {
            let [a, b, _, c, d, _] = *map;
            let (across, down) = point_counts(map);
            let step = |x: f64, y: f64, count: usize| [fixed(x / count as f64), fixed(y / count as f64)];
            // At most 16 points.
            ([step(a, c, across), step(b, d, down)], [across as u8, down as u8])
        };
        let [(steps, points), (half_steps, half_points)] = [kind(&map), kind(&half)];
        Self { map, steps: [steps, half_steps], points: [points, half_points], unused: 0 }
    }
}

/// Samples `frame`, on that GPU, to `output`, the address of as many values as `maps` and `spec` ask for.
pub(super) fn sample(
    device: &CudaDevice,
    frame: &Frame<'_>,
    maps: &[Affine],
    spec: &SampleSpec,
    output: u64,
    element: Element,
) -> Result<(), DeviceError> {
    let largest = frame.width().max(frame.height()).max(spec.width).max(spec.height);
    if largest > LARGEST {
        let reason = format!("{largest} pixels are more than the {LARGEST} that a GPU can sample");
        return Err(DeviceError::Call { call: "sample", reason });
    }
    let mut planes = [Plane::default(); 3];
    for (plane, from) in planes.iter_mut().zip(frame.cuda_planes()) {
        *plane = Plane { address: from.address, stride: from.stride as u64 };
    }
    let (outside, constant) = match spec.border {
        Border::Constant(color) => (0, color),
        Border::Replicate => (1, [0.0; 3]),
        Border::Mirror => (2, [0.0; 3]),
    };
    let to = ToRgb::new(frame.color());
    let (gain, bias) = spec.gain_and_bias();
    let mut parameters = Parameters {
        planes,
        output,
        width: frame.width() as i32,
        height: frame.height() as i32,
        columns: spec.width as i32,
        rows: spec.height as i32,
        outside,
        swapped: is_swapped(frame.format()).into(),
        interleaved: (spec.layout == Layout::Nhwc).into(),
        bgr: (spec.channels == Channels::Bgr).into(),
        half: (element == Element::F16).into(),
        unused: 0,
        to_rgb: [to.black, to.luma, to.blue_to_green, to.blue_to_blue, to.red_to_red, to.red_to_green],
        constant,
        gain,
        bias,
        unused_too: 0,
        crops: [Crop::default(); AT_ONCE],
    };
    let kernel = match frame.format() {
        PixelFormat::Rgb | PixelFormat::Bgr => Kernel::SamplePacked3,
        PixelFormat::Rgba | PixelFormat::Bgra | PixelFormat::Rgbx | PixelFormat::Bgrx => {
            Kernel::SamplePacked4
        }
        PixelFormat::Nv12 => Kernel::SampleNv12,
        PixelFormat::I420 => Kernel::SampleI420,
    };
    // A thread computes 4 columns; a narrow output would leave half of a wide block idle.
    let (columns, rows) = (spec.width as u32, spec.height as u32);
    let threads = if columns <= 128 { 32 } else { 64 };
    for (group, maps) in maps.chunks(AT_ONCE).enumerate() {
        let before = group * AT_ONCE * 3 * spec.width * spec.height;
        parameters.output = output + (before * element.bytes()) as u64;
        parameters.crops = [Crop::default(); AT_ONCE];
        for (crop, map) in parameters.crops.iter_mut().zip(maps) {
            *crop = Crop::new(map, spec);
        }
        let extent = Extent {
            grid: (columns.div_ceil(4 * threads), rows.div_ceil(ROWS), maps.len() as u32),
            block: (threads, ROWS, 1),
            shared: 0,
        };
        // SAFETY: `Parameters` is the kernel's, the planes hold the frame and the output all that is written.
        unsafe { device.launch(kernel, extent, &parameters)? };
    }
    Ok(())
}
