//! Compositions on every device of this machine: against what NumPy computed (see `golden/README.md`), against a plain
//! computation in double precision, and what holds for all layers, frames and numbers of threads.

mod picture;
mod records;

use deepfake_kernels::{
    sample, test_devices, Affine, Background, Border, Channels, ColorMatrix, ColorRange, ColorSpace, Device,
    DeviceError, Download, Element, Layer, Layout, PixelFormat, Point, Rect, SampleSpec, Tensor, Upload,
};
use picture::{senseless_maps, Picture, Random};
use records::Reader;

/// Largest difference allowed between composed bytes and those of another computation: rounding may fall to either side.
const TOLERANCE: u8 = 1;

/// A layer that owns its image, in the host's memory.
struct Paint {
    image: Tensor,
    map: Affine,
    feather: f32,
}

impl Paint {
    fn new(image: Vec<f32>, width: usize, height: usize, map: Affine, feather: f32) -> Self {
        Self { image: Tensor::from_vec(&[3, height, width], image), map, feather }
    }

    /// Noise.
    fn noise(random: &mut Random, width: usize, height: usize, map: Affine, feather: f32) -> Self {
        let image = (0..3 * width * height).map(|_| random.next()).collect();
        Self::new(image, width, height, map, feather)
    }
}

/// What lies below the layers.
#[derive(Clone, Copy)]
enum Below<'a> {
    Color([f32; 3]),
    Picture(&'a Picture),
}

