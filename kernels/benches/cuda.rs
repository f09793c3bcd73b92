//! Times of the kernels on a GPU, next to the bytes that they have to move, and what each takes of a multiprocessor.
//!
//! Each operation is captured many times over in one CUDA graph, so that neither launches nor waits are measured.

use std::time::Instant;

use deepfake_kernels::{
    test_devices, Affine, Border, Channels, ColorMatrix, ColorRange, ColorSpace, CudaDevice, Device,
    DeviceError, Element, Frame, FrameLayout, Graph, Layout, PixelFormat, Plane, Point, Rect, SampleSpec,
    Tensor, Upload,
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
