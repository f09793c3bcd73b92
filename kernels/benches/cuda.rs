//! Times of the kernels on a GPU, next to the bytes that they have to move, and what each takes of a multiprocessor.
//!
//! Each operation is captured many times over in one CUDA graph, so that neither launches nor waits are measured.

use std::time::Instant;

use deepfake_kernels::{
    test_devices, Affine, Background, Border, Channels, ColorMatrix, ColorRange, ColorSpace, CudaDevice,
    Device, DeviceError, Element, Frame, FrameBuffer, FrameLayout, Graph, Keypoints, Layer, Layout,
    PixelFormat, Plane, Point, Rect, SampleSpec, Shape, Tensor, Transfer, Upload,
};

/// Operations of a graph.
const OPERATIONS: usize = 50;
/// Graphs between two looks at the clock.
const GRAPHS: usize = 10;
/// Looks at the clock, of which the median counts.
const ROUNDS: usize = 21;

fn main() {
    let mut none = true;
    for device in test_devices() {
        if let Some(cuda) = device.cuda() {
            none = false;
            println!("{} (compute capability {:?})\n", cuda.name(), cuda.compute_capability());
            resources(cuda);
            println!("{:<64} {:>10} {:>10}", "operation", "us", "GB/s");
            sampling(&device);
            composing(&device);
            moving(&device);
            drawing(&device);
        }
    }
    if none {
        eprintln!("SKIPPED: benches of the CUDA kernels: no CUDA device");
    }
}

fn resources(cuda: &CudaDevice) {
    println!("{:<24} {:>10} {:>14} {:>14}", "kernel", "registers", "shared bytes", "local bytes");
    for kernel in cuda.kernel_resources().unwrap() {
        println!("{:<24} {:>10} {:>14} {:>14}", kernel.kernel, kernel.registers, kernel.shared, kernel.local);
    }
    println!();
}

/// Prints the median time of `operation`, which reads and writes `bytes` bytes of the GPU's memory at least.
fn measure(
    device: &Device,
    name: &str,
    bytes: usize,
    mut operation: impl FnMut() -> Result<(), DeviceError>,
) {
    let mut graph = Graph::default();
    let mut run = |times: usize| {
        for _ in 0..times {
            device
                .replay::<DeviceError>(&mut graph, || (0..OPERATIONS).try_for_each(|_| operation()))
                .unwrap();
        }
        device.synchronize().unwrap();
    };
    run(GRAPHS);
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run(GRAPHS);
            start.elapsed().as_secs_f64() / (GRAPHS * OPERATIONS) as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let median = times[ROUNDS / 2];
    println!("{name:<64} {:>10.2} {:>10.1}", median * 1e6, bytes as f64 / median / 1e9);
    assert!(graph.is_ready(), "not captured: {:?}", graph.refusal());
}

fn layout(format: PixelFormat, width: usize, height: usize) -> FrameLayout {
    let color = ColorSpace { matrix: ColorMatrix::Bt709, range: ColorRange::Limited };
    FrameLayout { format, color, width, height }
}

/// Bytes of a frame.
fn frame_bytes(layout: FrameLayout) -> usize {
    (0..layout.format.planes())
        .map(|plane| layout.format.row_bytes(plane, layout.width) * layout.format.rows(plane, layout.height))
        .sum()
}

/// The planes of a frame that is not of one colour.
fn planes(layout: FrameLayout) -> Vec<Vec<u8>> {
    (0..layout.format.planes())
        .map(|plane| {
            let bytes =
                layout.format.row_bytes(plane, layout.width) * layout.format.rows(plane, layout.height);
            (0..bytes).map(|index| (index * 31 % 251) as u8).collect()
        })
        .collect()
}

fn frame(layout: FrameLayout, planes: &[Vec<u8>]) -> Frame<'_> {
    let stride = |plane| layout.format.row_bytes(plane, layout.width);
    let planes = planes.iter().enumerate();
    let planes = planes.map(|(plane, data)| Plane { data, stride: stride(plane) }).collect();
    Frame::from_layout(layout, planes).unwrap()
}

