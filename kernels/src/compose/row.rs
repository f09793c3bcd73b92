//! Paints rows of layers.

use std::ops::Range;

use super::span::Window;
use super::{Layer, Rgb};
use crate::resample::{coefficients, unit, Outside, Resampler, Source};

/// All layers of a picture, ready to paint its rows in any order.
pub(super) struct Painter<'a> {
    layers: Vec<Prepared<'a>>,
    background: [f32; 3],
    width: usize,
    height: usize,
}

/// A layer and what is known of it for the whole frame.
struct Prepared<'a> {
    planes: [Source<'a, f32, 1>; 3],
    resampler: Resampler,
    window: Window,
}

/// What one thread needs to paint a row.
pub(super) struct Scratch {
    /// Red, green and blue of the row.
    pixels: [Vec<f32>; 3],
    /// Red, green and blue of a translucent run.
    run: [Vec<f32>; 3],
    opacity: Vec<f32>,
    /// For [`Resampler::prepare`], one for each colour.
    lines: [Vec<f32>; 3],
    /// Of each layer, the pixels it touches and those where it is opaque.
    spans: Vec<(Range<usize>, Range<usize>)>,
}

/// What one thread needs to paint a pair of rows.
pub(super) struct PairScratch {
    rows: [Scratch; 2],
    mean: [Vec<f32>; 3],
}

/// Two painted rows that share their colour difference.
pub(super) struct Pair<'s> {
    /// The rows. Where the upper one is the last of the frame, the other one is the same.
    pub rows: [Rgb<'s>; 2],
    /// The averages of each two columns of both rows, or of the last column where it is single.
    pub mean: Rgb<'s>,
}

impl<'a> Painter<'a> {
    /// Prepares `layers` for a frame of `width` x `height` pixels.
    pub fn new(layers: &[Layer<'a>], background: [f32; 3], width: usize, height: usize) -> Self {
        Self {
            layers: layers.iter().filter_map(|layer| Prepared::new(layer, width, height)).collect(),
            background: background.map(unit),
            width,
            height,
        }
    }

    /// Room to paint rows in.
    pub fn scratch(&self) -> Scratch {
        let row = || vec![0.0; self.width];
        Scratch {
            pixels: [row(), row(), row()],
            run: [row(), row(), row()],
            opacity: row(),
            lines: [Vec::new(), Vec::new(), Vec::new()],
            spans: Vec::with_capacity(self.layers.len()),
        }
    }

    /// Room to paint pairs of rows in.
    pub fn pair_scratch(&self) -> PairScratch {
        let half = || vec![0.0; self.width.div_ceil(2)];
        PairScratch { rows: [self.scratch(), self.scratch()], mean: [half(), half(), half()] }
    }

    /// Paints the rows `2 * index` and, where the frame has it, the next.
    pub fn pair<'s>(&self, index: usize, scratch: &'s mut PairScratch) -> Pair<'s> {
        let PairScratch { rows: [upper, lower], mean } = scratch;
        let upper = self.row(2 * index, upper);
        let lower = if 2 * index + 1 < self.height { self.row(2 * index + 1, lower) } else { upper };
        for ((mean, upper), lower) in mean.iter_mut().zip(upper).zip(lower) {
            let (upper_pairs, upper_rest) = upper.as_chunks::<2>();
            let (lower_pairs, lower_rest) = lower.as_chunks::<2>();
            for ((mean, [a, b]), [c, d]) in mean.iter_mut().zip(upper_pairs).zip(lower_pairs) {
                *mean = (a + b + c + d) * 0.25;
            }
            if let ([.., mean], [a], [c]) = (mean.as_mut_slice(), upper_rest, lower_rest) {
                *mean = (a + c) * 0.5;
            }
        }
        let [red, green, blue] = mean;
        Pair { rows: [upper, lower], mean: [red, green, blue] }
    }

    /// Paints row `y`.
    pub fn row<'s>(&self, y: usize, scratch: &'s mut Scratch) -> Rgb<'s> {
        let Scratch { pixels, run, opacity, lines, spans } = scratch;
        spans.clear();
        let windows = self.layers.iter().map(|layer| &layer.window);
        spans.extend(windows.map(|window| (window.touched(y, self.width), window.opaque(y, self.width))));

        for_each_visible(0..self.width, spans, |x| {
            for (pixels, value) in pixels.iter_mut().zip(self.background) {
                pixels[x.clone()].fill(value);
            }
        });
        for (index, layer) in self.layers.iter().enumerate() {
            let (touched, opaque) = spans[index].clone();
            let mut ready = false;
            for_each_visible(touched, &spans[index + 1..], |x| {
                if !ready {
                    layer.resampler.prepare(&layer.planes, y, lines);
                    ready = true;
                }
                // Before, within and after the opaque pixels.
                let from = opaque.start.clamp(x.start, x.end);
                let to = opaque.end.clamp(from, x.end);
                layer.blend(y, x.start..from, lines, pixels, run, opacity);
                layer.cover(y, from..to, lines, pixels);
                layer.blend(y, to..x.end, lines, pixels, run, opacity);
            });
        }
        let [red, green, blue] = pixels;
        [red, green, blue]
    }
}

