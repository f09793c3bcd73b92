//! A map of values over a part of a frame, as colours from blue to red.

use std::ops::Range;

use super::check;
use crate::color::{code, FromRgb};
use crate::device::wrong_tensor;
use crate::resample::unit;
use crate::share::share;
use crate::{Device, DeviceError, Element, FrameMut, Memory, PixelFormat, Rect, Tensor};

/// Rows (of 4:2:0: pairs of rows) that a thread takes at a time.
const ROWS_AT_ONCE: usize = 8;

/// Colours of the values 0, 1/4, 1/2, 3/4 and 1: blue, blue green, green, yellow, red. Lightness rises evenly up to the
/// yellow, so that larger values stand out on a screen without colours too; only the warning at the end is darker again.
pub(super) const RAMP: [[f32; 3]; 5] =
    [[0.16, 0.18, 0.55], [0.07, 0.47, 0.62], [0.2, 0.68, 0.42], [0.95, 0.85, 0.25], [0.85, 0.16, 0.12]];

impl Device {
    /// Lays `map`, of shape `[rows, columns]` and values from 0 to 1, over `area` of the frame, in colours from blue over
    /// green and yellow to red. The same pixels on every device.
    ///
    /// Pixels whose centres lie in `area` are mixed with the colour of the value there, `opacity` (0..1) of it. Values are
    /// interpolated linearly between the centres of the map's cells; those outside of 0..1 are clamped, those that are no
    /// number count as 0. In 4:2:0 luma and colour difference are mixed as code values, a sample of colour difference with
    /// the mean of its 2x2 pixels. Alpha and padding bytes of the pixels mixed become 255. An area that holds infinities or
    /// no numbers, or nothing, changes no pixel.
    ///
    /// # Errors
    /// [`DeviceError::WrongMemory`] if the frame or the map does not lie on this device.
    ///
    /// # Panics
    /// If the map has not two dimensions, is empty, or is of half precision: a programming error, never caused by input.
    pub fn draw_heat(
        &self,
        map: &Tensor,
        area: Rect,
        opacity: f32,
        frame: &mut FrameMut<'_>,
    ) -> Result<(), DeviceError> {
        check(self, frame)?;
        let [rows, columns] = *map.shape() else { panic!("{:?} is no map", map.shape()) };
        assert!(!map.is_empty() && map.element() == Element::F32, "a heat map without 32-bit values");
        if map.cuda_address().is_some() != self.cuda().is_some() {
            let place = |cuda| if cuda { Memory::Cuda.name() } else { Memory::Host.name() };
            return Err(wrong_tensor(place(map.cuda_address().is_some()), place(self.cuda().is_some())));
        }
        let opacity = unit(opacity);
        let size = (frame.width(), frame.height());
        let (x, y) =
            (Axis::new(area.x, area.width, columns, size.0), Axis::new(area.y, area.height, rows, size.1));
        let (Some(x), Some(y)) = (x, y) else { return Ok(()) };
        if opacity == 0.0 {
            return Ok(());
        }
        match self {
            Self::Cpu => {
                Heat { values: map.data(), x, y, opacity }.draw(frame);
                Ok(())
            }
            Self::Cuda(device) => super::cuda::draw_heat(device, map, &x, &y, opacity, frame),
        }
    }
}

/// The way from the pixels of a frame along one axis to the cells of a map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// The pixels whose centres lie in the area.
    pub pixels: Range<usize>,
    /// Where the first of them is, in cells from the centre of the first cell.
    pub start: f32,
    /// From one to the next.
    pub step: f32,
    /// Number of cells.
    pub cells: usize,
}

impl Axis {
    /// `None` where no pixel lies in the area from `start` on.
    fn new(start: f32, length: f32, cells: usize, pixels: usize) -> Option<Self> {
        let (start, length) = (f64::from(start), f64::from(length));
        if !start.is_finite() || !length.is_finite() || length <= 0.0 {
            return None;
        }
        // The first pixel whose centre is not in front of an edge. Casts saturate.
        let first = |edge: f64| ((edge - 0.5).ceil().max(0.0) as usize).min(pixels);
        let pixels = first(start)..first(start + length);
        let step = cells as f64 / length;
        let first = (pixels.start as f64 + 0.5 - start) * step - 0.5;
        (!pixels.is_empty()).then_some(Self { pixels, start: first as f32, step: step as f32, cells })
    }