/// Has `run` get the layers with their images where `device` can read them.
fn with_layers<R>(device: &Device, paints: &[Paint], run: impl FnOnce(&[Layer<'_>]) -> R) -> R {
    let images: Vec<Tensor> = paints
        .iter()
        .map(|paint| {
            let mut image = Tensor::default();
            device.upload(&paint.image, &mut image).unwrap();
            image
        })
        .collect();
    let layers: Vec<Layer<'_>> = paints
        .iter()
        .zip(&images)
        .map(|(paint, image)| Layer { image, map: paint.map, feather: paint.feather })
        .collect();
    let result = run(&layers);
    device.synchronize().unwrap();
    result
}

/// Composes where bytes lie at any address and rows are of any stride.
fn compose(device: &Device, paints: &[Paint], below: Below<'_>, output: &mut Picture) {
    with_layers(device, paints, |layers| {
        output
            .change_on(device, |frame| match below {
                Below::Color(color) => device.compose(layers, Background::Color(color), frame),
                Below::Picture(picture) => {
                    picture.read_on(device, |below| device.compose(layers, Background::Picture(below), frame))
                }
            })
            .unwrap();
    });
}

/// Composes on a GPU where all rows start at whole vectors, as frames from elsewhere do.
fn compose_aligned(device: &Device, paints: &[Paint], below: Below<'_>, output: &mut Picture) {
    let Some(cuda) = device.cuda() else { return compose(device, paints, below, output) };
    let (mut upload, mut download) = (Upload::new(cuda).unwrap(), Download::new(cuda).unwrap());
    with_layers(device, paints, |layers| {
        let mut host = output.frame_mut();
        let mut frame = download.target(&host).unwrap();
        match below {
            Below::Color(color) => device.compose(layers, Background::Color(color), &mut frame).unwrap(),
            Below::Picture(picture) => {
                let below = upload.take(&picture.frame()).unwrap();
                device.compose(layers, Background::Picture(&below), &mut frame).unwrap();
            }
        }
        download.give(&mut host).unwrap();
    });
}

const BOTH: [fn(&Device, &[Paint], Below<'_>, &mut Picture); 2] = [compose, compose_aligned];

fn spec(width: usize, height: usize, border: Border) -> SampleSpec {
    let (layout, channels) = (Layout::Nchw, Channels::Rgb);
    SampleSpec { width, height, layout, channels, mean: [0.0; 3], std: [1.0; 3], border }
}

fn sampled(picture: &Picture, map: &Affine, spec: &SampleSpec) -> Vec<f32> {
    let mut output = vec![f32::NAN; 3 * spec.width * spec.height];
    sample(&picture.frame(), map, spec, &mut output);
    output
}

fn on_threads<T: Send>(count: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap().install(run)
}

#[test]
fn compositions_into_every_format_equal_numpy_and_leave_padding_alone() {
    let (mut reader, count) = Reader::open("compose.bin");
    let mut formats = Vec::new();
    let devices = test_devices();
    let mut inexact = vec![0; devices.len()];
    for _ in 0..count {
        let name = reader.name();
        let paints: Vec<_> = (0..reader.integer())
            .map(|_| {
                let (width, height) = (reader.integer(), reader.integer());
                let (map, [feather]) = (Affine { m: reader.array() }, reader.array());
                Paint::new(reader.floats(3 * width * height), width, height, map, feather)
            })
            .collect();
        let background = Below::Color(reader.array());
        let expected = reader.picture();
        let (format, color) = (expected.format, expected.color);
        for (device, inexact) in devices.iter().zip(&mut inexact) {
            for compose in BOTH {
                let planes = expected
                    .planes()
                    .iter()
                    .map(|(data, stride)| (vec![0xA5; data.len()], *stride))
                    .collect();
                let mut picture =
                    Picture::from_planes(format, color, expected.width, expected.height, planes);
                compose(device, &paints, background, &mut picture);
                for (plane, ((bytes, stride), (wanted, _))) in
                    picture.planes().iter().zip(expected.planes()).enumerate()
                {
                    for (index, (byte, wanted)) in bytes.iter().zip(wanted).enumerate() {
                        let padding = index % stride >= format.row_bytes(plane, expected.width);
                        let tolerance = if padding { 0 } else { TOLERANCE };
                        let (x, y) = (index % stride, index / stride);
                        assert!(
                            byte.abs_diff(*wanted) <= tolerance,
                            "{device:?}, {name}, plane {plane}, byte {x} of row {y}: {byte} is not {wanted}"
                        );
                        *inexact += usize::from(byte != wanted);
                    }
                }
            }
        }
        formats.push(format);
    }
    assert!(reader.finished());
    assert!(PixelFormat::ALL.iter().all(|format| formats.contains(format)));
    for (device, inexact) in devices.iter().zip(inexact) {
        println!("{device:?}: {inexact} bytes off by one");
    }
}

/// The plain computation: what a frame's pixels are in double precision.
struct Plain<'a> {
    paints: &'a [Paint],
    below: Below<'a>,
    width: usize,
    height: usize,
}

/// The weights of red, green and blue in luma, the difference from blue and from red, and the code values of black, of
/// white above black and of full difference.
fn plain_color(space: ColorSpace) -> ([[f64; 3]; 3], [f64; 3]) {
    let (kr, kb) = match space.matrix {
        ColorMatrix::Bt601 => (0.299, 0.114),
        ColorMatrix::Bt709 => (0.2126, 0.0722),
    };
    let kg = 1.0 - kr - kb;
    let (cb, cr) = (0.5 / (1.0 - kb), 0.5 / (1.0 - kr));
    let rows = [[kr, kg, kb], [-kr * cb, -kg * cb, 0.5], [0.5, -kg * cr, -kb * cr]];
    let range = match space.range {
        ColorRange::Full => [0.0, 255.0, 255.0],
        ColorRange::Limited => [16.0, 219.0, 224.0],
    };
    (rows, range)
}

/// Where each colour lies among the bytes of a pixel.
fn channels(format: PixelFormat) -> [usize; 3] {
    match format {
        PixelFormat::Bgr | PixelFormat::Bgra | PixelFormat::Bgrx => [2, 1, 0],
        _ => [0, 1, 2],
    }
}

/// Red, green and blue of a pixel of a picture.
fn plain_pixel(picture: &Picture, x: usize, y: usize) -> [f64; 3] {
    if !picture.format.is_yuv() {
        let pixel = picture.pixel(0, x, y);
        return channels(picture.format).map(|index| f64::from(pixel[index]) / 255.0);
    }
    let (rows, [black, white, full]) = plain_color(picture.color);
    let differences = match picture.format {
        PixelFormat::Nv12 => picture.pixel(1, x / 2, y / 2),
        _ => [picture.pixel(1, x / 2, y / 2), picture.pixel(2, x / 2, y / 2)].concat(),
    };
    let luma = (f64::from(picture.pixel(0, x, y)[0]) - black) / white;
    let [blue, red] = [0, 1].map(|index| (f64::from(differences[index]) - 128.0) / full);
    let ([kr, kg, kb], _) = (rows[0], ());
    let (r, b) = (luma + red * 2.0 * (1.0 - kr), luma + blue * 2.0 * (1.0 - kb));
    [r, (luma - kr * r - kb * b) / kg, b]
}

/// Samples and weights that a pixel averages along an axis.
fn plain_axis(scale: f64, offset: f64, index: usize, samples: usize) -> Vec<(usize, f64)> {
    let inside = |sample: f64| sample.clamp(0.0, samples as f64 - 1.0) as usize;
    let from = scale * index as f64 + offset;
    if scale.abs() <= 1.0 {
        let position = from + scale / 2.0 - 0.5;
        let fraction = position - position.floor();
        return vec![(inside(position.floor()), 1.0 - fraction), (inside(position.floor() + 1.0), fraction)];
    }
    let (low, high) = (from.min(from + scale), from.max(from + scale));
    (low.floor() as i64..high.ceil() as i64)
        .map(|sample| {
            let sample = sample as f64;
            (inside(sample), (high.min(sample + 1.0) - low.max(sample)) / scale.abs())
        })
        .collect()
}

impl Plain<'_> {
    /// Colour and opacity of a layer; `None` where it does not touch the pixel.
    fn layer(&self, paint: &Paint, x: usize, y: usize) -> Option<([f64; 3], f64)> {
        let &[3, height, width] = paint.image.shape() else { panic!() };
        let [a, b, tx, c, d, ty] = paint.map.m.map(f64::from);
        let place = |x: f64, y: f64| (a * x + b * y + tx, c * x + d * y + ty);
        let (u, v) = place(x as f64 + 0.5, y as f64 + 0.5);
        let depth = u.min(v).min(width as f64 - u).min(height as f64 - v);
        if depth < 0.0 {
            return None;
        }
        let feather = f64::from(paint.feather);
        let opacity = if depth >= feather { 1.0 } else { depth / feather };
        let value = |channel: usize, columns: &[(usize, f64)], rows: &[(usize, f64)]| -> f64 {
            let image = &paint.image.data()[channel * width * height..];
            let row =
                |y: usize| columns.iter().map(|(x, w)| w * f64::from(image[y * width + x])).sum::<f64>();
            rows.iter().map(|(y, w)| w * row(*y)).sum()
        };
        let straight = b.abs() * self.height as f64 <= 1e-3 && c.abs() * self.width as f64 <= 1e-3;
        let color = if straight {
            let (columns, rows) = (plain_axis(a, tx, x, width), plain_axis(d, ty, y, height));
            [0, 1, 2].map(|channel| value(channel, &columns, &rows))
        } else {
            let count = |scale: f64| ((scale / 1.5 - 1e-4).ceil() as usize).clamp(1, 16);
            let (across, down) = (count(a.hypot(c)), count(b.hypot(d)));
            let mut sums = [0.0; 3];
            for (i, j) in (0..down).flat_map(|j| (0..across).map(move |i| (i, j))) {
                let (i, j) = ((i as f64 + 0.5) / across as f64, (j as f64 + 0.5) / down as f64);
                let (u, v) = place(x as f64 + i, y as f64 + j);
                // A point is what a map that does not scale finds.
                let (columns, rows) = (plain_axis(0.0, u, 0, width), plain_axis(0.0, v, 0, height));
                for (channel, sum) in sums.iter_mut().enumerate() {
                    *sum += value(channel, &columns, &rows) / (across * down) as f64;
                }
            }
            sums
        };
        Some((color.map(|value| value.clamp(0.0, 1.0)), opacity))
    }

    /// Colour of a pixel, and whether any layer touches it.
    fn pixel(&self, x: usize, y: usize) -> ([f64; 3], bool) {
        let mut color = match self.below {
            Below::Color(color) => color.map(f64::from),
            Below::Picture(picture) => plain_pixel(picture, x, y),
        };
        let mut touched = false;
        for (value, opacity) in self.paints.iter().filter_map(|paint| self.layer(paint, x, y)) {
            for (color, value) in color.iter_mut().zip(value) {
                *color += (value - *color) * opacity;
            }
            touched = true;
        }
        (color, touched)
    }

    /// Compares all bytes of a picture.
    fn check(&self, picture: &Picture, what: &str) {
        let pixels: Vec<_> =
            (0..self.width * self.height).map(|i| self.pixel(i % self.width, i / self.width)).collect();
        let pixel = |x: usize, y: usize| pixels[y * self.width + x];
        let near = |place: (usize, usize, usize), byte: u8, expected: f64| {
            // Half a code value of rounding, and what single precision loses.
            let difference = (f64::from(byte) - expected.clamp(0.0, 255.0)).abs();
            assert!(difference <= 0.502, "{what}, plane, x and y {place:?}: {byte} is not {expected}");
        };
        let same = |place: (usize, usize, usize), bytes: &[u8], touched: bool| {
            if let (Below::Picture(below), false) = (self.below, touched) {
                let (plane, x, y) = place;
                assert_eq!(bytes, below.pixel(plane, x, y), "{what}, {place:?} is not kept");
            }
        };
        let format = picture.format;
        if !format.is_yuv() {
            for (x, y) in (0..self.width * self.height).map(|i| (i % self.width, i / self.width)) {
                let (bytes, (color, touched)) = (picture.pixel(0, x, y), pixel(x, y));
                for (index, value) in channels(format).into_iter().zip(color) {
                    near((0, x, y), bytes[index], value * 255.0);
                }
                let kept = matches!(self.below, Below::Picture(_)) && !touched;
                assert!(kept || bytes.get(3).is_none_or(|alpha| *alpha == 255), "{what}, alpha of {x}, {y}");
                same((0, x, y), &bytes, touched);
            }
            return;
        }
        let (rows, [black, white, full]) = plain_color(picture.color);
        let dot = |row: [f64; 3], color: [f64; 3]| row.iter().zip(color).map(|(a, b)| a * b).sum::<f64>();
        for (x, y) in (0..self.width.div_ceil(2))
            .flat_map(|x| (0..self.height.div_ceil(2)).map(move |y| (2 * x, 2 * y)))
        {
            let block: Vec<(usize, usize)> = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)]
                .into_iter()
                .filter(|(x, y)| *x < self.width && *y < self.height)
                .collect();
            let touched = block.iter().any(|(x, y)| pixel(*x, *y).1);
            let mut mean = [0.0; 3];
            for &(x, y) in &block {
                let (color, own) = pixel(x, y);
                let bytes = picture.pixel(0, x, y);
                near((0, x, y), bytes[0], black + white * dot(rows[0], color));
                same((0, x, y), &bytes, own);
                for (mean, value) in mean.iter_mut().zip(color) {
                    *mean += value / block.len() as f64;
                }
            }
            let (x, y) = (x / 2, y / 2);
            let expected = [rows[1], rows[2]].map(|row| 128.0 + full * dot(row, mean));
            for plane in 1..format.planes() {
                let bytes = picture.pixel(plane, x, y);
                for (byte, expected) in bytes.iter().zip(&expected[plane - 1..]) {
                    near((plane, x, y), *byte, *expected);
                }
                same((plane, x, y), &bytes, touched);
            }
        }
    }
}

