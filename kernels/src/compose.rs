//! Network output back into a video frame.

mod backdrop;
mod cuda;
mod row;
mod span;

use backdrop::Backdrop;
use row::{Painter, Pair, Row};
use std::ops::Range;

use crate::color::{code, FromRgb};
use crate::device::wrong_tensor;
use crate::share::share;
use crate::{Affine, Device, DeviceError, Element, Frame, FrameMut, Memory, PixelFormat, Tensor};

/// Rows (of 4:2:0: pairs of rows) that a thread takes at a time: fewer are not worth the asking.
const ROWS_AT_ONCE: usize = 4;

/// A picture to paint: planar RGB, `f32` in 0..1 (values outside are clamped, those that are no number count
/// as 0).
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Of shape `[3, height, width]`, or `[1, 3, height, width]`.
    pub image: &'a Tensor,
    /// Takes the frame's pixels to the image's.
    pub map: Affine,
    /// Width, in pixels of the image, of the edge over which the layer fades to what is below it; 0: a hard
    /// edge.
    pub feather: f32,
}

impl Layer<'_> {
    /// Width and height of the image in pixels.
    ///
    /// # Panics
    /// If the image is no planar picture of three colours: a programming error, never caused by input.
    pub fn size(&self) -> (usize, usize) {
        match *self.image.shape() {
            [3, height, width] | [1, 3, height, width] => (width, height),
            ref shape => panic!("{shape:?} is no picture of three colours"),
        }
    }
}

/// What lies below all layers.
#[derive(Clone, Copy, Debug)]
pub enum Background<'a> {
    /// Red, green and blue in 0..1.
    Color([f32; 3]),
    /// A frame of the same layout as the output, on the same device.
    Picture(&'a Frame<'a>),
}

