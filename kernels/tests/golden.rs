//! The kernels against pictures that NumPy and OpenCV computed; see `golden/README.md`.

use std::path::Path;

use deepfake_kernels::{
    compose, sample, Affine, Border, Channels, ColorMatrix, ColorRange, ColorSpace, Frame, FrameMut, Layer,
    Layout, PixelFormat, Plane, PlaneMut, SampleSpec,
};

/// Largest difference allowed between samples, in colour from 0 to 1. Both sides compute the same sums, one
/// in single precision; measured: 1.1e-6.
const SAMPLE_TOLERANCE: f32 = 1e-5;

/// Largest difference allowed between composed bytes: rounding may fall to either side.
const COMPOSE_TOLERANCE: u8 = 1;

/// Reads a file of records from front to back.
struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    /// Opens a file; returns the number of its records too.
    fn open(name: &str) -> (Self, usize) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = Self { bytes, at: 0 };
        assert_eq!(reader.take(4), b"DKG1", "{} is not golden data", path.display());
        let count = reader.integer();
        (reader, count)
    }

    fn take(&mut self, count: usize) -> &[u8] {
        self.at += count;
        &self.bytes[self.at - count..self.at]
    }

    fn integer(&mut self) -> usize {
        u32::from_le_bytes(self.take(4).try_into().unwrap()) as usize
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        self.take(count * 4).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn array<const N: usize>(&mut self) -> [f32; N] {
        self.floats(N).try_into().unwrap()
    }

    fn name(&mut self) -> String {
        let length = self.integer();
        String::from_utf8(self.take(length).to_vec()).unwrap()
    }

    fn picture(&mut self) -> Picture {
        let format = PixelFormat::ALL[self.integer()];
        let matrix = [ColorMatrix::Bt601, ColorMatrix::Bt709][self.integer()];
        let range = [ColorRange::Full, ColorRange::Limited][self.integer()];
        let (width, height) = (self.integer(), self.integer());
        let planes = (0..format.planes())
            .map(|_| {
                let (stride, length) = (self.integer(), self.integer());
                (self.take(length).to_vec(), stride)
            })
            .collect();
        Picture { format, color: ColorSpace { matrix, range }, width, height, planes }
    }

    fn finished(&self) -> bool {
        self.at == self.bytes.len()
    }
}

/// A frame that owns its planes: bytes and stride.
struct Picture {
    format: PixelFormat,
    color: ColorSpace,
    width: usize,
    height: usize,
    planes: Vec<(Vec<u8>, usize)>,
}

#[test]
fn samples_of_every_format_map_border_and_colour_space_equal_numpy_and_opencv() {
    let (mut reader, count) = Reader::open("sample.bin");
    let mut formats = Vec::new();
    let mut worst = 0.0f32;
    for _ in 0..count {
        let name = reader.name();
        let picture = reader.picture();
        let map = Affine { m: reader.array() };
        let (width, height) = (reader.integer(), reader.integer());
        let layout = [Layout::Nchw, Layout::Nhwc][reader.integer()];
        let channels = [Channels::Rgb, Channels::Bgr][reader.integer()];
        let border = reader.integer();
        let constant = reader.array();
        let border = [Border::Constant(constant), Border::Replicate, Border::Mirror][border];
        let (mean, std): ([f32; 3], [f32; 3]) = (reader.array(), reader.array());
        let expected = reader.floats(3 * width * height);

        let planes = picture.planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
        let frame = Frame::new(picture.format, picture.color, picture.width, picture.height, planes).unwrap();
        let spec = SampleSpec { width, height, layout, channels, mean, std, border };
        let mut output = vec![f32::NAN; expected.len()];
        sample(&frame, &map, &spec, &mut output);

        for (index, (value, expected)) in output.iter().zip(&expected).enumerate() {
            let channel = if layout == Layout::Nchw { index / (width * height) } else { index % 3 };
            let difference = (value - expected).abs() * std[channel];
            worst = worst.max(difference);
            assert!(difference <= SAMPLE_TOLERANCE, "{name}, value {index}: {value} is not {expected}");
        }
        formats.push(picture.format);
    }
    assert!(reader.finished());
    assert!(PixelFormat::ALL.iter().all(|format| formats.contains(format)));
    println!("largest difference: {worst}");
}

#[test]
fn compositions_into_every_format_equal_numpy_and_leave_padding_alone() {
    let (mut reader, count) = Reader::open("compose.bin");
    let mut formats = Vec::new();
    let mut inexact = 0;
    for _ in 0..count {
        let name = reader.name();
        let layers: Vec<_> = (0..reader.integer())
            .map(|_| {
                let (width, height) = (reader.integer(), reader.integer());
                let (map, [feather]) = (Affine { m: reader.array() }, reader.array());
                (width, height, map, feather, reader.floats(3 * width * height))
            })
            .collect();
        let background = reader.array();
        let expected = reader.picture();

        let layers: Vec<_> = layers
            .iter()
            .map(|(width, height, map, feather, image)| Layer {
                image,
                width: *width,
                height: *height,
                map: *map,
                feather: *feather,
            })
            .collect();
        let mut planes: Vec<_> =
            expected.planes.iter().map(|(data, stride)| (vec![0xA5; data.len()], *stride)).collect();
        let views = planes.iter_mut().map(|(data, stride)| PlaneMut { data, stride: *stride }).collect();
        let (width, height) = (expected.width, expected.height);
        let mut frame = FrameMut::new(expected.format, expected.color, width, height, views).unwrap();
        compose(&layers, background, &mut frame);

        for (plane, ((bytes, stride), (wanted, _))) in planes.iter().zip(&expected.planes).enumerate() {
            for (index, (byte, wanted)) in bytes.iter().zip(wanted).enumerate() {
                let padding = index % stride >= expected.format.row_bytes(plane, width);
                let tolerance = if padding { 0 } else { COMPOSE_TOLERANCE };
                let (x, y) = (index % stride, index / stride);
                assert!(
                    byte.abs_diff(*wanted) <= tolerance,
                    "{name}, plane {plane}, byte {x} of row {y}: {byte} is not {wanted}"
                );
                inexact += usize::from(byte != wanted);
            }
        }
        formats.push(expected.format);
    }
    assert!(reader.finished());
    assert!(PixelFormat::ALL.iter().all(|format| formats.contains(format)));
    println!("bytes off by one: {inexact}");
}