/// A picture whose colours, in Y'CbCr too, are all within 0..1.
fn muted(
    random: &mut Random,
    format: PixelFormat,
    color: ColorSpace,
    width: usize,
    height: usize,
) -> Picture {
    let mut picture = Picture::new(format, width, height, |plane, _, x| match (format, plane, x % 4) {
        // Alpha of a background is kept, so it is no constant.
        (PixelFormat::Rgba | PixelFormat::Bgra | PixelFormat::Rgbx | PixelFormat::Bgrx, _, 3) => {
            (random.next() * 256.0) as u8
        }
        (PixelFormat::Nv12 | PixelFormat::I420, 0, _) => 90 + (random.next() * 60.0) as u8,
        (PixelFormat::Nv12 | PixelFormat::I420, ..) => 110 + (random.next() * 36.0) as u8,
        _ => (random.next() * 256.0) as u8,
    });
    picture.color = color;
    picture
}

fn random_map(random: &mut Random, frame: (usize, usize), image: (usize, usize)) -> Affine {
    let mut between = |low: f32, high: f32| low + (high - low) * random.next();
    // Image pixels of a frame pixel: enlarged, about the same, and shrunk.
    let scale = 2f32.powf(between(-3.0, 2.6));
    let stretch = between(0.7, 1.4);
    let turned = between(0.0, 1.0) < 0.5;
    let angle = if turned { between(-3.2, 3.2) } else { 0.0 };
    let (sin, cos) = angle.sin_cos();
    let mirrored = if between(0.0, 1.0) < 0.3 { -1.0 } else { 1.0 };
    let (a, b) = (cos * scale * mirrored, -sin * scale * stretch);
    let (c, d) = (sin * scale * mirrored, cos * scale * stretch);
    // Some point of the image meets some point of the frame or beside it.
    let (x, y) = (between(-0.2, 1.2) * frame.0 as f32, between(-0.2, 1.2) * frame.1 as f32);
    let (u, v) = (between(0.0, 1.0) * image.0 as f32, between(0.0, 1.0) * image.1 as f32);
    Affine { m: [a, b, u - a * x - b * y, c, d, v - c * x - d * y] }
}

