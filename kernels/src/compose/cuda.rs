//! [`Device::compose`](crate::Device::compose) on a GPU.

use super::{Background, Layer};
use crate::color::{FromRgb, ToRgb};
use crate::cuda::{CudaDevice, DeviceError, Extent, Kernel};
use crate::device::wrong_tensor;
use crate::resample::{coefficients, fixed, is_straight, point_counts, unit, Coefficients};
use crate::run::run_where;
use crate::{CudaPlane, FrameMut, PixelFormat};

/// Layers of a launch.
const LAYERS: usize = 16;

/// Pixels across and rows that a block of threads paints.
const BLOCK: (usize, usize) = (128, 8);

/// Flags of [`DeviceLayer`].
const SEPARABLE: u32 = 1;
const UPRIGHT: u32 = 2;

/// The twins of the structures in `compose.cu`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct DevicePlane {
    data: u64,
    stride: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct DeviceLayer {
    image: u64,
    map: [f64; 6],
    feather: f64,
    origin: [i64; 2],
    across: [i64; 2],
    down: [i64; 2],
    width: i32,
    height: i32,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    opaque_left: i32,
    opaque_right: i32,
    points_across: i32,
    points_down: i32,
    share: f32,
    flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    output: [DevicePlane; 3],
    background: [DevicePlane; 3],
    layers: [DeviceLayer; LAYERS],
    from_rgb: FromRgb,
    to_rgb: ToRgb,
    color: [f32; 3],
    width: i32,
    height: i32,
    count: i32,
    picture: i32,
    variant: i32,
}

const _: () = assert!(size_of::<Parameters>() == 2752, "as in compose.cu");