    /// Two neighbouring cells and how far a pixel is from the first to the second.
    #[inline(always)]
    fn cells(&self, pixel: usize) -> (usize, usize, f32) {
        let last = self.cells - 1;
        let position = self.start + (pixel - self.pixels.start) as f32 * self.step;
        // `max` first, as a position that overflowed is none of the two.
        #[allow(clippy::manual_clamp)]
        let position = position.max(0.0).min(last as f32);
        let cell = (position as usize).min(last);
        (cell, (cell + 1).min(last), position - cell as f32)
    }
}

/// A map on its way into a frame in the host's memory.
struct Heat<'a> {
    values: &'a [f32],
    x: Axis,
    y: Axis,
    opacity: f32,
}

impl Heat<'_> {
    /// The colour of a pixel.
    #[inline(always)]
    fn color(&self, x: usize, y: usize) -> [f32; 3] {
        let (left, right, across) = self.x.cells(x);
        let (upper, lower, down) = self.y.cells(y);
        let value = |row: usize, column: usize| unit(self.values[row * self.x.cells + column]);
        let mix = |row| value(row, left) + (value(row, right) - value(row, left)) * across;
        let (above, below) = (mix(upper), mix(lower));
        ramp(above + (below - above) * down)
    }

    fn draw(&self, frame: &mut FrameMut<'_>) {
        let (width, height, format) = (frame.width(), frame.height(), frame.format());
        let from_rgb = FromRgb::new(frame.color());
        let (first, behind) = (self.y.pixels.start, self.y.pixels.end);
        // Pairs of rows of 4:2:0.
        let (first_pair, pairs) = (first / 2, behind.div_ceil(2) - first / 2);
        let nothing = || ();
        match (format, frame.planes_mut()) {
            (PixelFormat::Nv12, [luma, chroma]) => {
                let stride = luma.stride;
                let rows = luma.data.chunks_mut(2 * stride).zip(chroma.data.chunks_mut(chroma.stride));
                share(rows.skip(first_pair).take(pairs), ROWS_AT_ONCE, nothing, |(), pair, (luma, bytes)| {
                    let (bytes, _) = bytes.as_chunks_mut::<2>();
                    self.draw_pair(&from_rgb, (width, height), first_pair + pair, luma, stride, |x, mix| {
                        let [blue, red] = &mut bytes[x];
                        mix(blue, red);
                    });
                });
            }
            (PixelFormat::I420, [luma, blue, red]) => {
                let stride = luma.stride;
                let differences = blue.data.chunks_mut(blue.stride).zip(red.data.chunks_mut(red.stride));
                let rows = luma.data.chunks_mut(2 * stride).zip(differences);
                share(
                    rows.skip(first_pair).take(pairs),
                    ROWS_AT_ONCE,
                    nothing,
                    |(), pair, (luma, (blue, red))| {
                        self.draw_pair(
                            &from_rgb,
                            (width, height),
                            first_pair + pair,
                            luma,
                            stride,
                            |x, mix| {
                                mix(&mut blue[x], &mut red[x]);
                            },
                        );
                    },
                );
            }
            (_, [plane, ..]) => {
                let step = format.row_bytes(0, 1);
                let swapped = matches!(format, PixelFormat::Bgr | PixelFormat::Bgra | PixelFormat::Bgrx);
                let rows = plane.data.chunks_mut(plane.stride).skip(first).take(behind - first);
                share(rows, ROWS_AT_ONCE, nothing, |(), row, bytes| {
                    for x in self.x.pixels.clone() {
                        let [red, green, blue] = self.color(x, first + row);
                        let color = if swapped { [blue, green, red] } else { [red, green, blue] };
                        let pixel = &mut bytes[x * step..][..step];
                        for (byte, color) in pixel.iter_mut().zip(color) {
                            *byte = mixed(*byte, color * 255.0, self.opacity);
                        }
                        if let Some(alpha) = pixel.get_mut(3) {
                            *alpha = 255;
                        }
                    }
                });
            }
            (_, []) => unreachable!("FrameMut::new counts the planes"),
        }
    }

    /// Draws a pair of rows of 4:2:0. `difference` is called for each sample of colour difference with what mixes its blue
    /// and its red.
    fn draw_pair(
        &self,
        from_rgb: &FromRgb,
        (width, height): (usize, usize),
        pair: usize,
        luma: &mut [u8],
        stride: usize,
        mut difference: impl FnMut(usize, &mut dyn FnMut(&mut u8, &mut u8)),
    ) {
        let present_rows = (height - 2 * pair).min(2);
        for sample in self.x.pixels.start / 2..self.x.pixels.end.div_ceil(2) {
            let present = present_rows * (width - 2 * sample).min(2);
            difference(sample, &mut |blue, red| {
                let share = self.opacity / present as f32;
                let (old_blue, old_red) = (f32::from(*blue), f32::from(*red));
                let (mut new_blue, mut new_red) = (old_blue, old_red);
                for (row, y) in (2 * pair..2 * pair + present_rows).enumerate() {
                    for x in (2 * sample..2 * sample + 2).filter(|x| self.x.pixels.contains(x)) {
                        if self.y.pixels.contains(&y) {
                            let color = self.color(x, y);
                            let byte = &mut luma[row * stride + x];
                            *byte = mixed(*byte, from_rgb.luma(color), self.opacity);
                            let (blue, red) = from_rgb.difference(color);
                            new_blue += (blue - old_blue) * share;
                            new_red += (red - old_red) * share;
                        }
                    }
                }
                (*blue, *red) = (code(new_blue), code(new_red));
            });
        }
    }
}

