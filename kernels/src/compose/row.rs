//! Paints rows of layers.

use std::ops::Range;

use super::backdrop::Backdrop;
use super::span::Window;
use super::{Layer, Rgb};
use crate::resample::{coefficients, unit, Outside, Resampler, Source};

/// All layers of a picture, ready to paint its rows in any order.
pub(super) struct Painter<'a> {
    layers: Vec<Prepared<'a>>,
    backdrop: Backdrop<'a>,
    width: usize,
    height: usize,
}

/// A layer and what is known of it for the whole frame.
struct Prepared<'a> {
    planes: [Source<'a, f32, 1>; 3],
    resampler: Resampler,
    window: Window,
}

/// What a layer touches of a row, and where it is opaque.
type Spans = (Range<usize>, Range<usize>);

/// What one thread needs to paint a row.
pub(super) struct Scratch {
    /// Of each layer.
    spans: Vec<Spans>,
    /// The pixels to paint, from left to right.
    painted: Vec<Range<usize>>,
    room: Room,
}

/// Room for the values of a row.
struct Room {
    /// Red, green and blue of the row.
    pixels: [Vec<f32>; 3],
    /// Red, green and blue of a translucent run.
    run: [Vec<f32>; 3],
    opacity: Vec<f32>,
    /// For [`Resampler::prepare`], one for each colour.
    lines: [Vec<f32>; 3],
}

/// What one thread needs to paint a pair of rows.
pub(super) struct PairScratch {
    rows: [Scratch; 2],
    mean: [Vec<f32>; 3],
}

/// A painted row.
pub(super) struct Row<'s> {
    pub pixels: Rgb<'s>,
    /// The runs that were painted, from left to right. Elsewhere the background stays as it is.
    pub painted: &'s [Range<usize>],
}

/// Two painted rows that share their colour difference.
pub(super) struct Pair<'s> {
    /// The rows. Where the upper one is the last of the frame, the other one is the same.
    pub rows: [Rgb<'s>; 2],
    /// The averages of each two columns of both rows, or of the last column where it is single.
    pub mean: Rgb<'s>,
    /// The runs of columns that were painted, whole pairs of them. Elsewhere the background stays as it is.
    pub painted: &'s [Range<usize>],
}

impl<'a> Painter<'a> {
    /// Prepares `layers` over `backdrop` for a frame of `width` x `height` pixels.
    pub fn new(layers: &[Layer<'a>], backdrop: Backdrop<'a>, width: usize, height: usize) -> Self {
        Self {
            layers: layers.iter().filter_map(|layer| Prepared::new(layer, width, height)).collect(),
            backdrop,
            width,
            height,
        }
    }

    /// What lies below the layers.
    pub fn backdrop(&self) -> &Backdrop<'a> {
        &self.backdrop
    }

    /// Room to paint rows in.
    pub fn scratch(&self) -> Scratch {
        let row = || vec![0.0; self.width];
        let room = Room {
            pixels: [row(), row(), row()],
            run: [row(), row(), row()],
            opacity: row(),
            lines: [Vec::new(), Vec::new(), Vec::new()],
        };
        Scratch { spans: Vec::with_capacity(self.layers.len()), painted: Vec::new(), room }
    }

    /// Room to paint pairs of rows in.
    pub fn pair_scratch(&self) -> PairScratch {
        let half = || vec![0.0; self.width.div_ceil(2)];
        PairScratch { rows: [self.scratch(), self.scratch()], mean: [half(), half(), half()] }
    }

    /// Paints the rows `2 * index` and, where the frame has it, the next.
    pub fn pair<'s>(&self, index: usize, scratch: &'s mut PairScratch) -> Pair<'s> {
        let PairScratch { rows: [upper, lower], mean } = scratch;
        let y = 2 * index;
        let single = y + 1 == self.height;
        self.span(y, upper);
        if single {
            lower.spans.clear();
        } else {
            self.span(y + 1, lower);
        }
        // Pixels that share their colour difference with a painted one are painted too.
        self.painted([&upper.spans, &lower.spans], 2, &mut upper.painted);
        let painted = &upper.painted;
        self.paint(y, painted, &upper.spans, &mut upper.room);
        if !single {
            self.paint(y + 1, painted, &lower.spans, &mut lower.room);
        }
        let [red, green, blue] = &upper.room.pixels;
        let upper: Rgb<'_> = [red, green, blue];
        let [red, green, blue] = &lower.room.pixels;
        let lower: Rgb<'_> = if single { upper } else { [red, green, blue] };
        for ((mean, upper), lower) in mean.iter_mut().zip(upper).zip(lower) {
            for x in painted {
                let mean = &mut mean[x.start / 2..x.end.div_ceil(2)];
                let (upper_pairs, upper_rest) = upper[x.clone()].as_chunks::<2>();
                let (lower_pairs, lower_rest) = lower[x.clone()].as_chunks::<2>();
                for ((mean, [a, b]), [c, d]) in mean.iter_mut().zip(upper_pairs).zip(lower_pairs) {
                    *mean = (a + b + c + d) * 0.25;
                }
                if let ([.., mean], [a], [c]) = (mean, upper_rest, lower_rest) {
                    *mean = (a + c) * 0.5;
                }
            }
        }
        let [red, green, blue] = mean;
        Pair { rows: [upper, lower], mean: [red, green, blue], painted }
    }

    /// Paints row `y`.
    pub fn row<'s>(&self, y: usize, scratch: &'s mut Scratch) -> Row<'s> {
        self.span(y, scratch);
        let Scratch { spans, painted, room } = scratch;
        self.painted([spans, &[]], 1, painted);
        self.paint(y, painted, spans, room);
        let [red, green, blue] = &room.pixels;
        Row { pixels: [red, green, blue], painted }
    }

    /// Finds what the layers touch of row `y`.
    fn span(&self, y: usize, Scratch { spans, .. }: &mut Scratch) {
        spans.clear();
        let windows = self.layers.iter().map(|layer| &layer.window);
        spans.extend(windows.map(|window| (window.touched(y, self.width), window.opaque(y, self.width))));
    }

    /// Finds what to paint of rows that share samples of `columns` columns: all over a colour, else what any layer
    /// touches.
    fn painted(&self, spans: [&[Spans]; 2], columns: usize, painted: &mut Vec<Range<usize>>) {
        painted.clear();
        if let Backdrop::Color(_) = self.backdrop {
            painted.push(0..self.width);
            return;
        }
        let touched = spans.into_iter().flatten().map(|(touched, _)| touched).filter(|x| !x.is_empty());
        painted.extend(
            touched.map(|x| x.start / columns * columns..x.end.next_multiple_of(columns).min(self.width)),
        );
        painted.sort_unstable_by_key(|x| x.start);
        painted.dedup_by(|next, x| {
            let joined = next.start <= x.end;
            x.end = if joined { x.end.max(next.end) } else { x.end };
            joined
        });
    }

    /// Paints the runs `painted` of row `y`.
    fn paint(&self, y: usize, painted: &[Range<usize>], spans: &[Spans], room: &mut Room) {
        let Room { pixels, run, opacity, lines } = room;
        for x in painted {
            for_each_visible(x.clone(), spans, |x| self.backdrop.paint(y, x, pixels));
        }
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
fn for_each_visible(x: Range<usize>, above: &[Spans], mut visit: impl FnMut(Range<usize>)) {
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