#[test]
fn random_compositions_equal_a_plain_computation_and_keep_the_background_elsewhere() {
    let devices = test_devices();
    let mut random = Random(11);
    for round in 0..160 {
        let format = PixelFormat::ALL[round % 8];
        let color = ColorSpace {
            matrix: [ColorMatrix::Bt601, ColorMatrix::Bt709][round / 8 % 2],
            range: [ColorRange::Full, ColorRange::Limited][round / 16 % 2],
        };
        let mut up_to = |most: usize| 1 + (random.next() * most as f32) as usize;
        // Some wider than a block of a GPU's threads.
        let (width, height) = if round % 3 == 0 { (up_to(300), up_to(20)) } else { (up_to(60), up_to(40)) };
        let sizes: Vec<_> = (0..up_to(5) - 1).map(|_| (up_to(40), up_to(30))).collect();
        let paints: Vec<_> = sizes
            .into_iter()
            .map(|image| {
                let map = random_map(&mut random, (width, height), image);
                let feather = [0.0, 1.5, 4.0, 30.0][(random.next() * 4.0) as usize];
                Paint::noise(&mut random, image.0, image.1, map, feather)
            })
            .collect();
        let picture = muted(&mut random, format, color, width, height);
        for below in [Below::Picture(&picture), Below::Color([0.2, 0.9, 0.4])] {
            let plain = Plain { paints: &paints, below, width, height };
            for device in &devices {
                for compose in BOTH {
                    let mut output = Picture::filled(format, width, height, 7);
                    output.color = color;
                    compose(device, &paints, below, &mut output);
                    plain.check(&output, &format!("{device:?}, round {round}, {format:?} {width}x{height}"));
                    assert!(output.padding_is_untouched(), "{device:?}, round {round}");
                }
            }
        }
    }
}

