//! Y'CbCr code values to R'G'B' in 0..1 and back, as ITU-R BT.601 and BT.709 define them for 8 bits.

use crate::{ColorRange, ColorSpace};

/// The code value of no colour difference.
pub(crate) const NEUTRAL: f32 = 128.0;

/// Code value of black, code values from black to white, and from no to full colour difference times two.
fn extent(range: ColorRange) -> (f32, f32, f32) {
    match range {
        ColorRange::Full => (0.0, 255.0, 255.0),
        ColorRange::Limited => (16.0, 219.0, 224.0),
    }
}

/// The coefficients from Y'CbCr code values to R'G'B'. Kernels on a GPU take them as they are.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToRgb {
    /// Code value of black.
    pub black: f32,
    /// Luma to all three.
    pub luma: f32,
    /// Blue difference to green.
    pub blue_to_green: f32,
    /// Blue difference to blue.
    pub blue_to_blue: f32,
    /// Red difference to red.
    pub red_to_red: f32,
    /// Red difference to green.
    pub red_to_green: f32,
}

impl ToRgb {
    /// The coefficients of `space`.
    pub fn new(space: ColorSpace) -> Self {
        let (red, blue) = space.matrix.weights();
        let green = 1.0 - red - blue;
        let (black, luma, difference) = extent(space.range);
        let (red_difference, blue_difference) = (2.0 * (1.0 - red), 2.0 * (1.0 - blue));
        Self {
            black,
            luma: 1.0 / luma,
            blue_to_green: -blue_difference * blue / green / difference,
            blue_to_blue: blue_difference / difference,
            red_to_red: red_difference / difference,
            red_to_green: -red_difference * red / green / difference,
        }
    }
}

/// The coefficients from R'G'B' to Y'CbCr code values. Kernels on a GPU take them as they are.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct FromRgb {
    /// Of red, green and blue to luma.
    luma: [f32; 3],
    /// Code value of black.
    black: f32,
    /// Of red, green and blue to the blue difference.
    blue: [f32; 3],
    /// Of red, green and blue to the red difference.
    red: [f32; 3],
}

impl FromRgb {
    /// The coefficients of `space`.
    pub fn new(space: ColorSpace) -> Self {
        let (kr, kb) = space.matrix.weights();
        let kg = 1.0 - kr - kb;
        let (black, luma, difference) = extent(space.range);
        let (to_blue, to_red) = (difference / (2.0 * (1.0 - kb)), difference / (2.0 * (1.0 - kr)));
        Self {
            luma: [kr * luma, kg * luma, kb * luma],
            black,
            blue: [-kr * to_blue, -kg * to_blue, (1.0 - kb) * to_blue],
            red: [(1.0 - kr) * to_red, -kg * to_red, -kb * to_red],
        }
    }

    /// The code value of luma, not rounded.
    #[inline(always)]
    pub fn luma(&self, [red, green, blue]: [f32; 3]) -> f32 {
        self.black + self.luma[0] * red + self.luma[1] * green + self.luma[2] * blue
    }

    /// The code values of the blue and the red difference, not rounded.
    #[inline(always)]
    pub fn difference(&self, [red, green, blue]: [f32; 3]) -> (f32, f32) {
        (
            NEUTRAL + self.blue[0] * red + self.blue[1] * green + self.blue[2] * blue,
            NEUTRAL + self.red[0] * red + self.red[1] * green + self.red[2] * blue,
        )
    }
}

/// The nearest code value; values beyond the range and those that are no number are clamped.
#[inline(always)]
pub(crate) fn code(value: f32) -> u8 {
    // `max` first: it turns a value that is no number into 0.
    #[allow(clippy::manual_clamp)]
    let value = value.max(0.0).min(255.0);
    // At 2^23 the spacing of floats is one, so the addition rounds and leaves the integer in the low bits.
    // Loops over this vectorise, those over a saturating cast do not.
    (value + 8_388_608.0).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ColorMatrix;

    #[test]
    fn code_rounds_and_clamps() {
        for (value, expected) in [(-3.0, 0), (0.49, 0), (0.51, 1), (254.6, 255), (1e9, 255), (f32::NAN, 0)] {
            assert_eq!(code(value), expected, "{value}");
        }
        for value in 0..=255u8 {
            assert_eq!(code(f32::from(value)), value);
        }
    }

    #[test]
    fn white_and_red_have_the_code_values_of_the_standards() {
        let limited = |matrix| FromRgb::new(ColorSpace { matrix, range: ColorRange::Limited });
        let full = FromRgb::new(ColorSpace { matrix: ColorMatrix::Bt601, range: ColorRange::Full });
        assert_eq!(code(limited(ColorMatrix::Bt601).luma([1.0; 3])), 235);
        let red = [1.0, 0.0, 0.0];
        let codes = |c: FromRgb| (code(c.luma(red)), code(c.difference(red).0), code(c.difference(red).1));
        assert_eq!(codes(limited(ColorMatrix::Bt601)), (81, 90, 240));
        assert_eq!(codes(limited(ColorMatrix::Bt709)), (63, 102, 240));
        assert_eq!(codes(full), (76, 85, 255));
    }

    #[test]
    fn the_way_back_leads_home() {
        for matrix in [ColorMatrix::Bt601, ColorMatrix::Bt709] {
            for range in [ColorRange::Full, ColorRange::Limited] {
                let space = ColorSpace { matrix, range };
                let (from, to) = (FromRgb::new(space), ToRgb::new(space));
                let color = [0.2, 0.7, 0.4];
                let luma = (from.luma(color) - to.black) * to.luma;
                let (blue, red) = from.difference(color);
                let (blue, red) = (blue - NEUTRAL, red - NEUTRAL);
                let back = [
                    luma + to.red_to_red * red,
                    luma + to.blue_to_green * blue + to.red_to_green * red,
                    luma + to.blue_to_blue * blue,
                ];
                for (value, expected) in back.iter().zip(color) {
                    assert!((value - expected).abs() < 1e-5, "{space:?}: {back:?}");
                }
            }
        }
    }
}
