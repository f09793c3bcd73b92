//! Video frame to network input: crop, resize, colour, range, in one pass.

mod cuda;

use half::f16;

use crate::color::{ToRgb, NEUTRAL};
use crate::resample::{coefficients, is_straight, unit, Coefficients, Outside, Resampler, Source};
use crate::share::share;
use crate::tensor::Storage;
use crate::{Affine, Device, DeviceError, Frame, Memory, PixelFormat, Plane, Tensor};

/// Rows that a thread takes at a time: fewer are not worth the asking.
const ROWS_AT_ONCE: usize = 8;

/// Order of the values in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Planar: channel, row, column.
    Nchw,
    /// Interleaved: row, column, channel.
    Nhwc,
}

/// Order of the colour channels in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// What lies outside the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Border {
    /// This colour: red, green, blue in 0..1.
    Constant([f32; 3]),
    /// The nearest pixel of the edge.
    Replicate,
    /// The picture mirrored at its outermost pixels (they are not repeated, as `BORDER_REFLECT_101`).
    Mirror,
}

/// Shape and range of the values that [`sample`] writes: `(colour - mean) / std`, colour in 0..1.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleSpec {
    /// Output width in pixels.
    pub width: usize,
    /// Output height in pixels.
    pub height: usize,
    /// Planar or interleaved.
    pub layout: Layout,
    /// Channel order of the output; `mean` and `std` follow it.
    pub channels: Channels,
    /// Subtracted from the colour in 0..1.
    pub mean: [f32; 3],
    /// Then divided by; must not be zero.
    pub std: [f32; 3],
    /// What lies outside the picture.
    pub border: Border,
}

impl Device {
    /// Samples `frame` once for each of `maps`, which take the output's pixels to the frame's, and writes `output`, of
    /// shape `[maps, 3, height, width]` or `[maps, height, width, 3]`, stored as it was before.
    ///
    /// See [`sample`] for what is computed.
    ///
    /// # Errors
    /// [`DeviceError::WrongMemory`] if the frame does not lie on this device, and those of [`Device::prepare`].
    pub fn sample(
        &self,
        frame: &Frame<'_>,
        maps: &[Affine],
        spec: &SampleSpec,
        output: &mut Tensor,
    ) -> Result<(), DeviceError> {
        let wanted = if self.cuda().is_some() { Memory::Cuda } else { Memory::Host };
        if frame.memory() != wanted {
            let (found, wanted) = (frame.memory().name(), wanted.name());
            return Err(DeviceError::WrongMemory { what: "frame", found, wanted });
        }
        let picture = 3 * spec.width * spec.height;
        let shape = match spec.layout {
            Layout::Nchw => [maps.len(), 3, spec.height, spec.width],
            Layout::Nhwc => [maps.len(), spec.height, spec.width, 3],
        };
        let element = output.element();
        self.prepare_as(output, &shape, element)?;
        if output.is_empty() {
            return Ok(());
        }
        match (self, output.storage_mut()) {
            (Self::Cpu, Storage::Host(data)) => {
                for (map, picture) in maps.iter().zip(data.chunks_exact_mut(picture)) {
                    sample(frame, map, spec, picture);
                }
                Ok(())
            }
            (Self::Cpu, Storage::HostHalf(data)) => {
                for (map, picture) in maps.iter().zip(data.chunks_exact_mut(picture)) {
                    sample_as(frame, map, spec, picture);
                }
                Ok(())
            }
            (Self::Cuda(device), Storage::Cuda(memory, element)) => {
                cuda::sample(device, frame, maps, spec, memory.address(), *element)
            }
            _ => unreachable!("prepared on this device"),
        }
    }
}

/// A value as the output stores it.
trait Stored: Copy + Send {
    fn of(value: f32) -> Self;
}

impl Stored for f32 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }
}

impl Stored for f16 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }
}

