//! What lies below all layers.

use std::ops::Range;

use super::Background;
use crate::color::{ToRgb, NEUTRAL};
use crate::resample::unit;
use crate::{Frame, PixelFormat};

/// What lies below all layers, ready to be painted.
pub(super) enum Backdrop<'a> {
    /// Red, green and blue.
    Color([f32; 3]),
    /// A frame of the output's layout.
    Picture(&'a Frame<'a>, ToRgb),
}

impl<'a> Backdrop<'a> {
    /// Prepares `background`.
    pub fn new(background: Background<'a>) -> Self {
        match background {
            Background::Color(color) => Self::Color(color.map(unit)),
            Background::Picture(frame) => Self::Picture(frame, ToRgb::new(frame.color())),
        }
    }

    /// Writes red, green and blue of the pixels `x` of row `y`. Those of a picture are not clamped, so that they lead
    /// back to the same code values.
    pub fn paint(&self, y: usize, x: Range<usize>, [red, green, blue]: &mut [Vec<f32>; 3]) {
        let (frame, to_rgb) = match self {
            Self::Color(color) => {
                for (pixels, value) in [red, green, blue].into_iter().zip(color) {
                    pixels[x.clone()].fill(*value);
                }
                return;
            }
            Self::Picture(frame, to_rgb) => (frame, to_rgb),
        };
        let row = |plane: usize, y: usize| {
            let plane = &frame.planes()[plane];
            &plane.data[y * plane.stride..]
        };
        let pixels = red[x.clone()].iter_mut().zip(&mut green[x.clone()]).zip(&mut blue[x.clone()]);
        match frame.format() {
            PixelFormat::Nv12 => {
                let (luma, chroma) = (row(0, y), row(1, y / 2));
                for (x, ((red, green), blue)) in x.zip(pixels) {
                    let chroma = &chroma[x / 2 * 2..][..2];
                    [*red, *green, *blue] = to_rgb.color([luma[x], chroma[0], chroma[1]]);
                }
            }
            PixelFormat::I420 => {
                let (luma, from_blue, from_red) = (row(0, y), row(1, y / 2), row(2, y / 2));
                for (x, ((red, green), blue)) in x.zip(pixels) {
                    [*red, *green, *blue] = to_rgb.color([luma[x], from_blue[x / 2], from_red[x / 2]]);
                }
            }
            format => {
                let step = format.row_bytes(0, 1);
                let (first, third) = match format {
                    PixelFormat::Bgr | PixelFormat::Bgra | PixelFormat::Bgrx => (2, 0),
                    _ => (0, 2),
                };
                let bytes = row(0, y);
                for (x, ((red, green), blue)) in x.zip(pixels) {
                    let pixel = &bytes[x * step..][..step];
                    [*red, *green, *blue] =
                        [pixel[first], pixel[1], pixel[third]].map(|byte| f32::from(byte) * (1.0 / 255.0));
                }
            }
        }
    }

    /// Writes to `bytes`, row `y` of `plane` of the output, what lies outside of the columns `painted`.
    pub fn keep(&self, plane: usize, y: usize, painted: &[Range<usize>], bytes: &mut [u8]) {
        let Self::Picture(frame, _) = self else { return };
        let source = &frame.planes()[plane];
        let source = &source.data[y * source.stride..];
        let mut copy = |x: Range<usize>| {
            let [from, to] = [x.start, x.end].map(|x| frame.format().row_bytes(plane, x));
            bytes[from..to].copy_from_slice(&source[from..to]);
        };
        let mut from = 0;
        for x in painted {
            copy(from..x.start);
            from = x.end;
        }
        copy(from..frame.width());
    }
}

impl ToRgb {
    /// Red, green and blue of luma, blue and red difference; not clamped.
    #[inline(always)]
    fn color(&self, codes: [u8; 3]) -> [f32; 3] {
        let [luma, blue, red] = codes.map(f32::from);
        let luma = (luma - self.black) * self.luma;
        let (blue, red) = (blue - NEUTRAL, red - NEUTRAL);
        [
            luma + self.red_to_red * red,
            luma + self.blue_to_green * blue + self.red_to_green * red,
            luma + self.blue_to_blue * blue,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::color::{code, FromRgb};
    use crate::{ColorMatrix, ColorRange, ColorSpace};

    #[test]
    fn colours_lead_back_to_their_code_values() {
        for matrix in [ColorMatrix::Bt601, ColorMatrix::Bt709] {
            for range in [ColorRange::Full, ColorRange::Limited] {
                let space = ColorSpace { matrix, range };
                let (to, from) = (ToRgb::new(space), FromRgb::new(space));
                let codes = || (0..=255u8).step_by(5);
                for codes in codes().flat_map(|a| codes().flat_map(move |b| codes().map(move |c| [a, b, c])))
                {
                    let color = to.color(codes);
                    let (blue, red) = from.difference(color);
                    assert_eq!([from.luma(color), blue, red].map(code), codes, "{space:?}");
                }
            }
        }
    }
}