impl Device {
    /// Paints `background` and over it `layers`, first to last, into all of `output`.
    ///
    /// # Layers
    /// A layer covers the pixels of the frame whose centres `map` takes into its image, in coordinates where
    /// pixel number i covers `[i, i + 1)`. Its opacity is the distance of that place to the nearest edge of the
    /// image, over `feather`, at most 1. Images are interpolated bilinearly, or averaged over the area of a pixel
    /// where the frame shows them smaller, as in [`sample`](crate::sample()), the edge of an image continuing
    /// outside it; then clamped. Layers without pixels, and maps that hold infinities or no numbers, paint
    /// nothing. Where a layer is opaque, those below it are not computed.
    ///
    /// # Background
    /// Bytes of a picture are copied where no layer touches the pixel (in 4:2:0: none of those that share the
    /// colour difference), alpha and padding bytes included, and not read where a layer is opaque.
    ///
    /// # Formats
    /// Values are rounded to the nearest code value. Alpha and padding bytes become 255. In 4:2:0, colour
    /// difference is that of the average of the 2x2 pixels, or of those present at an odd edge. Bytes between the
    /// end of a row and the next stay as they are.
    ///
    /// # Devices
    /// The CPU shares rows among the threads of the current rayon pool; the result does not depend on their
    /// number. A GPU paints sixteen layers at a time; where there are more, what lies below is rounded in
    /// between. Its result may otherwise differ by a code value where rounding falls to the other side.
    ///
    /// # Errors
    /// [`DeviceError::WrongMemory`] if a frame or an image does not lie on this device,
    /// [`DeviceError::WrongLayout`] if the background is a frame of another layout, and [`DeviceError::Call`] for
    /// images of half precision.
    ///
    /// # Panics
    /// If an image is no picture of three colours: a programming error, never caused by input.
    pub fn compose(
        &self,
        layers: &[Layer<'_>],
        background: Background<'_>,
        output: &mut FrameMut<'_>,
    ) -> Result<(), DeviceError> {
        let wanted = if self.cuda().is_some() { Memory::Cuda } else { Memory::Host };
        let right = |memory: Memory| match memory {
            found if found == wanted => Ok(()),
            found => {
                let (found, wanted) = (found.name(), wanted.name());
                Err(DeviceError::WrongMemory { what: "frame", found, wanted })
            }
        };
        right(output.memory())?;
        if let Background::Picture(frame) = background {
            right(frame.memory())?;
            let (found, wanted) = (frame.layout(), output.layout());
            if found != wanted {
                return Err(DeviceError::WrongLayout { found, wanted });
            }
        }
        for Layer { image, .. } in layers {
            match (image.cuda_address(), wanted) {
                (None, Memory::Cuda) => return Err(wrong_tensor("system", "CUDA")),
                (Some(_), Memory::Host) => return Err(wrong_tensor("CUDA", "system")),
                _ if image.element() != Element::F32 => {
                    let reason = "images of half precision are not supported".into();
                    return Err(DeviceError::Call { call: "compose", reason });
                }
                _ => {}
            }
        }
        match self {
            Self::Cpu => {
                compose(layers, background, output);
                Ok(())
            }
            Self::Cuda(device) => cuda::compose(device, layers, background, output),
        }
    }
}

/// What [`Device::compose`] does, on the CPU.
fn compose(layers: &[Layer<'_>], background: Background<'_>, output: &mut FrameMut<'_>) {
    let (format, width, height) = (output.format(), output.width(), output.height());
    let painter = Painter::new(layers, Backdrop::new(background), width, height);
    let from_rgb = FromRgb::new(output.color());
    match (format, output.planes_mut()) {
        (PixelFormat::Nv12, [luma, chroma]) => {
            let luma_stride = luma.stride;
            let pairs = luma.data.chunks_mut(2 * luma_stride).zip(chroma.data.chunks_mut(chroma.stride));
            let pairs = pairs.take(height.div_ceil(2));
            share(
                pairs,
                ROWS_AT_ONCE,
                || painter.pair_scratch(),
                |scratch, index, (luma, bytes)| {
                    let pair = painter.pair(index, scratch);
                    write_luma(&painter, &from_rgb, &pair, index, height, luma, luma_stride);
                    for x in pair.painted {
                        let (bytes, _) = bytes[x.start..x.end.next_multiple_of(2)].as_chunks_mut::<2>();
                        for (bytes, (blue, red)) in bytes.iter_mut().zip(difference(&from_rgb, &pair, x)) {
                            *bytes = [blue, red];
                        }
                    }
                    painter.backdrop().keep(1, index, pair.painted, bytes);
                },
            );
        }
        (PixelFormat::I420, [luma, blue, red]) => {
            let luma_stride = luma.stride;
            let differences = blue.data.chunks_mut(blue.stride).zip(red.data.chunks_mut(red.stride));
            let pairs = luma.data.chunks_mut(2 * luma_stride).zip(differences).take(height.div_ceil(2));
            share(
                pairs,
                ROWS_AT_ONCE,
                || painter.pair_scratch(),
                |scratch, index, (luma, (blue, red))| {
                    let pair = painter.pair(index, scratch);
                    write_luma(&painter, &from_rgb, &pair, index, height, luma, luma_stride);
                    for x in pair.painted {
                        let codes = difference(&from_rgb, &pair, x);
                        let half = x.start / 2..x.end.div_ceil(2);
                        let bytes = blue[half.clone()].iter_mut().zip(&mut red[half]);
                        for ((to_blue, to_red), (blue, red)) in bytes.zip(codes) {
                            (*to_blue, *to_red) = (blue, red);
                        }
                    }
                    painter.backdrop().keep(1, index, pair.painted, blue);
                    painter.backdrop().keep(2, index, pair.painted, red);
                },
            );
        }
        (_, [plane, ..]) => {
            let write = match format {
                PixelFormat::Rgb => write_rgb::<3, false>,
                PixelFormat::Bgr => write_rgb::<3, true>,
                PixelFormat::Bgra | PixelFormat::Bgrx => write_rgb::<4, true>,
                _ => write_rgb::<4, false>,
            };
            let rows = plane.data.chunks_mut(plane.stride).take(height);
            share(
                rows,
                ROWS_AT_ONCE,
                || painter.scratch(),
                |scratch, y, bytes| {
                    let row = painter.row(y, scratch);
                    write(&row, bytes);
                    painter.backdrop().keep(0, y, row.painted, bytes);
                },
            );
        }
        (_, []) => unreachable!("FrameMut::new counts the planes"),
    }
}

/// Red, green and blue of one row, in 0..1.
type Rgb<'a> = [&'a [f32]; 3];

/// Writes the painted pixels of a row of `STEP` bytes a pixel.
fn write_rgb<const STEP: usize, const SWAPPED: bool>(row: &Row<'_>, bytes: &mut [u8]) {
    for x in row.painted {
        let (pixels, _) = bytes[x.start * STEP..x.end * STEP].as_chunks_mut::<STEP>();
        let [red, green, blue] = row.pixels.map(|values| &values[x.clone()]);
        for (((pixel, red), green), blue) in pixels.iter_mut().zip(red).zip(green).zip(blue) {
            let (first, third) = if SWAPPED { (blue, red) } else { (red, blue) };
            let values = [code(first * 255.0), code(green * 255.0), code(third * 255.0), 255];
            pixel.copy_from_slice(&values[..STEP]);
        }
    }
}

/// Writes the luma of pair number `index`, of which a frame of `height` rows may lack the second row.
fn write_luma(
    painter: &Painter<'_>,
    from_rgb: &FromRgb,
    pair: &Pair<'_>,
    index: usize,
    height: usize,
    bytes: &mut [u8],
    stride: usize,
) {
    for ((y, pixels), bytes) in (2 * index..height).zip(pair.rows).zip(bytes.chunks_mut(stride)) {
        for x in pair.painted {
            let [red, green, blue] = pixels.map(|values| &values[x.clone()]);
            for (((byte, red), green), blue) in bytes[x.clone()].iter_mut().zip(red).zip(green).zip(blue) {
                *byte = code(from_rgb.luma([*red, *green, *blue]));
            }
        }
        painter.backdrop().keep(0, y, pair.painted, bytes);
    }
}

/// The colour difference, blue and red, of the columns `x` of a pair of rows, from left to right.
fn difference<'a>(
    from_rgb: &'a FromRgb,
    pair: &'a Pair<'_>,
    x: &Range<usize>,
) -> impl Iterator<Item = (u8, u8)> + 'a {
    let [red, green, blue] = pair.mean.map(|values| &values[x.start / 2..x.end.div_ceil(2)]);
    red.iter().zip(green).zip(blue).map(|((red, green), blue)| {
        let (blue, red) = from_rgb.difference([*red, *green, *blue]);
        (code(blue), code(red))
    })
}
