//! Which pixels of a row a layer touches.
//!
//! The distances of a place to the four edges of an image are affine functions of the place. The pixels of a
//! row where all of them reach some depth are therefore one run.

use std::ops::Range;

use crate::resample::Coefficients;
use crate::run::run_where;

/// The image of a layer as the frame's pixels see it.
#[derive(Debug)]
pub(super) struct Window {
    map: Coefficients,
    width: f64,
    height: f64,
    feather: f64,
}

impl Window {
    /// The window onto an image of `width` x `height` pixels. A feather that is negative or no number is
    /// none.
    pub fn new(map: Coefficients, width: usize, height: usize, feather: f32) -> Self {
        Self { map, width: width as f64, height: height as f64, feather: f64::from(feather).max(0.0) }
    }

    /// The pixels of row `y` that the layer touches, of `0..columns`.
    pub fn touched(&self, y: usize, columns: usize) -> Range<usize> {
        self.run(y, 0.0, columns)
    }

    /// The pixels of row `y` where the layer is opaque; part of [`touched`](Self::touched).
    pub fn opaque(&self, y: usize, columns: usize) -> Range<usize> {
        self.run(y, self.feather, columns)
    }

    /// Writes the opacity of the pixels `x` of row `y`.
    pub fn opacity(&self, y: usize, x: Range<usize>, output: &mut [f32]) {
        let edges = self.edges(y);
        for (output, x) in output.iter_mut().zip(x) {
            let depth = edges.iter().map(|(slope, start)| slope * x as f64 + start).fold(f64::MAX, f64::min);
            let opacity = if depth >= self.feather { 1.0 } else { depth / self.feather };
            *output = opacity.max(0.0) as f32;
        }
    }

    /// The distance from the left, right, upper and lower edge, as (slope, start) along row `y`.
    fn edges(&self, y: usize) -> [(f64, f64); 4] {
        let [a, b, tx, c, d, ty] = self.map;
        let y = y as f64 + 0.5;
        let (u, v) = (a * 0.5 + b * y + tx, c * 0.5 + d * y + ty);
        [(a, u), (-a, self.width - u), (c, v), (-c, self.height - v)]
    }

    /// The pixels of row `y` that lie at least `depth` inside the image.
    fn run(&self, y: usize, depth: f64, columns: usize) -> Range<usize> {
        run_where(self.edges(y), depth, 0..columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_in_the_frame_touches_its_own_pixels_and_is_opaque_within_the_feather() {
        let window = Window::new([1.0, 0.0, -3.0, 0.0, 1.0, -2.0], 8, 4, 1.5);
        assert_eq!(window.touched(2, 20), 3..11);
        assert_eq!(window.opaque(2, 20), 0..0);
        assert_eq!(window.opaque(3, 20), 4..10);
        assert_eq!(window.touched(6, 20), 0..0);
        let mut opacity = [0.0; 3];
        window.opacity(3, 3..6, &mut opacity);
        assert_eq!(opacity, [0.5 / 1.5, 1.0, 1.0]);
    }

    #[test]
    fn a_turned_image_touches_one_run() {
        let window = Window::new([0.0, 1.0, 0.0, -1.0, 0.0, 5.0], 4, 5, 0.0);
        assert_eq!(window.touched(0, 20), 0..5);
        assert_eq!(window.touched(3, 20), 0..5);
        assert_eq!(window.touched(4, 20), 0..0);
    }

    #[test]
    fn senseless_maps_stay_within_the_row() {
        for value in [0.0, 1e38, -1e38, 1e-38] {
            let window = Window::new([value, value, -value, -value, value, value], 4, 5, f32::NAN);
            for y in 0..3 {
                assert!(window.touched(y, 7).end <= 7);
                assert!(window.opaque(y, 7).end <= 7);
            }
        }
    }
}