impl<'a> Prepared<'a> {
    /// `None` if the layer has no pixels.
    fn new(layer: &Layer<'a>, width: usize, height: usize) -> Option<Self> {
        let (image_width, image_height) = layer.size();
        let size = image_width * image_height;
        if size == 0 {
            return None;
        }
        let map = coefficients(&layer.map);
        let plane = |index: usize| Source {
            data: &layer.image.data()[index * size..][..size],
            stride: image_width,
            width: image_width,
        };
        let image = (image_width, image_height);
        Some(Self {
            planes: [plane(0), plane(1), plane(2)],
            resampler: Resampler::new(&map, (width, height), image, Outside::Replicate),
            window: Window::new(map, image_width, image_height, layer.feather),
        })
    }

    /// Replaces the pixels `x` of row `y`.
    fn cover(&self, y: usize, x: Range<usize>, lines: &[Vec<f32>; 3], pixels: &mut [Vec<f32>; 3]) {
        let mut pixels = pixels.each_mut().map(|pixels| &mut pixels[x.clone()]);
        self.resampler.fill(&self.planes, y, x, lines, pixels.each_mut().map(|pixels| [&mut **pixels]));
        for pixels in pixels {
            pixels.iter_mut().for_each(|value| *value = unit(*value));
        }
    }

    /// Mixes with the pixels `x` of row `y` by the opacity there.
    fn blend(
        &self,
        y: usize,
        x: Range<usize>,
        lines: &[Vec<f32>; 3],
        pixels: &mut [Vec<f32>; 3],
        run: &mut [Vec<f32>; 3],
        opacity: &mut [f32],
    ) {
        if x.is_empty() {
            return;
        }
        self.window.opacity(y, x.clone(), opacity);
        let output = run.each_mut().map(|run| [&mut run[..x.len()]]);
        self.resampler.fill(&self.planes, y, x.clone(), lines, output);
        for (pixels, run) in pixels.iter_mut().zip(run) {
            for ((pixel, value), opacity) in pixels[x.clone()].iter_mut().zip(run).zip(&*opacity) {
                *pixel += (unit(*value) - *pixel) * opacity;
            }
        }
    }
}

/// Hands out the runs of `x` that none of the layers `above` hides.
fn for_each_visible(
    x: Range<usize>,
    above: &[(Range<usize>, Range<usize>)],
    mut visit: impl FnMut(Range<usize>),
) {
    let mut from = x.start;
    while from < x.end {
        if let Some((_, opaque)) = above.iter().find(|(_, opaque)| opaque.contains(&from)) {
            from = opaque.end;
            continue;
        }
        let next = above.iter().map(|(_, opaque)| opaque).filter(|opaque| !opaque.is_empty());
        let to = next.map(|opaque| opaque.start).filter(|start| *start > from).min().unwrap_or(x.end);
        visit(from..to.min(x.end));
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_pixels_are_left_out() {
        let above = [(0..9, 2..4), (0..9, 3..6), (0..9, 0..0), (0..9, 8..12)];
        let mut runs = Vec::new();
        for_each_visible(1..10, &above, |x| runs.push(x));
        assert_eq!(runs, [1..2, 6..8]);
    }
}
