//! The GPU path gives what the CPU gives, and keeps nothing. Without a GPU each test says that it is skipped.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use deepfake_kernels::{
    Affine, Background, Border, Channels, ColorSpace, Device, Frame, FrameBuffer, FrameLayout, FrameMut,
    Layer, Layout, PixelFormat, Plane, PlaneMut, SampleSpec, Tensor, Upload,
};
use deepfake_models::{
    detect::{InspectSettings, Inspector, InspectorOptions},
    engine::{Backend, EngineOptions, Platform, Precision},
    reenact::{
        Composition, CropMode, Picture, ReenactSettings, Reenactor, ReenactorOptions, Reference, Shown,
    },
};

/// One test at a time: what a GPU has free says nothing while others take and give back.
static ONE: Mutex<()> = Mutex::new(());

/// A GPU to test on, alone; `None`, said aloud, where there is none.
fn gpu() -> Option<(Platform, MutexGuard<'static, ()>)> {
    let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    match Platform::on_gpu(&EngineOptions::default(), "a test".into()) {
        Ok(platform) => Some((platform, alone)),
        Err(error) => {
            eprintln!("SKIPPED: no test on a GPU: {error}");
            None
        }
    }
}

fn on_gpu(precision: Precision) -> EngineOptions {
    EngineOptions { backend: Backend::TensorRt, precision, ..EngineOptions::default() }
}

fn on_cpu() -> EngineOptions {
    EngineOptions { backend: Backend::OnnxRuntime, ..EngineOptions::default() }
}

fn portrait() -> Picture {
    Picture::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/assets/portrait.jpg")).unwrap()
}

/// The portrait, moved a little to the side in each frame, as RGB of its own size.
fn driver(picture: &Picture, number: usize) -> (usize, usize, Vec<u8>) {
    let frame = picture.frame();
    let (width, height) = (frame.width(), frame.height());
    let plane = frame.planes()[0];
    let shift = number * 3;
    let bytes = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, (x + shift).min(width - 1), c))))
        .map(|(y, x, c)| plane.data[y * plane.stride + 3 * x + c])
        .collect();
    (width, height, bytes)
}

