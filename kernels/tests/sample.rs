//! Sampling on every device of this machine: against what NumPy and OpenCV computed (see `golden/README.md`), and what
//! holds for every frame, map and number of threads.

mod picture;
mod records;

use deepfake_kernels::{
    sample, test_devices, Affine, Border, Channels, ColorMatrix, ColorRange, Device, DeviceError, Element,
    FrameBuffer, Graph, Layout, PixelFormat, Point, Rect, SampleSpec, Tensor,
};
use picture::{senseless_maps, Picture, Random};
use records::Reader;

/// Largest difference allowed between samples, in colour from 0 to 1. All sides compute the same sums, some of them
/// in single precision; measured on the CPU: 1.1e-6.
const TOLERANCE: f32 = 1e-5;

const BORDERS: [Border; 3] = [Border::Constant([0.3, 0.6, 0.9]), Border::Replicate, Border::Mirror];

fn spec(width: usize, height: usize, border: Border) -> SampleSpec {
    let (layout, channels) = (Layout::Nchw, Channels::Rgb);
    SampleSpec { width, height, layout, channels, mean: [0.0; 3], std: [1.0; 3], border }
}

/// The samples of all maps, stored as `element` on the way.
fn sampled_as(
    device: &Device,
    picture: &Picture,
    maps: &[Affine],
    spec: &SampleSpec,
    element: Element,
) -> Vec<f32> {
    let (mut output, mut back) = (Tensor::default(), Tensor::default());
    // What was there before must not matter.
    device.prepare_as(&mut output, &[7], element).unwrap();
    picture.read_on(device, |frame| device.sample(frame, maps, spec, &mut output)).unwrap();
    assert_eq!(output.element(), element);
    match spec.layout {
        Layout::Nchw => assert_eq!(output.shape(), [maps.len(), 3, spec.height, spec.width]),
        Layout::Nhwc => assert_eq!(output.shape(), [maps.len(), spec.height, spec.width, 3]),
    }
    device.download([(&output, &mut back)]).unwrap();
    match element {
        Element::F32 => back.data().to_vec(),
        Element::F16 => back.half_data().iter().map(|value| value.to_f32()).collect(),
    }
}

fn sampled(device: &Device, picture: &Picture, maps: &[Affine], spec: &SampleSpec) -> Vec<f32> {
    sampled_as(device, picture, maps, spec, Element::F32)
}

fn on_threads<T: Send>(count: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap().install(run)
}

#[test]
fn samples_of_every_format_map_border_and_colour_space_equal_numpy_and_opencv() {
    let (mut reader, count) = Reader::open("sample.bin");
    let mut formats = Vec::new();
    let devices = test_devices();
    let mut worst = vec![0.0f32; devices.len()];
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

        let spec = SampleSpec { width, height, layout, channels, mean, std, border };
        for (device, worst) in devices.iter().zip(&mut worst) {
            let output = sampled(device, &picture, &[map], &spec);
            assert_eq!(output.len(), expected.len());
            for (index, (value, expected)) in output.iter().zip(&expected).enumerate() {
                let channel = if layout == Layout::Nchw { index / (width * height) } else { index % 3 };
                let difference = (value - expected).abs() * std[channel];
                *worst = worst.max(difference);
                assert!(
                    difference <= TOLERANCE,
                    "{device:?}, {name}, value {index}: {value} is not {expected}"
                );
            }
        }
        formats.push(picture.format);
    }
    assert!(reader.finished());
    assert!(PixelFormat::ALL.iter().all(|format| formats.contains(format)));
    for (device, worst) in devices.iter().zip(worst) {
        println!("{device:?}: largest difference {worst}");
    }
}

