//! Times of the kernels on the sizes of the plugin: a webcam's or a film's frame in, a network's picture out,
//! and back.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use deepfake_kernels::{
    sample, Affine, Background, Border, Channels, ColorSpace, Device, Frame, FrameMut, Layer, Layout,
    PixelFormat, Plane, PlaneMut, Point, Rect, SampleSpec, Tensor,
};

/// A frame that owns its planes.
struct Picture {
    format: PixelFormat,
    width: usize,
    height: usize,
    planes: Vec<Vec<u8>>,
}

impl Picture {
    fn new(format: PixelFormat, width: usize, height: usize) -> Self {
        let plane = |plane| {
            let length = format.row_bytes(plane, width) * format.rows(plane, height);
            (0..length).map(|index| (index * 31 % 251) as u8).collect()
        };
        Self { format, width, height, planes: (0..format.planes()).map(plane).collect() }
    }

    fn frame(&self) -> Frame<'_> {
        let stride = |plane| self.format.row_bytes(plane, self.width);
        let planes = self.planes.iter().enumerate();
        let planes = planes.map(|(plane, data)| Plane { data, stride: stride(plane) }).collect();
        Frame::new(self.format, ColorSpace::default(), self.width, self.height, planes).unwrap()
    }

    fn frame_mut(&mut self) -> FrameMut<'_> {
        let stride = |plane| self.format.row_bytes(plane, self.width);
        let planes = self.planes.iter_mut().enumerate();
        let planes = planes.map(|(plane, data)| PlaneMut { data, stride: stride(plane) }).collect();
        FrameMut::new(self.format, ColorSpace::default(), self.width, self.height, planes).unwrap()
    }
}

fn spec(size: usize) -> SampleSpec {
    SampleSpec {
        width: size,
        height: size,
        layout: Layout::Nchw,
        channels: Channels::Rgb,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        border: Border::Replicate,
    }
}

fn sampling(criterion: &mut Criterion) {
    let mut bench = |name: &str, picture: &Picture, size: usize, map: Affine| {
        let (frame, spec) = (picture.frame(), spec(size));
        let mut output = vec![0.0; 3 * size * size];
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| sample(black_box(&frame), &map, &spec, black_box(&mut output)));
        });
    };
    let webcam = Picture::new(PixelFormat::Nv12, 640, 480);
    let film = Picture::new(PixelFormat::Nv12, 1920, 1080);
    let webcam_rgb = Picture::new(PixelFormat::Rgb, 640, 480);
    let crop = |x, y, side| Affine::from_rect(Rect::new(x, y, side, side), 256, 256);
    bench("sample 640x480 NV12, face of 320, to 256x256", &webcam, 256, crop(151.3, 62.7, 320.0));
    bench("sample 640x480 NV12, face of 180, to 256x256", &webcam, 256, crop(221.3, 132.7, 180.0));
    bench("sample 640x480 RGB, face of 320, to 256x256", &webcam_rgb, 256, crop(151.3, 62.7, 320.0));
    bench("sample 1920x1080 NV12, face of 700, to 256x256", &film, 256, crop(601.3, 162.7, 700.0));
    bench(
        "sample 1920x1080 NV12, all, to 256x256",
        &film,
        256,
        Affine::from_rect(Rect::new(0.0, 0.0, 1920.0, 1080.0), 256, 256),
    );
    let turned = |x, y, side| Affine::from_rotated_square(Point { x, y }, side, 0.2, 192);
    bench("sample 640x480 NV12, rotated face of 240, to 192x192", &webcam, 192, turned(320.0, 240.0, 240.0));
    bench("sample 1920x1080 NV12, rotated face of 500, to 192x192", &film, 192, turned(960.0, 540.0, 500.0));
}

fn composing(criterion: &mut Criterion) {
    let picture = |width: usize, height: usize| {
        let values = (0..3 * width * height).map(|index| (index % 1009) as f32 / 1009.0).collect();
        Tensor::from_vec(&[3, height, width], values)
    };
    let (image, crop, scene) = (picture(256, 256), picture(512, 512), picture(640, 480));
    let mut bench = |name: &str, output: &mut Picture, layers: &[Layer<'_>], background: Background<'_>| {
        let mut frame = output.frame_mut();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                Device::Cpu.compose(black_box(layers), background, black_box(&mut frame)).expect("composes")
            });
        });
    };
    let black = Background::Color([0.0; 3]);
    let whole = |width, height| Affine::from_rect(Rect::new(0.0, 0.0, 256.0, 256.0), width, height);
    let portrait = Layer { image: &image, map: whole(640, 480), feather: 0.0 };
    let below = Layer { image: &scene, map: Affine::IDENTITY, feather: 0.0 };
    let turned = Affine::from_rotated_square(Point { x: 320.0, y: 240.0 }, 300.0, 0.2, 256);
    let face = Layer { map: turned.inverse().expect("is not singular"), feather: 12.0, ..portrait };
    for format in [PixelFormat::Nv12, PixelFormat::Rgb] {
        let name = format!("{format:?}").to_uppercase();
        let output = &mut Picture::new(format, 640, 480);
        bench(&format!("compose 256x256 to 640x480 {name}"), output, &[portrait], black);
        let layers = [below, face];
        bench(&format!("compose rotated soft face into 640x480 {name} layer"), output, &layers, black);
    }
    // As the plugin does with composition=scene and composition=portrait.
    let place = Affine { m: [1.0, 0.0, -700.0, 0.0, 1.0, -200.0] };
    let pasted = Layer { image: &crop, map: place, feather: 12.0 };
    let portrait = Layer { map: whole(1920, 1080), ..portrait };
    for format in [PixelFormat::Nv12, PixelFormat::Rgba] {
        let name = format!("{format:?}").to_uppercase();
        let scene = Picture::new(format, 1920, 1080);
        let (scene, output) = (scene.frame(), &mut Picture::new(format, 1920, 1080));
        let scene = Background::Picture(&scene);
        bench(&format!("copy 1920x1080 {name} picture"), output, &[], scene);
        bench(&format!("compose 512x512 into 1920x1080 {name} picture"), output, &[pasted], scene);
        bench(&format!("compose 256x256 to 1920x1080 {name}"), output, &[portrait], black);
    }
}

criterion_group!(benches, sampling, composing);
criterion_main!(benches);