pub(super) fn compose(
    device: &CudaDevice,
    layers: &[Layer<'_>],
    background: Background<'_>,
    output: &mut FrameMut<'_>,
) -> Result<(), DeviceError> {
    let (format, width, height) = (output.format(), output.width(), output.height());
    let layers: Vec<DeviceLayer> = layers
        .iter()
        .filter(|layer| !layer.image.is_empty())
        .map(|layer| prepare(layer, width, height))
        .collect::<Result<_, _>>()?;
    let (kernel, variant) = match format {
        PixelFormat::Nv12 => (Kernel::ComposeSubsampled, true),
        PixelFormat::I420 => (Kernel::ComposeSubsampled, false),
        PixelFormat::Rgb => (Kernel::ComposePacked3, false),
        PixelFormat::Bgr => (Kernel::ComposePacked3, true),
        PixelFormat::Rgba | PixelFormat::Rgbx => (Kernel::ComposePacked4, false),
        PixelFormat::Bgra | PixelFormat::Bgrx => (Kernel::ComposePacked4, true),
    };
    let mut parameters = Parameters {
        output: planes(output.cuda_planes()),
        background: [DevicePlane::default(); 3],
        layers: [DeviceLayer::default(); LAYERS],
        from_rgb: FromRgb::new(output.color()),
        to_rgb: ToRgb::new(output.color()),
        color: [0.0; 3],
        width: width as i32,
        height: height as i32,
        count: 0,
        picture: 0,
        variant: i32::from(variant),
    };
    match background {
        Background::Color(color) => parameters.color = color.map(unit),
        Background::Picture(frame) => {
            parameters.background = planes(frame.cuda_planes());
            parameters.picture = 1;
        }
    }
    let extent = Extent {
        grid: (width.div_ceil(BLOCK.0) as u32, height.div_ceil(BLOCK.1) as u32, 1),
        block: (32, 4, 1),
        shared: 0,
    };
    // The background alone where there are no layers.
    let batches = layers.chunks(LAYERS).chain(layers.is_empty().then_some(&[][..]));
    for batch in batches {
        parameters.layers = [DeviceLayer::default(); LAYERS];
        parameters.layers[..batch.len()].copy_from_slice(batch);
        parameters.count = batch.len() as i32;
        // SAFETY: `Parameters` is the kernel's; frames promise that their planes hold the picture, of which the threads
        // touch nothing outside, and the images hold three planes of their size.
        unsafe { device.launch(kernel, extent, &parameters)? };
        // More layers go over what is there by now. Each thread reads what it then replaces, and no other's.
        parameters.background = parameters.output;
        parameters.picture = 1;
    }
    Ok(())
}

fn planes(planes: &[CudaPlane]) -> [DevicePlane; 3] {
    let mut result = [DevicePlane::default(); 3];
    for (result, plane) in result.iter_mut().zip(planes) {
        *result = DevicePlane { data: plane.address, stride: plane.stride as u64 };
    }
    result
}

fn prepare(layer: &Layer<'_>, columns: usize, rows: usize) -> Result<DeviceLayer, DeviceError> {
    let (width, height) = layer.size();
    let map = coefficients(&layer.map);
    let [a, b, tx, c, d, _] = map;
    let feather = f64::from(layer.feather).max(0.0);
    let bounds = bounds(&map, (width as f64, height as f64), columns, rows);
    let mut result = DeviceLayer {
        image: layer.image.cuda_address().ok_or_else(|| wrong_tensor("system", "CUDA"))?,
        map,
        feather,
        width: width as i32,
        height: height as i32,
        left: bounds[0],
        right: bounds[1],
        top: bounds[2],
        bottom: bounds[3],
        ..DeviceLayer::default()
    };
    if is_straight(&map, (columns, rows)) {
        result.flags |= SEPARABLE;
    } else {
        let (across, down) = point_counts(&map);
        let (i, j) = (1.0 / across as f64, 1.0 / down as f64);
        result.origin = [a * 0.5 * i + b * 0.5 * j, c * 0.5 * i + d * 0.5 * j].map(near_fixed);
        result.across = [a * i, c * i].map(near_fixed);
        result.down = [b * j, d * j].map(near_fixed);
        (result.points_across, result.points_down) = (across as i32, down as i32);
        result.share = 1.0 / (across * down) as f32;
    }
    if b == 0.0 && c == 0.0 {
        // All rows are touched alike.
        let u = a * 0.5 + tx;
        let run = |depth| run_where([(a, u), (-a, width as f64 - u)], depth, 0..columns);
        let (touched, opaque) = (run(0.0), run(feather));
        (result.left, result.right) = (touched.start as i32, touched.end as i32);
        (result.opaque_left, result.opaque_right) = (opaque.start as i32, opaque.end as i32);
        result.flags |= UPRIGHT;
    }
    Ok(result)
}

/// `value` in fixed point, no farther out than that sums of 16 by 16 still have room.
fn near_fixed(value: f64) -> i64 {
    const FAR: f64 = (1u64 << 25) as f64;
    fixed(value.clamp(-FAR, FAR))
}

/// Columns from and to, rows from and to, outside of which none of `columns` x `rows` pixels lies in an image of that
/// size under `map`; all of them where that cannot be told.
fn bounds(map: &Coefficients, (width, height): (f64, f64), columns: usize, rows: usize) -> [i32; 4] {
    let [a, b, tx, c, d, ty] = *map;
    let all = [0, columns as i32, 0, rows as i32];
    let determinant = a * d - b * c;
    // Such that the rounding errors of what follows are less than a billionth.
    let safe = determinant.abs() > 1e-6 * a.hypot(c) * b.hypot(d);
    if !safe {
        return all;
    }
    // The middle of the image, and how far its corners are from there, in pixels of the frame.
    let (u, v) = (width / 2.0 - tx, height / 2.0 - ty);
    let run = |to_u: f64, to_v: f64, end: usize| {
        let middle = to_u * u + to_v * v;
        let reach = (to_u * width / 2.0).abs() + (to_v * height / 2.0).abs();
        let error = 1e-8 * ((to_u * u).abs() + (to_v * v).abs() + reach);
        // Pixels are where their centres are.
        let (from, to) = (middle - reach - error - 1.5, middle + reach + error + 1.5);
        let whole = from.is_finite() && to.is_finite();
        // Casts saturate.
        whole.then(|| (from.floor().max(0.0) as usize, to.ceil().max(0.0) as usize)).map(|(from, to)| {
            let to = to.min(end);
            (from.min(to) as i32, to as i32)
        })
    };
    let across = run(d / determinant, -b / determinant, columns);
    let down = run(-c / determinant, a / determinant, rows);
    match (across, down) {
        (Some((left, right)), Some((top, bottom))) => [left, right, top, bottom],
        _ => all,
    }
}

#[cfg(test)]
mod tests {
    use super::super::span::Window;
    use super::*;
    use crate::{Affine, Point};

    #[test]
    fn bounds_hold_all_that_is_touched_and_little_more() {
        let mut close = 0;
        for (index, angle) in [0.0, 0.3, 1.5, 2.0, -0.7, 3.0].into_iter().enumerate() {
            for side in [3.0, 20.0, 90.0, 3000.0] {
                for x in [-40.0, 0.0, 33.3, 60.0, 130.0] {
                    let center = Point { x, y: 20.0 + 7.0 * index as f32 };
                    let there = Affine::from_rotated_square(center, side, angle, 16);
                    let map = coefficients(&there.inverse().unwrap());
                    let window = Window::new(map, 16, 16, 0.0);
                    let [left, right, top, bottom] = bounds(&map, (16.0, 16.0), 100, 80).map(|v| v as usize);
                    let mut touched = 0;
                    for y in 0..80 {
                        let x = window.touched(y, 100);
                        if !x.is_empty() {
                            assert!(
                                left <= x.start && x.end <= right && top <= y && y < bottom,
                                "{map:?} {y}"
                            );
                            touched += x.len();
                        }
                    }
                    let straight = angle == 0.0 && (3.0..=90.0).contains(&side);
                    if straight && touched > 0 {
                        close += 1;
                        let area = (right - left) * (bottom - top);
                        assert!(area <= touched + 7 * (right - left + bottom - top), "{area} for {touched}");
                    }
                }
            }
        }
        assert!(close > 5);
    }

    #[test]
    fn maps_that_squeeze_all_into_a_line_are_bounded_by_the_frame() {
        for map in [[0.0; 6], [1.0, 1.0, 0.0, 1.0, 1.0, 0.0], [1e30, 1e30, 3.0, -1e30, -1e30, 1e30]] {
            assert_eq!(bounds(&map, (4.0, 3.0), 10, 20), [0, 10, 0, 20]);
        }
        for value in [1e38, -1e38, 1e-38] {
            let [left, right, top, bottom] =
                bounds(&[value, 0.0, -value, 0.0, value, value], (4.0, 3.0), 10, 20);
            assert!(0 <= left && left <= right && right <= 10 && 0 <= top && top <= bottom && bottom <= 20);
        }
    }
}
