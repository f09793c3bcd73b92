//! Resampling along the axes: first the rows that an output row needs blend into one line, then each output
//! pixel blends a run of that line.

use std::ops::Range;

use super::{Axis, Sample, Source};

/// Blends the rows of `source` that output row `y` averages into `line`, which then holds the span of
/// `columns` and zeros enough behind it for weights that reach past it.
pub(super) fn blend_rows<T: Sample, const STEP: usize>(
    source: &Source<'_, T, STEP>,
    rows: &Axis,
    columns: &Axis,
    y: usize,
    line: &mut Vec<f32>,
) {
    let span = columns.span();
    let length = span.len() * STEP;
    line.resize(length + columns.uniform().unwrap_or(0) * STEP, 0.0);
    let (line, behind) = line.split_at_mut(length);
    behind.fill(0.0);

    let (first, weights) = rows.weights(y);
    let last = rows.span().end;
    let weights = &weights[..weights.len().min(last.saturating_sub(first))];
    let row = |index: usize| &source.row(first + index)[span.start * STEP..span.end * STEP];

    // Four rows at a time, so that the line is read and written once for four rows.
    let (fours, rest) = weights.as_chunks::<4>();
    for (four, weights) in fours.iter().enumerate() {
        let at = four * 4;
        blend([row(at), row(at + 1), row(at + 2), row(at + 3)], *weights, at == 0, line);
    }
    let at = fours.len() * 4;
    match *rest {
        [] if at == 0 => line.fill(0.0),
        [] => {}
        [a] => blend([row(at)], [a], at == 0, line),
        [a, b] => blend([row(at), row(at + 1)], [a, b], at == 0, line),
        [a, b, c] => blend([row(at), row(at + 1), row(at + 2)], [a, b, c], at == 0, line),
        _ => unreachable!("a remainder of four"),
    }
}

/// Sets `output` to the weighted sum of `rows`, or adds to it.
#[inline(always)]
fn blend<T: Sample, const ROWS: usize>(
    rows: [&[T]; ROWS],
    weights: [f32; ROWS],
    replace: bool,
    output: &mut [f32],
) {
    // Slices of one length let the compiler drop the bounds checks.
    let rows = rows.map(|row| &row[..output.len()]);
    let sum = |x: usize| {
        let mut sum = 0.0;
        for (row, weight) in rows.iter().zip(weights) {
            sum += row[x].value() * weight;
        }
        sum
    };
    if replace {
        for (x, output) in output.iter_mut().enumerate() {
            *output = sum(x);
        }
    } else {
        for (x, output) in output.iter_mut().enumerate() {
            *output += sum(x);
        }
    }
}

/// Writes the output pixels `x` from `lines`, of each the first `N` values of a sample, to one slice each.
pub(super) fn blend_columns<const STEP: usize, const PLANES: usize, const N: usize>(
    lines: [&[f32]; PLANES],
    columns: &Axis,
    x: Range<usize>,
    output: [[&mut [f32]; N]; PLANES],
) {
    match columns.uniform() {
        Some(1) => blend_uniform::<STEP, PLANES, N, 1>(lines, columns, x, output),
        Some(2) => blend_uniform::<STEP, PLANES, N, 2>(lines, columns, x, output),
        Some(3) => blend_uniform::<STEP, PLANES, N, 3>(lines, columns, x, output),
        Some(4) => blend_uniform::<STEP, PLANES, N, 4>(lines, columns, x, output),
        Some(5) => blend_uniform::<STEP, PLANES, N, 5>(lines, columns, x, output),
        Some(6) => blend_uniform::<STEP, PLANES, N, 6>(lines, columns, x, output),
        Some(7) => blend_uniform::<STEP, PLANES, N, 7>(lines, columns, x, output),
        Some(8) => blend_uniform::<STEP, PLANES, N, 8>(lines, columns, x, output),
        _ => {
            for (line, output) in lines.into_iter().zip(output) {
                blend_any::<STEP, N>(line, columns, x.clone(), output);
            }
        }
    }
}

/// [`blend_columns`] for outputs of `WEIGHTS` weights each.
fn blend_uniform<const STEP: usize, const PLANES: usize, const N: usize, const WEIGHTS: usize>(
    lines: [&[f32]; PLANES],
    columns: &Axis,
    x: Range<usize>,
    output: [[&mut [f32]; N]; PLANES],
) {
    let origin = columns.span().start;
    let count = x.len();
    // Slices of one length let the compiler drop the bounds checks.
    let length = lines[0].len();
    let lines = lines.map(|line| &line[..length]);
    let mut output = output.map(|plane| plane.map(|values| &mut values[..count]));
    let (weights, _) = columns.all_weights().as_chunks::<WEIGHTS>();
    let columns = columns.first()[x.clone()].iter().zip(&weights[x]);
    for (index, (first, weights)) in columns.enumerate() {
        let start = (*first as usize - origin) * STEP;
        for (line, output) in lines.iter().zip(&mut output) {
            let run = &line[start..][..WEIGHTS * STEP];
            for (channel, output) in output.iter_mut().enumerate() {
                let mut sum = 0.0;
                for tap in 0..WEIGHTS {
                    sum += run[tap * STEP + channel] * weights[tap];
                }
                output[index] = sum;
            }
        }
    }
}

/// [`blend_columns`] for outputs of many weights.
fn blend_any<const STEP: usize, const N: usize>(
    line: &[f32],
    columns: &Axis,
    x: Range<usize>,
    mut output: [&mut [f32]; N],
) {
    let origin = columns.span().start;
    for (index, x) in x.enumerate() {
        let (first, weights) = columns.weights(x);
        let mut sums = [0.0; N];
        if !weights.is_empty() {
            let run = &line[(first - origin) * STEP..][..weights.len() * STEP];
            for (values, weight) in run.chunks_exact(STEP).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += value * weight;
                }
            }
        }
        for (output, sum) in output.iter_mut().zip(sums) {
            output[index] = sum;
        }
    }
}
