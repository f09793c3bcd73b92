//! A turned square of the frame, as network input.

use deepfake_kernels::{
    Affine, Border, Channels, ColorSpace, Device, Frame, Layout, PixelFormat, Plane, Rect, SampleSpec, Tensor,
};

use super::Region;
use crate::Result;

/// Pixels of the frame to one of the input, from where on a turned square is cut in two steps.
const TWO_STEPS: f32 = 3.0;
/// Pixels of the copy between the steps to one of the input.
const FINER: f32 = 1.5;
/// Squares turned by less than this (in radians) are cut upright: the corners move by less than a pixel of 192.
const UPRIGHT: f32 = 0.007;

/// Cuts turned squares out of frames. What [`Device::sample`] does for upright squares by averaging areas it has to do point
/// by point for turned ones, which takes long where a large face shrinks much. Such a face is brought down to about the
/// input's scale upright first, and turned then.
#[derive(Debug, Default)]
pub(super) struct Cropper {
    values: Tensor,
    bytes: Vec<u8>,
}

impl Cropper {
    /// The map that takes the input's pixels to the frame's, for the square `region`.
    pub(super) fn map(region: Region, spec: &SampleSpec) -> Affine {
        let Region { center, side, roll } = upright(region);
        Affine::from_rotated_square(center, side, roll, spec.width)
    }

    /// Writes the square `region` of `frame` to `output` as `spec` wants it.
    pub(super) fn cut(
        &mut self,
        device: &Device,
        frame: &Frame<'_>,
        region: Region,
        spec: &SampleSpec,
        output: &mut Tensor,
    ) -> Result<()> {
        let map = Self::map(region, spec);
        let scale = region.side / spec.width as f32;
        // Not a number and infinity take the short way, which is safe for them, as does a GPU, to which points cost little.
        let in_two_steps =
            device.cuda().is_none() && upright(region).roll != 0.0 && scale > TWO_STEPS && scale.is_finite();
        if in_two_steps && self.cut_in_two_steps(device, frame, region, &map, spec, output)? {
            return Ok(());
        }
        Ok(device.sample(frame, &[map], spec, output)?)
    }

    /// `false` for a square of no size: there is nothing to shrink.
    fn cut_in_two_steps(
        &mut self,
        device: &Device,
        frame: &Frame<'_>,
        region: Region,
        map: &Affine,
        spec: &SampleSpec,
        output: &mut Tensor,
    ) -> Result<bool> {
        let (sin, cos) = region.roll.sin_cos();
        // The upright square that holds the turned one.
        let around = sin.abs() + cos.abs();
        let size = (spec.width as f32 * FINER * around).ceil() as usize;
        let square = Rect::square(region.center, region.side * around);
        let down = Affine::from_rect(square, size, size);
        let copy = SampleSpec {
            width: size,
            height: size,
            layout: Layout::Nhwc,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            std: [1.0; 3],
            border: spec.border,
        };
        let Some(up) = down.inverse() else { return Ok(false) };
        device.sample(frame, &[down], &copy, &mut self.values)?;
        self.bytes.clear();
        self.bytes.extend(self.values.data().iter().map(|v| (v * 255.0 + 0.5) as u8));
        let plane = Plane { data: &self.bytes, stride: 3 * size };
        let Ok(small) = Frame::new(PixelFormat::Rgb, ColorSpace::default(), size, size, vec![plane]) else {
            return Ok(false);
        };
        // Rounding may leave a corner a hair outside the copy.
        let spec = SampleSpec { border: Border::Replicate, ..spec.clone() };
        device.sample(&small, &[map.then(&up)], &spec, output)?;
        Ok(true)
    }
}

/// Squares that are hardly turned are not turned at all.
fn upright(region: Region) -> Region {
    Region { roll: if region.roll.abs() < UPRIGHT { 0.0 } else { region.roll }, ..region }
}

#[cfg(test)]
mod tests {
    use deepfake_kernels::Point;

    use super::*;

    const WIDTH: usize = 700;
    const HEIGHT: usize = 500;

    fn spec() -> SampleSpec {
        SampleSpec {
            width: 96,
            height: 96,
            layout: Layout::Nhwc,
            channels: Channels::Rgb,
            mean: [0.5; 3],
            std: [0.5; 3],
            border: Border::Replicate,
        }
    }

    /// Two waves and a ramp: smooth, so that the two ways of sampling may differ but little.
    fn picture() -> Vec<u8> {
        let mut bytes = Vec::new();
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                let (x, y) = (x as f32, y as f32);
                bytes.push((127.0 + 120.0 * (x / 40.0).sin()) as u8);
                bytes.push((127.0 + 120.0 * (y / 30.0).cos()) as u8);
                bytes.push((x / WIDTH as f32 * 255.0) as u8);
            }
        }
        bytes
    }

    fn compare(region: Region) -> f32 {
        let bytes = picture();
        let plane = Plane { data: &bytes, stride: 3 * WIDTH };
        let frame = Frame::new(PixelFormat::Rgb, ColorSpace::default(), WIDTH, HEIGHT, vec![plane]).unwrap();
        let (mut one, mut two) = (Tensor::default(), Tensor::default());
        Cropper::default().cut(&Device::Cpu, &frame, region, &spec(), &mut two).unwrap();
        Device::Cpu.sample(&frame, &[Cropper::map(region, &spec())], &spec(), &mut one).unwrap();
        one.data().iter().zip(two.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn two_steps_give_what_one_gives() {
        for roll in [0.3, -1.2, 3.0] {
            let region = Region { center: Point { x: 340.0, y: 260.0 }, side: 400.0, roll };
            let difference = compare(region);
            assert!(difference > 0.0, "one step was taken");
            assert!(difference < 0.04, "{roll}: {difference}");
        }
    }

    #[test]
    fn small_and_upright_squares_take_one_step() {
        let center = Point { x: 340.0, y: 260.0 };
        assert_eq!(compare(Region { center, side: 150.0, roll: 0.5 }), 0.0);
        assert_eq!(compare(Region { center, side: 400.0, roll: 0.0 }), 0.0);
    }

    #[test]
    fn a_region_that_is_no_number_is_safe() {
        let bytes = picture();
        let plane = Plane { data: &bytes, stride: 3 * WIDTH };
        let frame = Frame::new(PixelFormat::Rgb, ColorSpace::default(), WIDTH, HEIGHT, vec![plane]).unwrap();
        let mut output = Tensor::default();
        for side in [f32::NAN, f32::INFINITY, 0.0] {
            let region = Region { center: Point { x: f32::NAN, y: 0.0 }, side, roll: 0.5 };
            Cropper::default().cut(&Device::Cpu, &frame, region, &spec(), &mut output).unwrap();
        }
    }
}