/// Motion models of both kinds, and how far apart their results may be, in what a trained model's may. The second's weights are
/// random: neighbouring pixels come from far apart, so that a picture shows how the places were rounded.
const MODELS: [(&str, f64); 2] =
    [("fomm-lite", 1.0), (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/x2face-smallest"), 3.0)];

/// The outputs of some frames, in system memory.
fn animate(
    model: &str,
    engine: EngineOptions,
    settings: &ReenactSettings,
    size: (usize, usize),
) -> Vec<Vec<u8>> {
    let options = ReenactorOptions { model: model.into(), engine };
    let mut reenactor = Reenactor::load(&options).unwrap();
    reenactor.set_settings(settings);
    let face = portrait();
    reenactor.set_portrait(&face.frame()).unwrap();
    (0..6)
        .map(|number| {
            let (width, height, bytes) = driver(&face, number);
            let plane = Plane { data: &bytes, stride: 3 * width };
            let frame =
                Frame::new(PixelFormat::Rgb, ColorSpace::default(), width, height, vec![plane]).unwrap();
            let mut pixels = vec![0u8; size.0 * size.1 * 3];
            let plane = PlaneMut { data: &mut pixels, stride: size.0 * 3 };
            let mut output =
                FrameMut::new(PixelFormat::Rgb, ColorSpace::default(), size.0, size.1, vec![plane]).unwrap();
            let time = Duration::from_millis(40) * number as u32;
            let outcome = reenactor.process(&frame, Some(time), &mut output).unwrap();
            assert_eq!(outcome.shown, Shown::Animated, "frame {number}");
            pixels
        })
        .collect()
}

/// Length of the difference over that of the second.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    let square = |value: f64| value * value;
    let apart: f64 = a.iter().zip(b).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    (apart / b.iter().map(|&b| square(f64::from(b))).sum::<f64>()).sqrt()
}

#[test]
fn a_portrait_moves_on_the_gpu_as_on_the_cpu() {
    let Some(_alone) = gpu() else { return };
    let compositions = [Composition::Portrait, Composition::Scene];
    for ((model, rough), composition) in
        MODELS.into_iter().flat_map(|model| compositions.map(|composition| (model, composition)))
    {
        let settings = ReenactSettings {
            driver_crop: CropMode::None,
            reference: Reference::First,
            composition,
            ..Default::default()
        };
        let exact = animate(model, on_cpu(), &settings, (320, 240));
        // Bytes are rounded, to which half a code value is much in comparison.
        for (precision, most) in [(Precision::Fp32, 5e-3), (Precision::Tf32, 1e-2), (Precision::Fp16, 1e-2)] {
            let found = animate(model, on_gpu(precision), &settings, (320, 240));
            for (number, (found, exact)) in found.iter().zip(&exact).enumerate() {
                let apart = difference(found, exact);
                println!("{model} {composition:?} {precision:?} frame {number}: {apart:.1e}");
                assert!(
                    apart < rough * most,
                    "{model} {composition:?} {precision:?} frame {number}: {apart}"
                );
            }
        }
    }
}

#[test]
fn a_followed_face_moves_the_portrait_on_the_gpu_as_on_the_cpu() {
    let Some(_alone) = gpu() else { return };
    let settings = ReenactSettings { reference: Reference::First, ..Default::default() };
    for (model, rough) in MODELS {
        let exact = animate(model, on_cpu(), &settings, (256, 256));
        let found = animate(model, on_gpu(Precision::Auto), &settings, (256, 256));
        for (number, (found, exact)) in found.iter().zip(&exact).enumerate() {
            // The crop may lie a fraction of a pixel elsewhere.
            let apart = difference(found, exact);
            println!("{model} frame {number}: {apart:.1e}");
            assert!(apart < rough * 3e-2, "{model} frame {number}: {apart}");
        }
    }
}

#[test]
fn scores_on_the_gpu_are_those_on_the_cpu() {
    let Some(_alone) = gpu() else { return };
    let face = portrait();
    let score = |engine: EngineOptions, crops: u32| {
        let mut inspector = Inspector::load(&InspectorOptions { model: "fwa-lite".into(), engine }).unwrap();
        inspector.set_settings(&InspectSettings { crops, ..InspectSettings::default() });
        (0..4)
            .map(|number| {
                let (width, height, bytes) = driver(&face, number);
                let plane = Plane { data: &bytes, stride: 3 * width };
                let frame =
                    Frame::new(PixelFormat::Rgb, ColorSpace::default(), width, height, vec![plane]).unwrap();
                let analysis = inspector.process(&frame, None, None).unwrap();
                assert_eq!(analysis.faces.len(), 1);
                analysis.faces[0].score
            })
            .collect::<Vec<_>>()
    };
    for crops in [1, 10] {
        let exact = score(on_cpu(), crops);
        for (precision, most) in [(Precision::Fp32, 5e-3), (Precision::Fp16, 2e-2)] {
            let found = score(on_gpu(precision), crops);
            println!("{crops} crops, {precision:?}: {found:?} where {exact:?}");
            assert!(found.iter().zip(&exact).all(|(a, b)| (a - b).abs() < most), "{found:?} {exact:?}");
        }
    }
}

/// The driver's frames on the GPU, as a decoder would leave them there.
fn frames_on(device: &Device, count: usize) -> Vec<FrameBuffer> {
    let cuda = device.cuda().unwrap();
    let face = portrait();
    (0..count)
        .map(|number| {
            let (width, height, bytes) = driver(&face, number);
            let plane = Plane { data: &bytes, stride: 3 * width };
            let frame =
                Frame::new(PixelFormat::Rgb, ColorSpace::default(), width, height, vec![plane]).unwrap();
            let mut upload = Upload::new(cuda).unwrap();
            let there = upload.take(&frame).unwrap();
            let spec = SampleSpec {
                width,
                height,
                layout: Layout::Nchw,
                channels: Channels::Rgb,
                mean: [0.0; 3],
                std: [1.0; 3],
                border: Border::Replicate,
            };
            let identity = Affine::IDENTITY;
            let mut picture = Tensor::default();
            device.sample(&there, &[identity], &spec, &mut picture).unwrap();
            let layout =
                FrameLayout { format: PixelFormat::Nv12, color: ColorSpace::default(), width, height };
            let mut buffer = FrameBuffer::new(device, layout).unwrap();
            let layer = Layer { image: &picture, map: identity, feather: 0.0 };
            let black = Background::Color([0.0; 3]);
            device.compose(&[layer], black, &mut buffer.frame_mut()).unwrap();
            device.synchronize().unwrap();
            buffer
        })
        .collect()
}

#[test]
fn ten_thousand_frames_take_no_memory_of_the_gpu() {
    let Some((platform, _alone)) = gpu() else { return };
    let device = platform.device();
    let cuda = device.cuda().unwrap();
    let engine = EngineOptions { cuda: Some(cuda.clone()), ..on_gpu(Precision::Auto) };
    let mut reenactor =
        Reenactor::load(&ReenactorOptions { model: "fomm-lite".into(), engine: engine.clone() }).unwrap();
    let mut inspector = Inspector::load(&InspectorOptions { model: "fwa-lite".into(), engine }).unwrap();
    let face = portrait();
    reenactor.set_portrait(&face.frame()).unwrap();
    let drivers = frames_on(device, 4);
    let mut outputs = frames_on(device, 2);
    let mut run = |count: usize| {
        for number in 0..count {
            let time = Some(Duration::from_millis(40) * number as u32);
            let driver = drivers[number % drivers.len()].frame();
            let output = &mut outputs[number % 2];
            reenactor.process(&driver, time, &mut output.frame_mut()).unwrap();
            if number.is_multiple_of(4) {
                inspector.process(&driver, time, None).unwrap();
            }
        }
    };
    run(200);
    let (before, _) = cuda.memory_info().unwrap();
    run(10_000);
    let (after, _) = cuda.memory_info().unwrap();
    assert_eq!(before, after, "bytes free before and after");
}

#[test]
fn a_new_portrait_in_every_frame_takes_no_memory_and_is_shown() {
    let Some((platform, _alone)) = gpu() else { return };
    for ((model, _), pictures) in MODELS.into_iter().zip([1, 3]) {
        assert_new_portraits_take_nothing(&platform, model, pictures);
    }
}

fn assert_new_portraits_take_nothing(platform: &Platform, model: &str, pictures: usize) {
    let cuda = platform.device().cuda().unwrap();
    let engine = EngineOptions { cuda: Some(cuda.clone()), ..on_gpu(Precision::Auto) };
    let mut reenactor = Reenactor::load(&ReenactorOptions { model: model.into(), engine }).unwrap();
    let face = portrait();
    let mut pixels = vec![0u8; 128 * 128 * 3];
    let mut free = None;
    for number in 0..60 {
        reenactor.set_portraits(&vec![face.frame(); pictures]).unwrap();
        let plane = PlaneMut { data: &mut pixels, stride: 128 * 3 };
        let mut output =
            FrameMut::new(PixelFormat::Rgb, ColorSpace::default(), 128, 128, vec![plane]).unwrap();
        let time = Some(Duration::from_millis(40) * number);
        let outcome = reenactor.process(&face.frame(), time, &mut output).unwrap();
        assert_eq!(outcome.shown, Shown::Animated);
        if number == 20 {
            free = Some(cuda.memory_info().unwrap().0);
        }
    }
    assert_eq!(free, Some(cuda.memory_info().unwrap().0));
}
