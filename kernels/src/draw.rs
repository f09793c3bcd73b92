//! Marks on a frame in its own format: boxes, dots, text and heat maps, without converting or copying the picture.
//!
//! All of it may reach outside the frame, which clips it. Coordinates that are no numbers count as 0 in a box;
//! a disc that has one is not drawn. Colours are red, green and blue in 0..1. Edges are hard: a pixel takes the
//! colour whole or not. In 4:2:0, a sample of colour difference takes it if any of its 2x2 pixels does, so that
//! thin lines keep their colour, which then bleeds by up to one pixel. Alpha and padding bytes of the pixels
//! drawn become 255.

mod cuda;
mod font;
mod heat;

use std::ops::Range;

use crate::color::{code, FromRgb};
use crate::resample::unit;
use crate::{ColorSpace, Device, DeviceError, FrameMut, Memory, PixelFormat, Point, Rect};
use font::Glyph;

/// Something to draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape<'a> {
    /// An outline, its edges rounded to whole pixels.
    Rect {
        /// In pixels of the frame.
        rect: Rect,
        /// How thick the outline is, inside the rectangle.
        thickness_px: usize,
        /// Red, green and blue in 0..1.
        color: [f32; 3],
    },
    /// The pixels whose centres lie within `radius` pixels of `center`.
    Disc {
        /// In pixels of the frame.
        center: Point,
        /// In pixels.
        radius: f32,
        /// Red, green and blue in 0..1.
        color: [f32; 3],
    },
    /// Letters in a font of 5 x 7 dots scaled by a whole number, at least 1. A line feed starts a new line; characters
    /// outside printable ASCII show as empty boxes.
    Text {
        /// Pixel of the left edge of the area of [`text_size`].
        x: i32,
        /// Pixel of its upper edge.
        y: i32,
        /// Letters are at most this high.
        height_px: usize,
        /// What to write.
        text: &'a str,
        /// Red, green and blue in 0..1.
        color: [f32; 3],
        /// Fills the area of [`text_size`] first.
        background: Option<[f32; 3]>,
    },
}

