//! Resampling of one plane under an affine map: the part that [`sample`](crate::sample()) and
//! [`compose`](crate::Device::compose) share.
//!
//! A pixel of the output covers a parallelogram of the plane. Where it covers more than one sample, it takes
//! their average, else it interpolates linearly; the two meet at a scale of one. Maps without rotation split
//! into one [`Axis`] each for columns and rows and are exact; the others average a [`Grid`] of points.

mod axis;
mod grid;
mod separable;

pub(crate) use axis::Axis;
pub(crate) use grid::{fixed, point_counts, Grid};
use std::ops::Range;

use crate::Affine;

/// A map that moves no output pixel by more than this across its own axis counts as free of rotation, in
/// pixels.
const AXIS_ALIGNED: f64 = 1e-3;

/// A value that a plane stores.
pub(crate) trait Sample: Copy + Send + Sync {
    /// The value as it is, not scaled.
    fn value(self) -> f32;
}

impl Sample for u8 {
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from(self)
    }
}

impl Sample for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

/// What a pixel finds outside the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outside {
    /// Zero; the coverage says how much of the output pixel lies inside.
    Zero,
    /// The nearest sample.
    Replicate,
    /// The plane mirrored at its outermost samples.
    Mirror,
}

/// Rows of `width` samples of `STEP` interleaved values each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a, T, const STEP: usize> {
    /// The values from the first sample on.
    pub data: &'a [T],
    /// Values from one row to the next.
    pub stride: usize,
    /// Samples in a row.
    pub width: usize,
}

impl<'a, T, const STEP: usize> Source<'a, T, STEP> {
    /// The values of row `y`.
    #[inline(always)]
    fn row(&self, y: usize) -> &'a [T] {
        &self.data[y * self.stride..][..self.width * STEP]
    }
}

/// Coefficients of an affine map in double precision, so that positions in large pictures stay exact.
pub(crate) type Coefficients = [f64; 6];

/// The coefficients of `map`. A map that holds an infinity or no number points far outside every picture.
pub(crate) fn coefficients(map: &Affine) -> Coefficients {
    if map.m.iter().all(|value| value.is_finite()) {
        map.m.map(f64::from)
    } else {
        [0.0, 0.0, -1e9, 0.0, 0.0, -1e9]
    }
}

/// Whether `map` turns an output of that size (width, height) so little that columns and rows may be taken apart.
pub(crate) fn is_straight(map: &Coefficients, output: (usize, usize)) -> bool {
    let [_, b, _, c, _, _] = *map;
    b.abs() * output.1 as f64 <= AXIS_ALIGNED && c.abs() * output.0 as f64 <= AXIS_ALIGNED
}

/// `value` in 0..1; 0 if it is no number.
#[inline(always)]
pub(crate) fn unit(value: f32) -> f32 {
    // In this order because `max` turns what is no number into 0; `clamp` would let it through.
    #[allow(clippy::manual_clamp)]
    value.max(0.0).min(1.0)
}

/// The way from an output of fixed size to planes of fixed size.
#[derive(Debug)]
pub(crate) enum Resampler {
    /// Columns and rows apart.
    Separable {
        /// Weights along a row.
        columns: Axis,
        /// Weights along a column.
        rows: Axis,
    },
    /// Points one by one.
    Grid(Grid),
}

impl Resampler {
    /// Prepares `map` from an output to planes, each given as (width, height).
    pub fn new(map: &Coefficients, output: (usize, usize), source: (usize, usize), outside: Outside) -> Self {
        Self::of_kind(is_straight(map, output), map, output, source, outside)
    }

    /// The same, columns and rows apart if `straight`: the planes of one picture must agree in that.
    pub fn of_kind(
        straight: bool,
        map: &Coefficients,
        output: (usize, usize),
        source: (usize, usize),
        outside: Outside,
    ) -> Self {
        let [a, _, tx, _, d, ty] = *map;
        if straight {
            Self::Separable {
                columns: Axis::new(a, tx, output.0, source.0, outside),
                rows: Axis::new(d, ty, output.1, source.1, outside),
            }
        } else {
            Self::Grid(Grid::new(map, source, outside))
        }
    }

    /// Readies `lines`, one for each of `sources`, for calls of [`fill`](Self::fill) on output row `y`;
    /// reuses their allocations.
    pub fn prepare<T: Sample, const STEP: usize>(
        &self,
        sources: &[Source<'_, T, STEP>],
        y: usize,
        lines: &mut [Vec<f32>],
    ) {
        if let Self::Separable { columns, rows } = self {
            for (source, line) in sources.iter().zip(lines) {
                separable::blend_rows(source, rows, columns, y, line);
            }
        }
    }

    /// Writes the output pixels `x` of row `y`: of each of the `PLANES` sources, which share their size and
    /// stride, the first `N` values of each sample, to one slice each.
    pub fn fill<T: Sample, const STEP: usize, const PLANES: usize, const N: usize>(
        &self,
        sources: &[Source<'_, T, STEP>; PLANES],
        y: usize,
        x: Range<usize>,
        lines: &[Vec<f32>],
        output: [[&mut [f32]; N]; PLANES],
    ) {
        match self {
            Self::Separable { columns, .. } => {
                let lines = std::array::from_fn(|plane| lines[plane].as_slice());
                separable::blend_columns::<STEP, PLANES, N>(lines, columns, x, output);
            }
            Self::Grid(grid) => grid.fill(sources, y, x, output),
        }
    }

    /// Writes which part (0..1) of each pixel of output row `y` lies inside the plane; for [`Outside::Zero`].
    pub fn coverage(&self, y: usize, output: &mut [f32]) {
        match self {
            Self::Separable { columns, rows } => {
                let row = rows.coverage()[y];
                for (output, column) in output.iter_mut().zip(columns.coverage()) {
                    *output = row * column;
                }
            }
            Self::Grid(grid) => grid.coverage(y, output),
        }
    }
}
