//! Weights along one axis.

use std::ops::Range;

use super::Outside;

/// How far beyond the picture it is mirrored, in samples, where the picture itself is smaller. Farther out
/// the outermost mirrored sample repeats, which bounds the work that a senseless map can cause.
const MIRRORED: usize = 4096;

/// Parts of a sample smaller than this are rounding errors of the map, not worth a weight of their own.
const NEGLIGIBLE: f64 = 1e-6;

/// Up to this many weights, every output gets as many as the one with the most, so that the loops over them
/// can be unrolled.
const UNROLLED: usize = 8;

/// For each output pixel along an axis, the run of samples it averages and their weights.
#[derive(Debug)]
pub(crate) struct Axis {
    /// Sample of the first weight, for each output.
    first: Vec<u32>,
    /// Index of the first weight, for each output and one more.
    start: Vec<usize>,
    weights: Vec<f32>,
    /// The sum of the weights: 1, or less where the output reaches outside and finds zero there.
    coverage: Vec<f32>,
    /// Number of weights where it is the same for every output and at most [`UNROLLED`].
    uniform: Option<usize>,
    /// The samples that have any weight.
    span: Range<usize>,
}

impl Axis {
    /// Weights of `samples` samples for `outputs` pixels; pixel `i` covers from `scale * i + offset` to
    /// `scale * (i + 1) + offset`. Both numbers must be finite.
    pub fn new(scale: f64, offset: f64, outputs: usize, samples: usize, outside: Outside) -> Self {
        let mut line = Line { weights: vec![0.0; samples], used: 0..0, outside };
        let mut axis = Self {
            first: Vec::with_capacity(outputs),
            start: vec![0],
            weights: Vec::with_capacity(outputs * 2),
            coverage: Vec::with_capacity(outputs),
            uniform: None,
            span: samples..0,
        };
        for output in 0..outputs {
            let from = scale * output as f64 + offset;
            if scale.abs() > 1.0 {
                line.add_box(from.min(from + scale), scale.abs());
            } else {
                line.add_point(from + scale / 2.0 - 0.5);
            }
            axis.take(&mut line);
        }
        if axis.span.is_empty() {
            axis.span = 0..0;
        }
        axis.unroll();
        axis
    }

    /// Appends what `line` has gathered for one output, and clears it.
    fn take(&mut self, line: &mut Line) {
        let used = line.used.clone();
        let total: f64 = line.weights[used.clone()].iter().sum();
        // Beside zeros a weight missing is meant; elsewhere it is only a rounding error.
        let gain = if line.outside == Outside::Zero || total == 0.0 { 1.0 } else { 1.0 / total };
        self.first.push(used.start as u32);
        self.weights.extend(line.weights[used.clone()].iter().map(|weight| (weight * gain) as f32));
        self.start.push(self.weights.len());
        self.coverage.push((total * gain) as f32);
        if !used.is_empty() {
            self.span = self.span.start.min(used.start)..self.span.end.max(used.end);
        }
        line.weights[used].fill(0.0);
        line.used = 0..0;
    }

    /// Gives every output the same number of weights if that number is small.
    fn unroll(&mut self) {
        let most = self.start.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0).max(1);
        if most > UNROLLED {
            return;
        }
        let mut weights = vec![0.0; most * self.first.len()];
        for (output, padded) in weights.chunks_exact_mut(most).enumerate() {
            let own = &self.weights[self.start[output]..self.start[output + 1]];
            if own.is_empty() {
                self.first[output] = self.span.start as u32;
            }
            padded[..own.len()].copy_from_slice(own);
        }
        self.weights = weights;
        self.start = (0..=self.first.len()).map(|output| output * most).collect();
        self.uniform = Some(most);
    }

    /// First sample and weights of output `index`. Weights that reach past [`span`](Self::span) are zero.
    #[inline(always)]
    pub fn weights(&self, index: usize) -> (usize, &[f32]) {
        (self.first[index] as usize, &self.weights[self.start[index]..self.start[index + 1]])
    }

    /// First samples of the outputs.
    pub fn first(&self) -> &[u32] {
        &self.first
    }

    /// All weights, those of one output after those of another.
    pub fn all_weights(&self) -> &[f32] {
        &self.weights
    }

    /// Number of weights of every output if they all have the same small number.
    pub fn uniform(&self) -> Option<usize> {
        self.uniform
    }

    /// Which part (0..1) of each output lies inside, for [`Outside::Zero`].
    pub fn coverage(&self) -> &[f32] {
        &self.coverage
    }

    /// The samples that any output uses.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// The weights of all samples for one output, gathered before they are stored.
struct Line {
    weights: Vec<f64>,
    /// Outside this range all weights are zero.
    used: Range<usize>,
    outside: Outside,
}

impl Line {
    fn add(&mut self, sample: usize, weight: f64) {
        if weight < NEGLIGIBLE {
            return;
        }
        self.weights[sample] += weight;
        self.used = if self.used.is_empty() {
            sample..sample + 1
        } else {
            self.used.start.min(sample)..self.used.end.max(sample + 1)
        };
    }