impl Device {
    /// Draws `shapes`, first to last. The same pixels on every device.
    ///
    /// # Errors
    /// [`DeviceError::WrongMemory`] if the frame does not lie on this device.
    pub fn draw(&self, shapes: &[Shape<'_>], frame: &mut FrameMut<'_>) -> Result<(), DeviceError> {
        check(self, frame)?;
        match self {
            Self::Cpu => {
                shapes.iter().for_each(|shape| draw(frame, shape));
                Ok(())
            }
            Self::Cuda(device) => cuda::draw(device, shapes, frame),
        }
    }
}

/// Refuses a frame that does not lie where `device` draws.
fn check(device: &Device, frame: &FrameMut<'_>) -> Result<(), DeviceError> {
    let wanted = if device.cuda().is_some() { Memory::Cuda } else { Memory::Host };
    if frame.memory() == wanted {
        return Ok(());
    }
    let (found, wanted) = (frame.memory().name(), wanted.name());
    Err(DeviceError::WrongMemory { what: "frame", found, wanted })
}

/// Draws the outline of `rect`, its edges rounded to whole pixels, `thickness_px` pixels thick and inside
/// them, in the host's memory.
pub fn draw_rect(frame: &mut FrameMut<'_>, rect: Rect, thickness_px: usize, color: [f32; 3]) {
    draw(frame, &Shape::Rect { rect, thickness_px, color });
}

/// Fills the pixels whose centres lie within `radius` pixels of `center`, in the host's memory.
pub fn draw_disc(frame: &mut FrameMut<'_>, center: Point, radius: f32, color: [f32; 3]) {
    draw(frame, &Shape::Disc { center, radius, color });
}

/// Writes `text` with its upper left corner at pixel (`x`, `y`), in the host's memory; see [`Shape::Text`].
pub fn draw_text(
    frame: &mut FrameMut<'_>,
    x: i32,
    y: i32,
    height_px: usize,
    text: &str,
    color: [f32; 3],
    background: Option<[f32; 3]>,
) {
    draw(frame, &Shape::Text { x, y, height_px, text, color, background });
}

fn draw(frame: &mut FrameMut<'_>, shape: &Shape<'_>) {
    let size = (frame.width(), frame.height());
    marks(shape, size, &mut |color, mark| {
        let mut pen = Pen::new(frame, color);
        match mark {
            Mark::Area { x, y } => pen.fill(x, y),
            Mark::Disc { center, radius, y, .. } => {
                let (center_x, center_y, radius) = in_double(center, radius);
                for row in y {
                    let distance = row as f64 + 0.5 - center_y;
                    let half = (radius * radius - distance * distance).sqrt();
                    pen.fill(clip(run(center_x, half), size.0), row..row + 1);
                }
            }
            Mark::Letter { left, top, dot, glyph } => {
                for (row, dots) in (0i64..).zip(glyph) {
                    for column in (0..font::COLUMNS as i64).filter(|column| dots >> column & 1 == 1) {
                        let (left, top) = (left + column * dot, top + row * dot);
                        pen.fill(clip(left..left + dot, size.0), clip(top..top + dot, size.1));
                    }
                }
            }
        }
    });
}

/// A part of a shape, of one colour.
enum Mark {
    /// Pixels of the frame.
    Area { x: Range<usize>, y: Range<usize> },
    /// A disc, and the pixels of the frame outside of which it has none.
    Disc { center: Point, radius: f32, x: Range<usize>, y: Range<usize> },
    /// A letter of which at least a pixel may be in the frame, with dots `dot` pixels large.
    Letter { left: i64, top: i64, dot: i64, glyph: &'static Glyph },
}

/// Hands the parts of `shape` in a frame of `size` (width, height) to `each`, in the order in which they cover each other.
fn marks(shape: &Shape<'_>, size: (usize, usize), each: &mut impl FnMut([f32; 3], Mark)) {
    let mut area = |color, x: Range<i64>, y: Range<i64>| {
        let (x, y) = (clip(x, size.0), clip(y, size.1));
        if !x.is_empty() && !y.is_empty() {
            each(color, Mark::Area { x, y });
        }
    };
    match *shape {
        Shape::Rect { rect, thickness_px, color } => {
            // Casts saturate, and half the range leaves room for sums.
            let edge = |value: f32| (value.round() as i64).clamp(i64::MIN / 4, i64::MAX / 4);
            let (left, right) = (edge(rect.x), edge(rect.x + rect.width));
            let (top, bottom) = (edge(rect.y), edge(rect.y + rect.height));
            let thickness = i64::try_from(thickness_px).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
            let (inner_left, inner_right) = ((left + thickness).min(right), (right - thickness).max(left));
            let (inner_top, inner_bottom) = ((top + thickness).min(bottom), (bottom - thickness).max(top));
            area(color, left..right, top..inner_top);
            area(color, left..right, inner_bottom.max(inner_top)..bottom);
            area(color, left..inner_left, inner_top..inner_bottom);
            area(color, inner_right.max(inner_left)..right, inner_top..inner_bottom);
        }
        Shape::Disc { center, radius, color } => {
            let (center_x, center_y, reach) = in_double(center, radius);
            let (x, y) = (clip(run(center_x, reach), size.0), clip(run(center_y, reach), size.1));
            if !x.is_empty() && !y.is_empty() {
                each(color, Mark::Disc { center, radius, x, y });
            }
        }
        Shape::Text { x, y, height_px, text, color, background } => {
            let dot = dot_size(height_px) as i64;
            let (x, y) = (i64::from(x), i64::from(y));
            if let Some(background) = background {
                let (width, height) = text_size(text, height_px);
                area(background, x..x + width as i64, y..y + height as i64);
            }
            let outside = |start: i64, dots: usize, length: usize| {
                clip(start..start + dots as i64 * dot, length).is_empty()
            };
            // One dot around the text, as `text_size` has it, and between letters and lines.
            for (line, text) in text.split('\n').enumerate() {
                let top = y + dot * (1 + line as i64 * (font::ROWS as i64 + 1));
                if outside(top, font::ROWS, size.1) {
                    continue;
                }
                for (index, character) in text.chars().enumerate() {
                    let left = x + dot * (1 + index as i64 * (font::COLUMNS as i64 + 1));
                    if !outside(left, font::COLUMNS, size.0) {
                        each(color, Mark::Letter { left, top, dot, glyph: font::find(character) });
                    }
                }
            }
        }
    }
}

/// Coordinates as [`run`] takes them.
fn in_double(center: Point, radius: f32) -> (f64, f64, f64) {
    (f64::from(center.x), f64::from(center.y), f64::from(radius))
}

/// Width and height in pixels of what [`draw_text`] writes, with a margin of one dot of the font around it.
pub fn text_size(text: &str, height_px: usize) -> (usize, usize) {
    let columns = text.split('\n').map(|line| line.chars().count()).max().unwrap_or(0);
    let rows = text.split('\n').count();
    let dot = dot_size(height_px);
    (dot * (columns * (font::COLUMNS + 1) + 1), dot * (rows * (font::ROWS + 1) + 1))
}

/// Pixels along each side of a dot of the font; no frame needs larger ones than 2^16.
fn dot_size(height_px: usize) -> usize {
    (height_px / font::ROWS).clamp(1, 1 << 16)
}

/// The pixels whose centres lie within `radius` of `center`.
fn run(center: f64, radius: f64) -> Range<i64> {
    // Casts saturate; those of values that are no number give 0, and so an empty run.
    ((center - radius - 0.5).ceil() as i64)..((center + radius - 0.5).floor() + 1.0) as i64
}

/// The part of `range` in `0..length`.
fn clip(range: Range<i64>, length: usize) -> Range<usize> {
    let clip = |value: i64| usize::try_from(value.max(0)).unwrap_or(length).min(length);
    clip(range.start)..clip(range.end)
}

/// Fills pixels of a frame with one colour.
struct Pen<'f, 'a> {
    frame: &'f mut FrameMut<'a>,
    ink: Ink,
}

/// A colour in the format of the frame.
#[derive(Clone, Copy)]
enum Ink {
    /// Bytes of a pixel, and how many.
    Packed([u8; 4], usize),
    /// Luma, blue and red difference.
    Yuv(u8, [u8; 2]),
}

impl Ink {
    fn new(format: PixelFormat, space: ColorSpace, color: [f32; 3]) -> Self {
        let color = color.map(unit);
        let [red, green, blue] = color.map(|value| code(value * 255.0));
        match format {
            PixelFormat::Rgb => Self::Packed([red, green, blue, 255], 3),
            PixelFormat::Bgr => Self::Packed([blue, green, red, 255], 3),
            PixelFormat::Rgba | PixelFormat::Rgbx => Self::Packed([red, green, blue, 255], 4),
            PixelFormat::Bgra | PixelFormat::Bgrx => Self::Packed([blue, green, red, 255], 4),
            PixelFormat::Nv12 | PixelFormat::I420 => {
                let from_rgb = FromRgb::new(space);
                let (blue, red) = from_rgb.difference(color);
                Self::Yuv(code(from_rgb.luma(color)), [code(blue), code(red)])
            }
        }
    }
}

impl<'f, 'a> Pen<'f, 'a> {
    fn new(frame: &'f mut FrameMut<'a>, color: [f32; 3]) -> Self {
        let ink = Ink::new(frame.format(), frame.color(), color);
        Self { frame, ink }
    }