fn sampling(device: &Device) {
    let crop = |side: f32, size| Affine::from_rect(Rect::new(601.3, 162.7, side, side), size, size);
    let turned = |side: f32, size| Affine::from_rotated_square(Point { x: 960.0, y: 540.0 }, side, 0.2, size);
    let all = |size| Affine::from_rect(Rect::new(0.0, 0.0, 1920.0, 1080.0), size, size);
    let cases: [(&str, PixelFormat, usize, Vec<Affine>, Element); 9] = [
        ("all", PixelFormat::Nv12, 256, vec![all(256)], Element::F32),
        ("all, fp16", PixelFormat::Nv12, 256, vec![all(256)], Element::F16),
        ("face of 700", PixelFormat::Nv12, 256, vec![crop(700.0, 256)], Element::F32),
        ("face of 180", PixelFormat::Nv12, 256, vec![crop(180.0, 256)], Element::F32),
        ("rotated face of 500", PixelFormat::Nv12, 192, vec![turned(500.0, 192)], Element::F32),
        ("32 faces of 300", PixelFormat::Nv12, 224, vec![crop(300.0, 224); 32], Element::F32),
        ("32 rotated faces of 300", PixelFormat::Nv12, 224, vec![turned(300.0, 224); 32], Element::F32),
        ("all", PixelFormat::Rgb, 256, vec![all(256)], Element::F32),
        ("all", PixelFormat::Rgba, 256, vec![all(256)], Element::F32),
    ];
    for (what, format, size, maps, element) in cases {
        let layout = layout(format, 1920, 1080);
        let (mut upload, planes) = (Upload::new(device.cuda().unwrap()).unwrap(), planes(layout));
        let frame = upload.take(&frame(layout, &planes)).unwrap();
        let spec = SampleSpec {
            width: size,
            height: size,
            layout: Layout::Nchw,
            channels: Channels::Rgb,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            border: Border::Replicate,
        };
        let mut output = Tensor::default();
        device.prepare_as(&mut output, &[maps.len(), 3, size, size], element).unwrap();
        // Of the frame, as much as the maps cover.
        let covered: f32 = maps.iter().map(|map| (map.m[0] * map.m[4] - map.m[1] * map.m[3]).abs()).sum();
        let share = covered * (size * size) as f32 / (1920.0 * 1080.0);
        let bytes = (frame_bytes(layout) as f32 * share) as usize + output.len() * element.bytes();
        let name =
            format!("sample 1920x1080 {}, {what}, to {size}x{size}", format!("{format:?}").to_uppercase());
        measure(device, &name, bytes, || device.sample(&frame, &maps, &spec, &mut output));
    }
}

/// An image of a network, on the device.
fn image(device: &Device, width: usize, height: usize) -> Tensor {
    let values = (0..3 * width * height).map(|index| (index % 1009) as f32 / 1009.0).collect();
    let mut there = Tensor::default();
    device.upload(&Tensor::from_vec(&[3, height, width], values), &mut there).unwrap();
    there
}

