//! Resampling under any affine map: the average of a grid of points, each interpolated bilinearly.

use std::ops::Range;

use super::{Coefficients, Outside, Sample, Source};
use crate::run::run_where;

/// Most points along each side of an output pixel; a coarser grid than the scale asks for bounds the work.
const MOST_POINTS: usize = 16;

/// Most samples from one point to the next: bilinear interpolation blends the samples between points up to two apart,
/// so that none is passed over.
const SPACING: f64 = 1.5;

/// Scales are rounded up to whole points, but not for the rounding error of a sine and cosine.
const SCALE_ERROR: f64 = 1e-4;

/// Points at which every output pixel looks at a plane.
#[derive(Debug)]
pub(crate) struct Grid {
    map: Coefficients,
    /// Of the points from the upper left corner of the pixel, in samples of the plane.
    offsets: Vec<(f64, f64)>,
    /// The same in [`fixed`] point.
    fixed_offsets: Vec<(i64, i64)>,
    /// One over their number.
    share: f32,
    width: usize,
    height: usize,
    outside: Outside,
}

/// Number of points along a row and along a column of points of an output pixel.
pub(crate) fn point_counts(map: &Coefficients) -> (usize, usize) {
    let [a, b, _, c, d, _] = *map;
    let points = |scale: f64| ((scale / SPACING - SCALE_ERROR).ceil() as usize).clamp(1, MOST_POINTS);
    (points(a.hypot(c)), points(b.hypot(d)))
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
        let (across, down) = point_counts(map);
        let middle = |index: usize, count: usize| (index as f64 + 0.5) / count as f64;
        let offsets: Vec<_> = (0..down)
            .flat_map(|j| (0..across).map(move |i| (middle(i, across), middle(j, down))))
            .map(|(x, y)| (a * x + b * y, c * x + d * y))
            .collect();
        // From edges to centres, for interpolation.
        Self {
            map: [a, b, tx - 0.5, c, d, ty - 0.5],
            fixed_offsets: offsets.iter().map(|(du, dv)| (fixed(*du), fixed(*dv))).collect(),
            share: 1.0 / offsets.len() as f32,
            offsets,
            width: source.0,
            height: source.1,
            outside,
        }
    }

    /// The corner of output pixel (x, y), in samples from the centre of the first.
    #[inline(always)]
    fn corner(&self, x: usize, y: usize) -> (f64, f64) {
        let [a, b, tx, c, d, ty] = self.map;
        let (x, y) = (x as f64, y as f64);
        (a * x + b * y + tx, c * x + d * y + ty)
    }

    /// See [`Resampler::fill`](super::Resampler::fill).
    pub fn fill<T: Sample, const STEP: usize, const PLANES: usize, const N: usize>(
        &self,
        sources: &[Source<'_, T, STEP>; PLANES],
        y: usize,
        x: Range<usize>,
        mut output: [[&mut [f32]; N]; PLANES],
    ) {
        let start = x.start;
        let inside = self.inside(y, x.clone());
        for x in (x.start..inside.start).chain(inside.end..x.end) {
            write(&mut output, x - start, self.anywhere(sources, x, y));
        }
        if let Some(walk) = Walk::new(self, y, inside.clone()) {
            for (steps, x) in inside.enumerate() {
                write(&mut output, x - start, self.within(sources, walk.after(steps)));
            }
        } else {
            for x in inside {
                write(&mut output, x - start, self.anywhere(sources, x, y));
            }
        }
    }

    /// The pixels among `x` of row `y` all of whose points lie between centres of the plane.
    fn inside(&self, y: usize, x: Range<usize>) -> Range<usize> {
        let [a, _, _, c, _, _] = self.map;
        let (u, v) = self.corner(0, y);
        let least = |values: &dyn Fn(&(f64, f64)) -> f64| {
            self.offsets.iter().map(values).fold(f64::INFINITY, f64::min)
        };
        let right = (self.width - 1) as f64 - u + least(&|(du, _)| -du);
        let lower = (self.height - 1) as f64 - v + least(&|(_, dv)| -dv);
        let (left, upper) = (u + least(&|(du, _)| *du), v + least(&|(_, dv)| *dv));
        // Well inside, so that rounding does not matter.
        run_where([(a, left), (-a, right), (c, upper), (-c, lower)], 1e-3, x)
    }

    /// Output pixel (`x`, `y`), wherever its points are.
    fn anywhere<T: Sample, const STEP: usize, const PLANES: usize, const N: usize>(
        &self,
        sources: &[Source<'_, T, STEP>; PLANES],
        x: usize,
        y: usize,
    ) -> [[f32; N]; PLANES] {
        // A plane of one column or row has no next one.
        let right = if self.width > 1 { STEP } else { 0 };
        let (u, v) = self.corner(x, y);
        let mut sums = [[0.0; N]; PLANES];
        for (du, dv) in &self.offsets {
            let column = locate(u + du, self.width, self.outside);
            let row = locate(v + dv, self.height, self.outside);
            for (sums, source) in sums.iter_mut().zip(sources) {
                let below = if self.height > 1 { source.stride } else { 0 };
                let start = row.sample * source.stride + column.sample * STEP;
                let weight = row.weight * column.weight;
                let fractions = (column.fraction, row.fraction);
                add_bilinear(source.data, [start, start + below], right, fractions, weight, sums);
            }
        }
        sums.map(|sums| sums.map(|sum| sum * self.share))
    }

    /// An output pixel whose points all lie between centres of the plane.
    #[inline(always)]
    fn within<T: Sample, const STEP: usize, const PLANES: usize, const N: usize>(
        &self,
        sources: &[Source<'_, T, STEP>; PLANES],
        (u, v): (i64, i64),
    ) -> [[f32; N]; PLANES] {
        let mut sums = [[0.0; N]; PLANES];
        for (du, dv) in &self.fixed_offsets {
            let (u, v) = (u.wrapping_add(*du), v.wrapping_add(*dv));
            for (sums, source) in sums.iter_mut().zip(sources) {
                let start = whole(v) * source.stride + whole(u) * STEP;
                let starts = [start, start + source.stride];
                add_bilinear(source.data, starts, STEP, (fraction(u), fraction(v)), 1.0, sums);
            }
        }
        sums.map(|sums| sums.map(|sum| sum * self.share))
    }

    /// See [`Resampler::coverage`](super::Resampler::coverage).
    pub fn coverage(&self, y: usize, output: &mut [f32]) {
        for (x, output) in output.iter_mut().enumerate() {
            let (u, v) = self.corner(x, y);
            let mut sum = 0.0;
            for (du, dv) in &self.offsets {
                sum += locate(u + du, self.width, self.outside).weight
                    * locate(v + dv, self.height, self.outside).weight;
            }
            *output = sum * self.share;
        }
    }
}

/// Positions along a run of output pixels in [`fixed`] point: integers add up exactly, and their whole and
/// fractional parts cost a shift where those of floats cost several instructions.
struct Walk {
    start: (i64, i64),
    step: (i64, i64),
}

impl Walk {
    /// The walk along the pixels `x` of row `y`; `None` if any point of `grid` on the way has no next sample
    /// to its right or below, or there is no way.
    fn new(grid: &Grid, y: usize, x: Range<usize>) -> Option<Self> {
        let [a, _, _, c, _, _] = grid.map;
        let start = grid.corner(x.start, y);
        let walk = Self { start: (fixed(start.0), fixed(start.1)), step: (fixed(a), fixed(c)) };
        // The way is straight, so that its ends tell for all of it.
        let last = i64::try_from(x.len().checked_sub(1)?).ok()?;
        let inside = |start: i64, step: i64, offset: i64, count: usize| {
            let from = start.checked_add(offset)?;
            let to = step.checked_mul(last)?.checked_add(from)?;
            let range = 0..i64::try_from(count).ok()? - 1;
            (range.contains(&(from >> FRACTION_BITS)) && range.contains(&(to >> FRACTION_BITS))).then_some(())
        };
        for (du, dv) in &grid.fixed_offsets {
            inside(walk.start.0, walk.step.0, *du, grid.width)?;
            inside(walk.start.1, walk.step.1, *dv, grid.height)?;
        }
        Some(walk)
    }

    /// The position `steps` pixels on.
    #[inline(always)]
    fn after(&self, steps: usize) -> (i64, i64) {
        // What is checked are sums with an offset, so that only parts of them can wrap, to no effect.
        let after = |start: i64, step: i64| start.wrapping_add(step.wrapping_mul(steps as i64));
        (after(self.start.0, self.step.0), after(self.start.1, self.step.1))
    }
}

/// Fractional bits of positions in fixed point.
const FRACTION_BITS: u32 = 32;

/// `value` in fixed point, saturated.
pub(crate) fn fixed(value: f64) -> i64 {
    (value * (1u64 << FRACTION_BITS) as f64).round() as i64
}

/// The whole part of a position that is not negative.
#[inline(always)]
fn whole(position: i64) -> usize {
    (position >> FRACTION_BITS) as usize
}

/// The fractional part of a position, as exact as a float holds it.
#[inline(always)]
fn fraction(position: i64) -> f32 {
    (position as u32 >> 8) as i32 as f32 * (1.0 / (1 << 24) as f32)
}

/// Adds to `sums`, times `weight`, what lies between the samples at `starts`, in an upper and a lower row,
/// and their right neighbours `right` values on.
#[inline(always)]
fn add_bilinear<T: Sample, const N: usize>(
    data: &[T],
    [upper, lower]: [usize; 2],
    right: usize,
    (across, down): (f32, f32),
    weight: f32,
    sums: &mut [f32; N],
) {
    let (upper, lower) = (&data[upper..][..right + N], &data[lower..][..right + N]);
    for (channel, sum) in sums.iter_mut().enumerate() {
        let mix = |values: &[T]| {
            let (near, far) = (values[channel].value(), values[channel + right].value());
            near + (far - near) * across
        };
        let (upper, lower) = (mix(upper), mix(lower));
        *sum += (upper + (lower - upper) * down) * weight;
    }
}

/// Writes the values of one pixel.
#[inline(always)]
fn write<const PLANES: usize, const N: usize>(
    output: &mut [[&mut [f32]; N]; PLANES],
    index: usize,
    values: [[f32; N]; PLANES],
) {
    for (output, values) in output.iter_mut().flatten().zip(values.into_iter().flatten()) {
        output[index] = values;
    }
}

/// Brings `position`, in samples from the centre of the first, inside `count` samples. `sample + 1` is inside
/// too unless there is only one.
///
/// Interpolation is linear between centres, so that replicating or mirroring the position is the same as
/// doing it to the samples, and fading to zeros the same as a weight.
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