/// Samples `frame` where `map` takes the output's pixels and writes `3 * width * height` values to `output`,
/// of shape `[3, height, width]` or `[height, width, 3]`.
///
/// `map` takes positions of the output to positions of the frame, both with pixel *i* covering `[i, i + 1)`.
///
/// # Resampling
/// Along an axis on which an output pixel covers more than one of the frame, it takes the average over the
/// area covered, parts of pixels included (OpenCV's `INTER_AREA`); on the others it interpolates linearly
/// between pixel centres (OpenCV's `INTER_LINEAR`). Maps that rotate or shear average a grid of bilinearly
/// interpolated points, as few along each side of an output pixel as keep them within 1.5 pixels of each
/// other, at most 16.
///
/// # Colour
/// Y'CbCr is resampled plane by plane, each as a picture of its own that covers the same area, and converted
/// afterwards; the result is clamped to 0..1 only then. Samples of subsampled colour difference are taken to
/// lie in the middle of their 2x2 pixels (as in JPEG and MPEG-1). H.264 puts them half a pixel farther left
/// unless told otherwise; that is ignored here and by [`compose`](crate::Device::compose), so that a picture
/// passing through both does not shift. Alpha and padding bytes are ignored.
///
/// # Outside the picture
/// See [`Border`]. A constant border mixes with the picture by the area of the output pixel that is outside.
/// Planes of subsampled colour difference repeat or mirror their own outermost samples. [`Border::Mirror`]
/// goes on for at least one picture and 4096 pixels, then repeats its last pixel. Maps that hold
/// infinities or no numbers point far outside. Any map is safe and takes bounded time.
///
/// # Threads
/// Rows are shared among the threads of the current rayon pool; the result does not depend on their number.
///
/// # Panics
/// If `output` has not `3 * width * height` values: a programming error, never caused by input.
pub fn sample(frame: &Frame<'_>, map: &Affine, spec: &SampleSpec, output: &mut [f32]) {
    sample_as(frame, map, spec, output);
}

/// [`sample`] to values of any kind.
fn sample_as<T: Stored>(frame: &Frame<'_>, map: &Affine, spec: &SampleSpec, output: &mut [T]) {
    assert_eq!(output.len(), 3 * spec.width * spec.height, "output of sample() has the wrong length");
    if output.is_empty() {
        return;
    }
    let reader = Reader::new(frame, map, spec);
    let writer = Writer::new(spec);
    let scratch = || Scratch::new(spec.width);
    match spec.layout {
        Layout::Nchw => {
            let (first, rest) = output.split_at_mut(spec.width * spec.height);
            let (second, third) = rest.split_at_mut(spec.width * spec.height);
            let rows = |plane| <[T]>::chunks_exact_mut(plane, spec.width);
            let rows = rows(first).zip(rows(second)).zip(rows(third));
            share(rows, ROWS_AT_ONCE, scratch, |scratch, y, ((first, second), third)| {
                reader.read(y, scratch);
                writer.planar(scratch, [first, second, third]);
            });
        }
        Layout::Nhwc => {
            let rows = output.chunks_exact_mut(3 * spec.width);
            share(rows, ROWS_AT_ONCE, scratch, |scratch, y, row| {
                reader.read(y, scratch);
                writer.interleaved(scratch, row);
            });
        }
    }
}

/// One row of output on its way, owned by one thread.
struct Scratch {
    red: Vec<f32>,
    green: Vec<f32>,
    blue: Vec<f32>,
    coverage: Vec<f32>,
    /// For [`Resampler::prepare`], of as many planes as are read together.
    lines: [Vec<f32>; 2],
}

impl Scratch {
    fn new(width: usize) -> Self {
        let row = vec![0.0; width];
        Self {
            red: row.clone(),
            green: row.clone(),
            blue: row.clone(),
            coverage: row,
            lines: Default::default(),
        }
    }
}

/// Whether the blue value of each pixel comes first.
fn is_swapped(format: PixelFormat) -> bool {
    matches!(format, PixelFormat::Bgr | PixelFormat::Bgra | PixelFormat::Bgrx)
}

/// The planes of a frame by the way they are read.
enum Planes<'a> {
    Rgb3(Source<'a, u8, 3>),
    Rgb4(Source<'a, u8, 4>),
    Nv12(Source<'a, u8, 1>, Source<'a, u8, 2>),
    I420(Source<'a, u8, 1>, [Source<'a, u8, 1>; 2]),
}