#[test]
fn a_picture_below_is_what_an_opaque_layer_of_it_is() {
    let mut random = Random(5);
    let (width, height) = (150, 37);
    let turned = Affine::from_rotated_square(Point { x: 70.0, y: 18.0 }, 60.0, 0.4, 32).inverse().unwrap();
    for device in test_devices() {
        for format in PixelFormat::ALL {
            let picture = muted(&mut random, format, ColorSpace::default(), width, height);
            let colors: Vec<_> =
                (0..width * height).map(|i| plain_pixel(&picture, i % width, i / width)).collect();
            let image = (0..3).flat_map(|channel| colors.iter().map(move |color| color[channel] as f32));
            let whole = Paint::new(image.collect(), width, height, Affine::IDENTITY, 0.0);
            let face = Paint::noise(&mut random, 32, 32, turned, 5.0);
            let (mut output, mut expected) =
                (Picture::filled(format, width, height, 1), Picture::filled(format, width, height, 2));
            compose_aligned(&device, std::slice::from_ref(&face), Below::Picture(&picture), &mut output);
            compose(&device, &[whole, face], Below::Color([0.0; 3]), &mut expected);
            for plane in 0..format.planes() {
                let (columns, rows) = match (format, plane) {
                    (PixelFormat::Nv12 | PixelFormat::I420, 1..) => (width.div_ceil(2), height.div_ceil(2)),
                    _ => (width, height),
                };
                for (x, y) in (0..columns * rows).map(|i| (i % columns, i / columns)) {
                    let (bytes, expected) = (output.pixel(plane, x, y), expected.pixel(plane, x, y));
                    let near = bytes.iter().zip(&expected).take(3).all(|(a, b)| a.abs_diff(*b) <= TOLERANCE);
                    assert!(near, "{device:?} {format:?}, {plane}, {x}, {y}: {bytes:?} is not {expected:?}");
                }
            }
        }
    }
}