    /// Fills the columns `x` of the rows `y`, all in the frame.
    fn fill(&mut self, x: Range<usize>, y: Range<usize>) {
        if x.is_empty() || y.is_empty() {
            return;
        }
        let half = |range: &Range<usize>| range.start / 2..range.end.div_ceil(2);
        let (half_x, half_y) = (half(&x), half(&y));
        match (self.ink, self.frame.planes_mut()) {
            (Ink::Yuv(luma, difference), [first, second]) => {
                fill_plane(first.data, first.stride, &x, &y, &[luma]);
                fill_plane(second.data, second.stride, &half_x, &half_y, &difference);
            }
            (Ink::Yuv(luma, [blue, red]), [first, second, third]) => {
                fill_plane(first.data, first.stride, &x, &y, &[luma]);
                fill_plane(second.data, second.stride, &half_x, &half_y, &[blue]);
                fill_plane(third.data, third.stride, &half_x, &half_y, &[red]);
            }
            (Ink::Packed(bytes, count), [plane, ..]) => {
                fill_plane(plane.data, plane.stride, &x, &y, &bytes[..count]);
            }
            _ => unreachable!("FrameMut::new counts the planes"),
        }
    }
}

/// Writes `pixel` to the columns `x` of the rows `y`.
fn fill_plane(data: &mut [u8], stride: usize, x: &Range<usize>, y: &Range<usize>, pixel: &[u8]) {
    for row in y.clone() {
        let row = &mut data[row * stride..][x.start * pixel.len()..x.end * pixel.len()];
        row.chunks_exact_mut(pixel.len()).for_each(|bytes| bytes.copy_from_slice(pixel));
    }
}