/// Reads rows of the output's pixels from a frame, as red, green and blue.
struct Reader<'a> {
    planes: Planes<'a>,
    /// Of the only plane, or that of luma.
    full: Resampler,
    /// Of the planes of colour difference.
    half: Option<Resampler>,
    /// The blue value of each pixel comes first.
    swapped: bool,
    to_rgb: ToRgb,
    /// What to mix in where the coverage is not full.
    constant: Option<[f32; 3]>,
}

impl<'a> Reader<'a> {
    fn new(frame: &'a Frame<'_>, map: &Affine, spec: &SampleSpec) -> Self {
        let (width, height) = (frame.width(), frame.height());
        let half_size = (width.div_ceil(2), height.div_ceil(2));
        fn source<'a, const STEP: usize>(plane: &Plane<'a>, width: usize) -> Source<'a, u8, STEP> {
            Source { data: plane.data, stride: plane.stride, width }
        }
        let size = (width, height);
        let planes = match (frame.format(), frame.planes()) {
            (PixelFormat::Rgb | PixelFormat::Bgr, [plane]) => Planes::Rgb3(source(plane, width)),
            (PixelFormat::Nv12, [luma, difference]) => {
                Planes::Nv12(source(luma, width), source(difference, half_size.0))
            }
            (PixelFormat::I420, [luma, blue, red]) => {
                Planes::I420(source(luma, width), [source(blue, half_size.0), source(red, half_size.0)])
            }
            (_, [plane, ..]) => Planes::Rgb4(source(plane, width)),
            (_, []) => unreachable!("Frame::new counts the planes"),
        };
        let map = coefficients(map);
        let output = (spec.width, spec.height);
        let (outside, constant) = match spec.border {
            Border::Constant(color) => (Outside::Zero, Some(color)),
            Border::Replicate => (Outside::Replicate, None),
            Border::Mirror => (Outside::Mirror, None),
        };
        // The share of the constant comes from the coverage of luma alone: coarser colour would fringe the
        // edge.
        let half_outside = if outside == Outside::Mirror { Outside::Mirror } else { Outside::Replicate };
        // A sample of colour difference covers 2x2 pixels: the same place has half the coordinates.
        let half_map: Coefficients = map.map(|value| value / 2.0);
        let straight = is_straight(&map, output);
        let resampler = |map, size, outside| Resampler::of_kind(straight, map, output, size, outside);
        Self {
            planes,
            full: resampler(&map, size, outside),
            half: frame.format().is_yuv().then(|| resampler(&half_map, half_size, half_outside)),
            swapped: is_swapped(frame.format()),
            to_rgb: ToRgb::new(frame.color()),
            constant,
        }
    }

    /// Reads row `y` as red, green and blue, not clamped.
    fn read(&self, y: usize, scratch: &mut Scratch) {
        let Scratch { red, green, blue, coverage, lines } = scratch;
        if self.constant.is_some() {
            self.full.coverage(y, coverage);
        }
        let half = self.half.as_ref().unwrap_or(&self.full);
        match &self.planes {
            Planes::Rgb3(source) => {
                let (first, third) = if self.swapped { (blue, red) } else { (red, blue) };
                read_planes(&self.full, std::array::from_ref(source), y, lines, [[first, green, third]]);
                self.scale(scratch);
            }
            Planes::Rgb4(source) => {
                let (first, third) = if self.swapped { (blue, red) } else { (red, blue) };
                read_planes(&self.full, std::array::from_ref(source), y, lines, [[first, green, third]]);
                self.scale(scratch);
            }
            Planes::Nv12(luma, difference) => {
                read_planes(&self.full, std::array::from_ref(luma), y, lines, [[green]]);
                read_planes(half, std::array::from_ref(difference), y, lines, [[blue, red]]);
                self.convert(scratch);
            }
            Planes::I420(luma, difference) => {
                read_planes(&self.full, std::array::from_ref(luma), y, lines, [[green]]);
                read_planes(half, difference, y, lines, [[blue], [red]]);
                self.convert(scratch);
            }
        }
    }

    /// Brings bytes to 0..1 and mixes in the constant.
    fn scale(&self, scratch: &mut Scratch) {
        let Scratch { red, green, blue, coverage, .. } = scratch;
        for (channel, values) in [red, green, blue].into_iter().enumerate() {
            match self.constant {
                None => values.iter_mut().for_each(|value| *value *= 1.0 / 255.0),
                Some(constant) => {
                    for (value, coverage) in values.iter_mut().zip(&*coverage) {
                        *value = *value * (1.0 / 255.0) + (1.0 - coverage) * constant[channel];
                    }
                }
            }
        }
    }

    /// Converts code values of luma (in `green`), blue difference (in `blue`) and red difference (in `red`),
    /// and mixes in the constant.
    fn convert(&self, scratch: &mut Scratch) {
        let Scratch { red, green, blue, coverage, .. } = scratch;
        let to = &self.to_rgb;
        let values = red.iter_mut().zip(green).zip(blue);
        match self.constant {
            None => {
                for ((red, green), blue) in values {
                    let luma = (*green - to.black) * to.luma;
                    let (blue_difference, red_difference) = (*blue - NEUTRAL, *red - NEUTRAL);
                    *red = luma + to.red_to_red * red_difference;
                    *green = luma + to.blue_to_green * blue_difference + to.red_to_green * red_difference;
                    *blue = luma + to.blue_to_blue * blue_difference;
                }
            }
            Some(constant) => {
                for (((red, green), blue), coverage) in values.zip(&*coverage) {
                    let luma = (*green - to.black * coverage) * to.luma;
                    let (blue_difference, red_difference) =
                        ((*blue - NEUTRAL) * coverage, (*red - NEUTRAL) * coverage);
                    let rest = 1.0 - coverage;
                    *red = luma + to.red_to_red * red_difference + rest * constant[0];
                    *green = luma
                        + to.blue_to_green * blue_difference
                        + to.red_to_green * red_difference
                        + rest * constant[1];
                    *blue = luma + to.blue_to_blue * blue_difference + rest * constant[2];
                }
            }
        }
    }
}