#[test]
fn a_picture_without_layers_is_copied_byte_by_byte() {
    for device in test_devices() {
        for format in PixelFormat::ALL {
            for (width, height) in [(1, 1), (2, 2), (15, 3), (16, 8), (33, 5), (129, 17), (640, 9)] {
                // Colours that no red, green and blue have, too.
                let picture = Picture::noise(format, width, height);
                let far = Affine { m: [1.0, 0.0, -1e6, 0.0, 1.0, 0.0] };
                let elsewhere = Paint::noise(&mut Random(3), 4, 4, far, 0.0);
                for compose in BOTH {
                    for paints in [&[][..], std::slice::from_ref(&elsewhere)] {
                        let mut output = Picture::filled(format, width, height, 9);
                        compose(&device, paints, Below::Picture(&picture), &mut output);
                        assert_eq!(output.bytes(), picture.bytes(), "{device:?} {format:?} {width}x{height}");
                    }
                }
            }
        }
    }
}

#[test]
fn more_layers_than_a_gpu_takes_at_once_lie_one_over_the_other() {
    let mut random = Random(8);
    // Steps from left to right, each of which hides most of those before.
    let paints: Vec<_> = (0..37)
        .map(|index| {
            let color = [random.next(), random.next(), random.next()];
            let image = color.iter().flat_map(|value| [*value; 6 * 200]).collect();
            Paint::new(image, 200, 6, Affine { m: [1.0, 0.0, -4.0 * index as f32, 0.0, 1.0, 0.0] }, 0.0)
        })
        .collect();
    for device in test_devices() {
        for format in PixelFormat::ALL {
            let mut output = Picture::filled(format, 190, 6, 0);
            compose(&device, &paints, Below::Color([0.5; 3]), &mut output);
            let plain = Plain { paints: &paints, below: Below::Color([0.5; 3]), width: 190, height: 6 };
            plain.check(&output, &format!("{device:?} {format:?}"));
        }
    }
}

#[test]
fn senseless_layers_paint_nothing_outside_the_rows() {
    let paints: Vec<Paint> = senseless_maps()
        .into_iter()
        .flat_map(|map| [0.0, 1.5, f32::NAN, f32::INFINITY, -1.0].map(|feather| (map, feather)))
        .map(|(map, feather)| Paint::new(vec![0.5; 3 * 5 * 4], 5, 4, map, feather))
        .collect();
    for device in test_devices() {
        with_layers(&device, &paints, |layers| {
            for format in PixelFormat::ALL {
                for (width, height) in [(1, 1), (1, 6), (7, 1), (5, 4), (40, 9)] {
                    let mut picture = Picture::noise(format, width, height);
                    let below = Picture::noise(format, width, height);
                    picture.change_on(&device, |frame| {
                        below.read_on(&device, |below| {
                            for layers in layers.chunks(9) {
                                let color = Background::Color([0.1, 0.2, 0.3]);
                                device.compose(layers, color, frame).unwrap();
                                device.compose(layers, Background::Picture(below), frame).unwrap();
                            }
                        });
                    });
                    assert!(picture.padding_is_untouched(), "{device:?} {format:?} {width}x{height}");
                }
            }
        });
    }
}