/// The code value `old` mixed with `new`.
#[inline(always)]
fn mixed(old: u8, new: f32, opacity: f32) -> u8 {
    let old = f32::from(old);
    code(old + (new - old) * opacity)
}

/// The colour of a value from 0 to 1.
#[inline(always)]
fn ramp(value: f32) -> [f32; 3] {
    let position = value * (RAMP.len() - 1) as f32;
    let below = (position as usize).min(RAMP.len() - 2);
    let part = position - below as f32;
    std::array::from_fn(|channel| {
        let (low, high) = (RAMP[below][channel], RAMP[below + 1][channel]);
        low + (high - low) * part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_meets_its_colours_and_what_lies_between() {
        let halfway: [f32; 3] = std::array::from_fn(|channel| (RAMP[0][channel] + RAMP[1][channel]) / 2.0);
        for (value, expected) in [(0.0, RAMP[0]), (0.5, RAMP[2]), (1.0, RAMP[4]), (0.125, halfway)] {
            for (channel, expected) in ramp(value).into_iter().zip(expected) {
                assert!((channel - expected).abs() < 1e-6, "{value}");
            }
        }
    }

    #[test]
    fn lightness_rises_up_to_the_yellow() {
        let lightness = |color: [f32; 3]| 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2];
        assert!((0..75).all(|i| lightness(ramp(i as f32 / 100.0)) < lightness(ramp((i + 1) as f32 / 100.0))));
    }

    #[test]
    fn pixels_with_their_centres_in_the_area_are_taken() {
        let axis = Axis::new(0.6, 2.0, 4, 10).unwrap();
        assert_eq!((axis.pixels.clone(), axis.step), (1..3, 2.0));
        // The centre of pixel 1 is 0.9 pixels into the area: 1.8 cells, from the centre of the first 1.3.
        assert!((axis.start - 1.3).abs() < 1e-6);
        assert_eq!(axis.cells(1).0, 1);
        assert_eq!(axis.cells(2), (3, 3, 0.0));
        assert_eq!(Axis::new(0.5, 1.0, 1, 10).unwrap().pixels, 0..1);
        for (start, length) in [
            (f32::NAN, 1.0),
            (0.0, f32::INFINITY),
            (0.0, 0.0),
            (0.6, 0.3),
            (-9.0, 5.0),
            (12.0, 5.0),
            (0.0, -3.0),
        ] {
            assert_eq!(Axis::new(start, length, 3, 10), None, "{start} {length}");
        }
        assert_eq!(Axis::new(-1e30, 2e30, 3, 10).unwrap().pixels, 0..10);
    }
}