/// Reads row `y` of planes that are resampled alike, each of their values to a row of its own.
fn read_planes<const STEP: usize, const PLANES: usize, const N: usize>(
    resampler: &Resampler,
    sources: &[Source<'_, u8, STEP>; PLANES],
    y: usize,
    lines: &mut [Vec<f32>; 2],
    output: [[&mut Vec<f32>; N]; PLANES],
) {
    let output = output.map(|plane| plane.map(Vec::as_mut_slice));
    let width = output[0][0].len();
    resampler.prepare(sources, y, lines);
    resampler.fill(sources, y, 0..width, lines, output);
}

impl SampleSpec {
    /// One over the standard deviation, and minus the mean over it.
    fn gain_and_bias(&self) -> ([f32; 3], [f32; 3]) {
        let bias = std::array::from_fn(|channel| -self.mean[channel] / self.std[channel]);
        (self.std.map(|std| 1.0 / std), bias)
    }
}

/// Writes rows as the network wants them.
struct Writer {
    bgr: bool,
    gain: [f32; 3],
    bias: [f32; 3],
}

impl Writer {
    fn new(spec: &SampleSpec) -> Self {
        let (gain, bias) = spec.gain_and_bias();
        Self { bgr: spec.channels == Channels::Bgr, gain, bias }
    }

    fn in_order<'a>(&self, scratch: &'a Scratch) -> [&'a [f32]; 3] {
        let Scratch { red, green, blue, .. } = scratch;
        if self.bgr {
            [blue, green, red]
        } else {
            [red, green, blue]
        }
    }

    fn planar<T: Stored>(&self, scratch: &Scratch, output: [&mut [T]; 3]) {
        for (channel, (output, values)) in output.into_iter().zip(self.in_order(scratch)).enumerate() {
            let (gain, bias) = (self.gain[channel], self.bias[channel]);
            for (output, value) in output.iter_mut().zip(values) {
                *output = T::of(unit(*value) * gain + bias);
            }
        }
    }

    fn interleaved<T: Stored>(&self, scratch: &Scratch, output: &mut [T]) {
        let [first, second, third] = self.in_order(scratch);
        let (output, _) = output.as_chunks_mut::<3>();
        for (((output, first), second), third) in output.iter_mut().zip(first).zip(second).zip(third) {
            *output = [
                T::of(unit(*first) * self.gain[0] + self.bias[0]),
                T::of(unit(*second) * self.gain[1] + self.bias[1]),
                T::of(unit(*third) * self.gain[2] + self.bias[2]),
            ];
        }
    }
}