#[test]
fn senseless_maps_sample_colours_of_the_picture_or_its_border() {
    let maps = senseless_maps();
    for device in test_devices() {
        for format in PixelFormat::ALL {
            for (width, height) in [(1, 1), (1, 6), (7, 1), (5, 4)] {
                let picture = Picture::noise(format, width, height);
                for border in BORDERS {
                    let output = sampled(&device, &picture, &maps, &spec(6, 5, border));
                    for (map, output) in maps.iter().zip(output.chunks_exact(3 * 6 * 5)) {
                        assert!(
                            output.iter().all(|value| (0.0..=1.0).contains(value)),
                            "{device:?} {format:?} {width}x{height} {map:?} {border:?}: {output:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_map_without_numbers_finds_the_border() {
    let picture = Picture::noise(PixelFormat::Nv12, 8, 8);
    let map = Affine { m: [1.0, 0.0, f32::NAN, 0.0, 1.0, 0.0] };
    for device in test_devices() {
        let output = sampled(&device, &picture, &[map], &spec(2, 2, BORDERS[0]));
        let expected = [[0.3; 4], [0.6; 4], [0.9; 4]].concat();
        assert!(output.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 1e-6));
    }
}

#[test]
fn senseless_maps_of_a_large_frame_take_no_longer_than_reading_it_a_few_times() {
    let picture = Picture::noise(PixelFormat::Nv12, 1920, 1080);
    for device in test_devices() {
        let time = |map: Affine, border| {
            let start = std::time::Instant::now();
            sampled(&device, &picture, &[map], &spec(64, 64, border));
            start.elapsed()
        };
        let all = Affine::from_rect(Rect::new(0.0, 0.0, 1920.0, 1080.0), 64, 64);
        // Milliseconds each; the limit leaves room for a busy machine and no optimisation, or for tools that watch every
        // access to memory.
        let limit = (time(all, Border::Replicate) * 1000).max(std::time::Duration::from_secs(2));
        for map in senseless_maps().into_iter().take(40) {
            for border in BORDERS {
                let taken = time(map, border);
                assert!(taken < limit, "{device:?} {map:?} {border:?}: {taken:?}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_samples() {
    let picture = Picture::noise(PixelFormat::I420, 131, 97);
    let turned = Affine::from_rotated_square(Point { x: 60.0, y: 40.0 }, 90.0, 0.4, 77);
    let cropped = Affine::from_rect(Rect::new(-3.2, 8.1, 120.3, 70.9), 77, 77);
    for map in [turned, cropped] {
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let spec = SampleSpec { layout, ..spec(77, 77, BORDERS[0]) };
            let one = on_threads(1, || sampled(&Device::Cpu, &picture, &[map], &spec));
            let many = on_threads(4, || sampled(&Device::Cpu, &picture, &[map], &spec));
            assert_eq!(one, many, "{map:?} {layout:?}");
        }
    }
}

#[test]
fn a_hardly_rotated_map_samples_what_an_unrotated_one_does() {
    let picture = Picture::noise(PixelFormat::Nv12, 40, 40);
    let spec = spec(32, 32, Border::Replicate);
    for device in test_devices() {
        let [straight, turned] = [0.0, 1e-4]
            .map(|angle| Affine::from_rotated_square(Point { x: 20.0, y: 20.0 }, 20.0, angle, 32))
            .map(|map| sampled(&device, &picture, &[map], &spec));
        // Noise changes by its whole range in a pixel, and the turn moves pixels by up to 1.4e-3 of one.
        assert!(straight.iter().zip(&turned).all(|(a, b)| (a - b).abs() < 6e-3), "{device:?}");
    }
}

#[test]
fn constant_pictures_stay_constant_under_every_map() {
    let maps = [
        Affine::from_rect(Rect::new(-9.0, -7.0, 50.0, 40.0), 17, 17),
        Affine::from_rotated_square(Point { x: 15.0, y: 10.0 }, 55.0, 0.7, 17),
        Affine::from_rotated_square(Point { x: 15.0, y: 10.0 }, 5.0, 0.7, 17),
    ];
    for device in test_devices() {
        for format in PixelFormat::ALL {
            let picture = Picture::filled(format, 30, 20, 128);
            for border in [Border::Replicate, Border::Mirror] {
                let output = sampled(&device, &picture, &maps, &spec(17, 17, border));
                let grey = if format.is_yuv() { (128.0 - 16.0) / 219.0 } else { 128.0 / 255.0 };
                assert!(output.iter().all(|value| (value - grey).abs() < 1e-5), "{device:?} {format:?}");
            }
        }
    }
}

/// A map that a tracker might produce for a frame of that size, or a little beyond.
fn map_at_random(random: &mut Random, width: usize, height: usize, columns: usize, rows: usize) -> Affine {
    let mut between = |low: f32, high: f32| low + (high - low) * random.next();
    let (x, y) = (between(-0.3, 1.3) * width as f32, between(-0.3, 1.3) * height as f32);
    // Of the frame; mostly less than all of it.
    let side = between(0.05, 1.2).powi(2) * width.max(height) as f32;
    let aspect = between(0.7, 1.4);
    let crop = Affine::from_rect(
        Rect::new(x - side / 2.0, y - side * aspect / 2.0, side, side * aspect),
        columns,
        rows,
    );
    match (between(0.0, 4.0) as usize, between(-3.2, 3.2)) {
        (0, _) => crop,
        // Mirrored.
        (1, _) => Affine { m: [-crop.m[0], 0.0, x + side / 2.0, 0.0, crop.m[4], crop.m[5]] },
        (2, angle) => Affine::from_rotated_square(Point { x, y }, side, angle, columns.max(rows)),
        // Sheared.
        (_, shear) => Affine { m: [crop.m[0], shear * 0.2, crop.m[2], shear * 0.1, crop.m[4], crop.m[5]] },
    }
}

#[test]
fn every_device_samples_what_the_cpu_does() {
    let mut random = Random(11);
    let others: Vec<_> = test_devices().into_iter().filter(|device| device.cuda().is_some()).collect();
    let mut worst = 0.0f32;
    for round in 0..40 {
        for format in PixelFormat::ALL {
            let mut pick = |most: usize| 1 + (random.next() * most as f32) as usize;
            // Wide ones too: more columns than a block takes, and samples than it keeps at a time.
            let (width, height) =
                if round % 8 == 7 { (2100 + pick(700), pick(9)) } else { (pick(90), pick(70)) };
            let (columns, rows) = (pick(if round % 5 == 0 { 600 } else { 40 }), pick(23));
            let count = if round % 10 == 3 { 70 } else { pick(4) };
            let mut picture = Picture::noise(format, width, height);
            picture.color.matrix = [ColorMatrix::Bt601, ColorMatrix::Bt709][round % 2];
            picture.color.range = [ColorRange::Full, ColorRange::Limited][round / 2 % 2];
            let layout = [Layout::Nchw, Layout::Nhwc][pick(2) - 1];
            let channels = [Channels::Rgb, Channels::Bgr][pick(2) - 1];
            let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
            let spec = SampleSpec {
                width: columns,
                height: rows,
                layout,
                channels,
                mean,
                std,
                border: BORDERS[round % 3],
            };
            let maps: Vec<_> =
                (0..count).map(|_| map_at_random(&mut random, width, height, columns, rows)).collect();
            let expected = sampled(&Device::Cpu, &picture, &maps, &spec);
            for device in &others {
                let output = sampled(device, &picture, &maps, &spec);
                assert_eq!(output.len(), expected.len());
                for (index, (value, expected)) in output.iter().zip(&expected).enumerate() {
                    let difference = (value - expected).abs() * 0.229;
                    worst = worst.max(difference);
                    let map = index / (3 * columns * rows);
                    assert!(
                        difference <= TOLERANCE,
                        "{format:?} {width}x{height} {spec:?} {:?}, value {}: {value} is not {expected}",
                        maps[map],
                        index % (3 * columns * rows)
                    );
                }
            }
        }
    }
    println!("largest difference of {others:?} from the CPU: {worst}");
}

#[test]
fn half_precision_is_the_rounded_single() {
    let mut random = Random(5);
    for device in test_devices() {
        for format in PixelFormat::ALL {
            for (width, height, layout) in
                [(16, 8, Layout::Nchw), (13, 5, Layout::Nchw), (16, 8, Layout::Nhwc), (7, 3, Layout::Nhwc)]
            {
                let picture = Picture::noise(format, 31, 23);
                let maps: Vec<_> =
                    (0..35).map(|_| map_at_random(&mut random, 31, 23, width, height)).collect();
                let spec =
                    SampleSpec { layout, std: [0.1, 1e-6, 3.0], ..spec(width, height, Border::Mirror) };
                let single = sampled(&device, &picture, &maps, &spec);
                let half = sampled_as(&device, &picture, &maps, &spec, Element::F16);
                for (half, single) in half.iter().zip(single) {
                    assert_eq!(
                        *half,
                        half::f16::from_f32(single).to_f32(),
                        "{device:?} {format:?} {layout:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn each_crop_of_a_batch_is_what_it_is_alone() {
    let mut random = Random(9);
    let picture = Picture::noise(PixelFormat::Nv12, 61, 47);
    let spec = spec(10, 9, BORDERS[0]);
    for device in test_devices() {
        // More than one launch takes.
        let maps: Vec<_> = (0..67).map(|_| map_at_random(&mut random, 61, 47, 10, 9)).collect();
        let together = sampled(&device, &picture, &maps, &spec);
        let alone: Vec<f32> = maps
            .iter()
            .flat_map(|map| sampled(&device, &picture, std::slice::from_ref(map), &spec))
            .collect();
        assert_eq!(together, alone, "{device:?}");
        assert_eq!(sampled(&device, &picture, &[], &spec), [0.0; 0]);
    }
}

#[test]
fn a_replayed_graph_follows_a_moving_and_turning_crop() {
    let picture = Picture::noise(PixelFormat::Nv12, 61, 47);
    let spec = spec(24, 20, Border::Mirror);
    for device in test_devices() {
        let (mut graph, mut output, mut back) = (Graph::default(), Tensor::default(), Tensor::default());
        for step in 0..8 {
            // Straight at first, of which the kernel does other work than of the turned ones.
            let angle = if step < 4 { 0.0 } else { step as f32 * 0.1 };
            let center = Point { x: 20.0 + step as f32 * 3.7, y: 25.0 - step as f32 };
            let map = Affine::from_rotated_square(center, 30.0, angle, 24);
            picture.read_on(&device, |frame| {
                device.replay(&mut graph, || device.sample(frame, &[map], &spec, &mut output)).unwrap();
                device.download([(&output, &mut back)]).unwrap();
            });
            assert_eq!(back.data(), sampled(&device, &picture, &[map], &spec), "{device:?}, step {step}");
        }
        if device.cuda().is_some() {
            assert_eq!((graph.is_ready(), graph.captures()), (true, 1), "{:?}", graph.refusal());
        }
    }
}

#[test]
fn what_is_no_number_is_no_colour_of_the_border() {
    let picture = Picture::noise(PixelFormat::Rgb, 4, 4);
    let outside = Affine { m: [1.0, 0.0, 50.0, 0.0, 1.0, 50.0] };
    for device in test_devices() {
        let spec = spec(2, 1, Border::Constant([f32::NAN, 2.0, -1.0]));
        assert_eq!(
            sampled(&device, &picture, &[outside], &spec),
            [0.0, 0.0, 1.0, 1.0, 0.0, 0.0],
            "{device:?}"
        );
    }
}

#[test]
fn a_frame_on_another_device_is_refused() {
    let picture = Picture::noise(PixelFormat::Rgb, 4, 4);
    for device in test_devices().into_iter().filter(|device| device.cuda().is_some()) {
        let there = FrameBuffer::new(&device, picture.layout()).unwrap();
        let spec = spec(2, 2, Border::Mirror);
        let mut output = Tensor::default();
        let wrong = |result| assert!(matches!(result, Err(DeviceError::WrongMemory { .. })), "{result:?}");
        wrong(Device::Cpu.sample(&there.frame(), &[Affine::IDENTITY], &spec, &mut output));
        wrong(device.sample(&picture.frame(), &[Affine::IDENTITY], &spec, &mut output));
    }
}

#[test]
#[should_panic(expected = "wrong length")]
fn an_output_of_the_wrong_length_is_refused() {
    let picture = Picture::filled(PixelFormat::Rgb, 2, 2, 0);
    sample(&picture.frame(), &Affine::IDENTITY, &spec(2, 2, Border::Mirror), &mut [0.0; 11]);
}