#[test]
fn a_layer_of_a_map_without_numbers_paints_nothing() {
    for device in test_devices() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for index in 0..6 {
                let mut map = Affine::IDENTITY;
                map.m[index] = value;
                let mut picture = Picture::filled(PixelFormat::Rgb, 4, 3, 7);
                let paint = Paint::new(vec![1.0; 3 * 12], 4, 3, map, 0.0);
                compose(&device, &[paint], Below::Color([0.0; 3]), &mut picture);
                assert!((0..12).all(|i| picture.pixel(0, i % 4, i / 4) == [0; 3]), "{device:?} {map:?}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_compositions() {
    let mut random = Random(3);
    let map = Affine::from_rotated_square(Point { x: 20.0, y: 15.0 }, 60.0, 0.4, 99);
    let paints = [Paint::noise(&mut random, 40, 30, map, 3.0)];
    for format in PixelFormat::ALL {
        let below = Picture::noise(format, 101, 99);
        for below in [Below::Color([0.2; 3]), Below::Picture(&below)] {
            let run = |threads| {
                let mut picture = Picture::noise(format, 101, 99);
                on_threads(threads, || compose(&Device::Cpu, &paints, below, &mut picture));
                picture.bytes()
            };
            assert_eq!(run(1), run(4), "{format:?}");
        }
    }
}

#[test]
fn a_picture_composed_and_sampled_again_is_the_same() {
    // Smooth and of muted colours, as subsampling loses detail and clamping saturation.
    let (width, height) = (47, 33);
    let wave = |channel: usize, x: usize, y: usize| {
        0.5 + 0.25 * (x as f32 * 0.02 + y as f32 * 0.015 + channel as f32).sin()
    };
    let image: Vec<f32> = (0..3 * width * height)
        .map(|index| wave(index / (width * height), index % width, index / width % height))
        .collect();
    let paints = [Paint::new(image.clone(), width, height, Affine::IDENTITY, 0.0)];
    for device in test_devices() {
        for format in PixelFormat::ALL {
            for matrix in [ColorMatrix::Bt601, ColorMatrix::Bt709] {
                for range in [ColorRange::Full, ColorRange::Limited] {
                    let mut picture = Picture::filled(format, width, height, 0);
                    picture.color = ColorSpace { matrix, range };
                    compose(&device, &paints, Below::Color([0.0; 3]), &mut picture);
                    let back = sampled(&picture, &Affine::IDENTITY, &spec(width, height, Border::Replicate));
                    // Half a code value. In 4:2:0 of luma and of blue difference, 0.0063 of limited range
                    // together, and at the edges half a pixel of slope, 0.0044.
                    let tolerance = if format.is_yuv() { 0.011 } else { 0.5 / 255.0 + 1e-5 };
                    for (index, (value, expected)) in back.iter().zip(&image).enumerate() {
                        assert!(
                            (value - expected).abs() <= tolerance,
                            "{device:?} {format:?} {matrix:?} {range:?}, value {index}: {value} is not {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn sampling_at_its_own_size_and_composing_again_returns_every_byte_of_a_packed_frame() {
    for device in test_devices() {
        for format in PixelFormat::ALL.into_iter().filter(|format| !format.is_yuv()) {
            let mut picture = Picture::noise(format, 13, 9);
            let before: Vec<_> = (0..13 * 9).map(|index| picture.pixel(0, index % 13, index / 13)).collect();
            let image = sampled(&picture, &Affine::IDENTITY, &spec(13, 9, Border::Mirror));
            let paint = Paint::new(image, 13, 9, Affine::IDENTITY, 0.0);
            compose(&device, &[paint], Below::Color([0.0; 3]), &mut picture);
            for (index, before) in before.iter().enumerate() {
                let after = picture.pixel(0, index % 13, index / 13);
                assert_eq!(after[..3], before[..3], "{device:?} {format:?} pixel {index}");
                assert!(
                    after.get(3).is_none_or(|alpha| *alpha == 255),
                    "{device:?} {format:?} pixel {index}"
                );
            }
        }
    }
}

#[test]
fn values_beyond_the_range_and_those_that_are_no_number_are_clamped() {
    for device in test_devices() {
        let image = [2.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5].repeat(3);
        let paint = Paint::new(image, 6, 1, Affine::IDENTITY, 0.0);
        let mut picture = Picture::filled(PixelFormat::Rgb, 6, 1, 7);
        compose(&device, &[paint], Below::Color([0.0; 3]), &mut picture);
        let red: Vec<_> = (0..6).map(|x| picture.pixel(0, x, 0)[0]).collect();
        assert_eq!(red, [255, 0, 0, 255, 0, 128], "{device:?}");
    }
}

#[test]
#[should_panic(expected = "no picture of three colours")]
fn an_image_of_another_shape_is_refused() {
    let mut picture = Picture::filled(PixelFormat::Rgb, 2, 2, 0);
    let image = Tensor::from_vec(&[4, 2, 2], vec![0.0; 16]);
    let layer = Layer { image: &image, map: Affine::IDENTITY, feather: 0.0 };
    let _ = Device::Cpu.compose(&[layer], Background::Color([0.0; 3]), &mut picture.frame_mut());
}

#[test]
fn layers_without_pixels_are_left_out() {
    for device in test_devices() {
        let mut picture = Picture::filled(PixelFormat::Rgb, 2, 2, 7);
        let paint = Paint::new(Vec::new(), 0, 3, Affine::IDENTITY, 0.0);
        compose(&device, &[paint], Below::Color([1.0; 3]), &mut picture);
        assert_eq!(picture.pixel(0, 1, 1), [255; 3], "{device:?}");
    }
}

#[test]
fn frames_of_another_layout_and_images_of_half_precision_are_refused() {
    for device in test_devices() {
        let mut output = Picture::filled(PixelFormat::Nv12, 8, 6, 7);
        let mut others = vec![
            Picture::filled(PixelFormat::I420, 8, 6, 7),
            Picture::filled(PixelFormat::Nv12, 8, 5, 7),
            Picture::filled(PixelFormat::Nv12, 6, 6, 7),
            Picture::filled(PixelFormat::Nv12, 8, 6, 7),
        ];
        others[3].color = ColorSpace { matrix: ColorMatrix::Bt709, ..output.color };
        for other in &others {
            let error = output.change_on(&device, |frame| {
                other.read_on(&device, |below| device.compose(&[], Background::Picture(below), frame))
            });
            let expected = DeviceError::WrongLayout { found: other.layout(), wanted: output.layout() };
            assert_eq!(error.unwrap_err(), expected);
        }
        let mut image = Tensor::default();
        device.prepare_as(&mut image, &[3, 2, 2], Element::F16).unwrap();
        let layer = Layer { image: &image, map: Affine::IDENTITY, feather: 0.0 };
        let color = Background::Color([0.0; 3]);
        let error = output.change_on(&device, |frame| device.compose(&[layer], color, frame));
        assert!(matches!(error, Err(DeviceError::Call { call: "compose", .. })), "{error:?}");
        assert_eq!(
            output.bytes(),
            Picture::filled(PixelFormat::Nv12, 8, 6, 7).bytes(),
            "nothing was painted"
        );
    }
}

#[test]
fn what_lies_on_another_device_is_refused() {
    let devices = test_devices();
    for device in &devices {
        for other in &devices {
            let mut picture = Picture::filled(PixelFormat::Rgb, 4, 4, 7);
            let below = Picture::filled(PixelFormat::Rgb, 4, 4, 8);
            let mut image = Tensor::default();
            other.upload(&Tensor::from_vec(&[3, 1, 1], vec![0.5; 3]), &mut image).unwrap();
            let layer = Layer { image: &image, map: Affine::IDENTITY, feather: 0.0 };
            let color = Background::Color([0.0; 3]);
            let same = device.cuda().is_some() == other.cuda().is_some();
            let refused = |result: Result<(), DeviceError>| {
                assert_eq!(matches!(result, Err(DeviceError::WrongMemory { .. })), !same, "{result:?}");
            };
            refused(picture.change_on(device, |frame| device.compose(&[layer], color, frame)));
            refused(picture.change_on(other, |frame| device.compose(&[], color, frame)));
            refused(picture.change_on(device, |frame| {
                below.read_on(other, |below| device.compose(&[], Background::Picture(below), frame))
            }));
        }
    }
}

#[test]
fn a_crop_goes_into_a_whole_picture() {
    // As the plugin does with a scene: all of a large frame is kept but for the crop.
    let mut random = Random(21);
    let (width, height) = (640, 360);
    for device in test_devices() {
        for format in [PixelFormat::Nv12, PixelFormat::I420, PixelFormat::Rgba] {
            let below = muted(&mut random, format, ColorSpace::default(), width, height);
            let place = Rect::new(201.0, 101.0, 128.0, 128.0);
            let map = Affine::from_rect(place, 64, 64).inverse().unwrap();
            let paints = [Paint::noise(&mut random, 64, 64, map, 6.0)];
            let mut output = Picture::filled(format, width, height, 3);
            compose_aligned(&device, &paints, Below::Picture(&below), &mut output);
            let plain = Plain { paints: &paints, below: Below::Picture(&below), width, height };
            plain.check(&output, &format!("{device:?} {format:?}"));
            assert_ne!(output.pixel(0, 260, 160), below.pixel(0, 260, 160), "something was painted");
        }
    }
}
