//! Resampling under any affine map: the average of a grid of points, each interpolated bilinearly.

use std::ops::Range;

use super::{Coefficients, Outside, Sample, Source};

/// Most points along each side of an output pixel; a coarser grid than the scale asks for bounds the work.
const MOST_POINTS: usize = 16;

/// Scales are rounded up to whole points, but not for the rounding error of a sine and cosine.
const SCALE_ERROR: f64 = 1e-4;

/// Points at which every output pixel looks at a plane.
#[derive(Debug)]
pub(crate) struct Grid {
    map: Coefficients,
    /// Of the points from the upper left corner of the pixel, in samples of the plane.
    offsets: Vec<(f64, f64)>,
    width: usize,
    height: usize,
    outside: Outside,
}

/// Where along an axis a point falls.
struct Position {
    sample: usize,
    /// Weight of the following sample.
    fraction: f32,
    /// Weight of the point: less than 1 only where it mixes with zeros outside.
    weight: f32,
}

impl Grid {
    /// The grid for `map` from output to a plane of `source` (width, height) samples.
    pub fn new(map: &Coefficients, source: (usize, usize), outside: Outside) -> Self {
        let [a, b, tx, c, d, ty] = *map;
        let points = |scale: f64| ((scale - SCALE_ERROR).ceil() as usize).clamp(1, MOST_POINTS);
        let (across, down) = (points(a.hypot(c)), points(b.hypot(d)));
        let middle = |index: usize, count: usize| (index as f64 + 0.5) / count as f64;
        let offsets = (0..down)
            .flat_map(|j| (0..across).map(move |i| (middle(i, across), middle(j, down))))
            .map(|(x, y)| (a * x + b * y, c * x + d * y))
            .collect();
        // From edges to centres, for interpolation.
        Self { map: [a, b, tx - 0.5, c, d, ty - 0.5], offsets, width: source.0, height: source.1, outside }
    }

    /// The corner of output pixel (x, y), in samples from the centre of the first.
    #[inline(always)]
    fn corner(&self, x: usize, y: usize) -> (f64, f64) {
        let [a, b, tx, c, d, ty] = self.map;
        let (x, y) = (x as f64, y as f64);
        (a * x + b * y + tx, c * x + d * y + ty)
    }

    /// See [`Resampler::fill`](super::Resampler::fill).
    pub fn fill<T: Sample, const STEP: usize, const N: usize>(
        &self,
        source: &Source<'_, T, STEP>,
        y: usize,
        x: Range<usize>,
        mut output: [&mut [f32]; N],
    ) {
        let share = 1.0 / self.offsets.len() as f32;
        // A plane of one column or row has no next one.
        let right = if self.width > 1 { STEP } else { 0 };
        let below = if self.height > 1 { source.stride } else { 0 };
        for (index, x) in x.enumerate() {
            let (u, v) = self.corner(x, y);
            let mut sums = [0.0f32; N];
            for (du, dv) in &self.offsets {
                let column = locate(u + du, self.width, self.outside);
                let row = locate(v + dv, self.height, self.outside);
                let start = row.sample * source.stride + column.sample * STEP;
                let upper = &source.data[start..][..right + N];
                let lower = &source.data[start + below..][..right + N];
                let weight = row.weight * column.weight;
                for (channel, sum) in sums.iter_mut().enumerate() {
                    let mix = |values: &[T]| {
                        let (near, far) = (values[channel].value(), values[channel + right].value());
                        near + (far - near) * column.fraction
                    };
                    let (upper, lower) = (mix(upper), mix(lower));
                    *sum += (upper + (lower - upper) * row.fraction) * weight;
                }
            }
            for (output, sum) in output.iter_mut().zip(sums) {
                output[index] = sum * share;
            }
        }
    }

    /// See [`Resampler::coverage`](super::Resampler::coverage).
    pub fn coverage(&self, y: usize, output: &mut [f32]) {
        let share = 1.0 / self.offsets.len() as f32;
        for (x, output) in output.iter_mut().enumerate() {
            let (u, v) = self.corner(x, y);
            let mut sum = 0.0;
            for (du, dv) in &self.offsets {
                sum += locate(u + du, self.width, self.outside).weight
                    * locate(v + dv, self.height, self.outside).weight;
            }
            *output = sum * share;
        }
    }
}

/// Brings `position`, in samples from the centre of the first, inside `count` samples. `sample + 1` is inside
/// too unless there is only one.
///
/// Interpolation is linear between centres, so that replicating or mirroring the position is the same as doing
/// it to the samples, and fading to zeros the same as a weight.
#[inline(always)]
fn locate(position: f64, count: usize, outside: Outside) -> Position {
    let last = (count - 1) as f64;
    let mut inside = position;
    let mut weight = 1.0;
    if !(0.0..=last).contains(&position) {
        inside = match outside {
            Outside::Mirror if count > 1 => {
                let folded = position.rem_euclid(2.0 * last);
                folded.min(2.0 * last - folded).clamp(0.0, last)
            }
            _ => position.clamp(0.0, last),
        };
        if outside == Outside::Zero {
            weight = (1.0 - (position - inside).abs()).max(0.0) as f32;
        }
    }
    let sample = (inside as usize).min(count.saturating_sub(2));
    Position { sample, fraction: (inside - sample as f64) as f32, weight }
}