    /// Linear interpolation at `position`, in samples from the centre of the first one.
    fn add_point(&mut self, position: f64) {
        // Beyond this nothing changes any more, and the integers below stay small.
        let reach = self.reach() as f64;
        let position = position.clamp(-reach - 1.0, self.weights.len() as f64 + reach);
        let first = position.floor();
        let fraction = position - first;
        for (sample, weight) in [(first as i64, 1.0 - fraction), (first as i64 + 1, fraction)] {
            if let Some(sample) = self.resolve(sample) {
                self.add(sample, weight);
            }
        }
    }

    /// The average over the `length` samples from `low` on, parts of samples counting as such.
    fn add_box(&mut self, low: f64, length: f64) {
        let high = low + length;
        let count = self.weights.len() as f64;
        let reach = match self.outside {
            Outside::Mirror => self.reach() as f64,
            Outside::Zero | Outside::Replicate => 0.0,
        };
        let (from, to) = (low.clamp(-reach, count + reach), high.clamp(-reach, count + reach));
        for index in from.floor() as i64..to.ceil() as i64 {
            let part = to.min((index + 1) as f64) - from.max(index as f64);
            if let Some(sample) = self.resolve(index) {
                self.add(sample, part / length);
            }
        }
        if self.outside != Outside::Zero {
            for (sample, part) in [(-reach as i64, from - low), (count as i64 - 1 + reach as i64, high - to)]
            {
                if let Some(sample) = self.resolve(sample) {
                    self.add(sample, part / length);
                }
            }
        }
    }

    /// How far outside samples still differ from their neighbours.
    fn reach(&self) -> usize {
        self.weights.len().max(MIRRORED)
    }

    /// The sample inside that stands for `index`; `None` for zero.
    fn resolve(&self, index: i64) -> Option<usize> {
        let count = self.weights.len() as i64;
        if (0..count).contains(&index) {
            return Some(index as usize);
        }
        match self.outside {
            Outside::Zero => None,
            Outside::Replicate => Some(index.clamp(0, count - 1) as usize),
            Outside::Mirror if count == 1 => Some(0),
            Outside::Mirror => {
                let period = 2 * (count - 1);
                let folded = index.rem_euclid(period);
                Some(folded.min(period - folded) as usize)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(axis: &Axis, output: usize) -> Vec<(usize, f32)> {
        let (first, weights) = axis.weights(output);
        (first..).zip(weights.iter().copied()).filter(|(_, weight)| *weight != 0.0).collect()
    }

    #[test]
    fn shrinking_averages_whole_and_partial_samples() {
        let axis = Axis::new(1.5, 0.0, 2, 3, Outside::Replicate);
        let third = 1.0 / 3.0;
        assert_eq!(weights(&axis, 0), [(0, 2.0 * third), (1, third)]);
        assert_eq!(weights(&axis, 1), [(1, third), (2, 2.0 * third)]);
    }

    #[test]
    fn enlarging_interpolates_between_centres() {
        let axis = Axis::new(0.5, 0.0, 4, 2, Outside::Replicate);
        assert_eq!(weights(&axis, 0), [(0, 1.0)]);
        assert_eq!(weights(&axis, 1), [(0, 0.75), (1, 0.25)]);
        assert_eq!(weights(&axis, 2), [(0, 0.25), (1, 0.75)]);
        assert_eq!(weights(&axis, 3), [(1, 1.0)]);
    }

    #[test]
    fn a_mirrored_plane_does_not_repeat_its_edge() {
        let axis = Axis::new(1.0, -3.0, 9, 3, Outside::Mirror);
        let samples: Vec<usize> = (0..9).map(|output| weights(&axis, output)[0].0).collect();
        assert_eq!(samples, [1, 2, 1, 0, 1, 2, 1, 0, 1]);
    }

    #[test]
    fn coverage_is_the_part_inside() {
        let axis = Axis::new(4.0, -1.0, 3, 4, Outside::Zero);
        assert_eq!(axis.coverage(), [0.75, 0.25, 0.0]);
    }

    #[test]
    fn a_box_that_covers_everything_weighs_its_outside_too() {
        let axis = Axis::new(8.0, -3.0, 1, 2, Outside::Replicate);
        assert_eq!(weights(&axis, 0), [(0, 0.5), (1, 0.5)]);
    }

    #[test]
    fn senseless_scales_cost_no_more_than_the_plane() {
        for outside in [Outside::Zero, Outside::Replicate, Outside::Mirror] {
            for (scale, offset) in
                [(1e38, -1e38), (-1e38, 1e38), (0.0, 1e38), (1e-38, -1e38), (1e30, 0.0), (0.5, 1e38)]
            {
                let axis = Axis::new(scale, offset, 100, 50, outside);
                assert!(axis.all_weights().len() <= 100 * (UNROLLED + 50), "{scale} {offset}");
                assert!(axis.all_weights().iter().all(|weight| weight.is_finite()));
                let full = axis.coverage().iter().all(|sum| (sum - 1.0).abs() < 1e-5);
                assert!(full || outside == Outside::Zero, "{scale} {offset} {outside:?}");
            }
        }
    }
}