fn composing(device: &Device) {
    let (portrait, crop) = (image(device, 256, 256), image(device, 512, 512));
    let whole = Affine::from_rect(Rect::new(0.0, 0.0, 256.0, 256.0), 1920, 1080);
    let shifted = Affine { m: [1.0, 0.0, -700.0, 0.0, 1.0, -200.0] };
    let turned =
        Affine::from_rotated_square(Point { x: 960.0, y: 540.0 }, 512.0, 0.2, 512).inverse().unwrap();
    let portrait = Layer { image: &portrait, map: whole, feather: 0.0 };
    let pasted = Layer { image: &crop, map: shifted, feather: 12.0 };
    let turned = Layer { map: turned, ..pasted };
    for format in [PixelFormat::Nv12, PixelFormat::I420, PixelFormat::Rgb, PixelFormat::Rgba] {
        let layout = layout(format, 1920, 1080);
        let (mut upload, planes) = (Upload::new(device.cuda().unwrap()).unwrap(), planes(layout));
        let scene = upload.take(&frame(layout, &planes)).unwrap();
        let mut output = FrameBuffer::new(device, layout).unwrap();
        let (scene, black) = (Background::Picture(&scene), Background::Color([0.0; 3]));
        let all = frame_bytes(layout);
        let (face, square) = (3 * 4 * 256 * 256, 3 * 4 * 512 * 512);
        // The scene is not read where the crop hides it.
        let pasting = 2 * all - (all as f64 * (512.0 * 512.0) / (1920.0 * 1080.0)) as usize + square;
        let cases: [(&str, &[Layer<'_>], Background<'_>, usize); 4] = [
            ("copy of a scene", &[], scene, 2 * all),
            ("512x512 into a scene", &[pasted], scene, pasting),
            ("512x512, rotated, into a scene", &[turned], scene, pasting),
            ("256x256 to all", &[portrait], black, all + face),
        ];
        for (what, layers, background, bytes) in cases {
            let name = format!("compose 1920x1080 {}, {what}", format!("{format:?}").to_uppercase());
            measure(device, &name, bytes, || device.compose(layers, background, &mut output.frame_mut()));
        }
    }
}

fn moving(device: &Device) {
    for count in [10, 64] {
        let keypoints = |seed: usize| {
            let values =
                |count: usize| (0..count).map(|i| ((i + seed) * 7919 % 997) as f32 / 997.0).collect();
            let mut there = Keypoints::default();
            let value = Tensor::from_vec(&[1, count, 2], values(2 * count));
            let jacobian = Tensor::from_vec(&[1, count, 2, 2], values(4 * count));
            device.upload(&value, &mut there.value).unwrap();
            device.upload(&jacobian, &mut there.jacobian).unwrap();
            there
        };
        let (source, driving, reference) = (keypoints(1), keypoints(2), keypoints(3));
        let (mut state, mut output) = (keypoints(4), Keypoints::default());
        let how = Transfer { relative: true, adapt_scale: true, amount: 1.0 };
        let bytes = 6 * 4 * count;
        measure(device, &format!("transfer of {count} key points"), 4 * bytes, || {
            device.transfer(&source, &driving, &reference, &how, &mut output)
        });
        measure(device, &format!("smoothing of {count} key points"), 3 * bytes, || {
            device.smooth(&mut state, &driving, 0.5)
        });
    }
}

fn drawing(device: &Device) {
    let layout = layout(PixelFormat::Nv12, 1920, 1080);
    let mut buffer = FrameBuffer::new(device, layout).unwrap();
    let mut output = buffer.frame_mut();
    let points: Vec<_> = (0..10)
        .map(|index| {
            let center = Point { x: 300.0 + index as f32 * 130.0, y: 200.0 + index as f32 * 70.0 };
            Shape::Disc { center, radius: 6.0, color: [1.0, 0.0, 0.0] }
        })
        .collect();
    // Each pixel of a disc once.
    let bytes = 10 * 113 * 3 / 2;
    measure(device, "draw 10 key points into 1920x1080 NV12", bytes, || device.draw(&points, &mut output));

    let mut map = Tensor::default();
    let values = (0..14 * 14).map(|index| index as f32 / 196.0).collect();
    device.upload(&Tensor::from_vec(&[14, 14], values), &mut map).unwrap();
    let area = Rect::new(0.0, 0.0, 1920.0, 1080.0);
    // Read and written.
    let bytes = 2 * frame_bytes(layout);
    measure(device, "draw_heat over all of 1920x1080 NV12", bytes, || {
        device.draw_heat(&map, area, 0.5, &mut output)
    });
}
