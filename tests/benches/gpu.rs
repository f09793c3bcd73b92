//! What the GPU path costs: bare engines, the core, the elements, and many streams on one GPU.
//!
//! `cargo bench -p deepfake-tests --bench gpu`, on a machine with a GPU (elsewhere it says that it is skipped), with
//! `DEEPFAKE_TEST_DATA` and `ORT_DYLIB_PATH` set, as `tests/gpu.sh` does. `DEEPFAKE_BENCH_MODEL` names the model,
//! `fomm-lite` by default. Times are medians of single frames, each waited for.

use std::{
    env,
    time::{Duration, Instant},
};

use deepfake_kernels::{
    Affine, Background, Border, Channels, ColorSpace, Device, Frame, FrameBuffer, FrameLayout, Graph,
    Keypoints, Layer, Layout, PixelFormat, SampleSpec, Tensor, Upload,
};
use deepfake_models::{
    engine::{EngineOptions, Platform, Precision},
    manifest::Manifest,
    reenact::{CropMode, Picture, ReenactSettings, Reenactor, ReenactorOptions},
    zoo, Result,
};
use deepfake_tests::{demo_frames, init, portrait};
use gst::prelude::*;

const RUNS: usize = 400;

fn row(what: &str, milliseconds: f64, note: &str) {
    println!("| {what} | {milliseconds:.3} | {:.0} | {note} |", 1000.0 / milliseconds);
}

/// Median time of `work` in milliseconds, after some runs that do not count.
fn median(runs: usize, mut work: impl FnMut()) -> f64 {
    (0..30).for_each(|_| work());
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn options(precision: Precision) -> EngineOptions {
    EngineOptions { precision, ..EngineOptions::default() }
}

/// The key-point network and the generator alone, `batch` frames at a time, in a CUDA graph.
fn bare(manifest: &Manifest, precision: Precision, batch: usize) -> Result<f64> {
    let platform = Platform::on_gpu(&options(precision), "a bench".into())?;
    let device = platform.device();
    let load = |role: &str| {
        let start = Instant::now();
        let engine = platform.load(manifest, role, batch);
        println!("{role}, batch {batch}: loaded in {:.2} s", start.elapsed().as_secs_f64());
        engine
    };
    let (keypoints, encoder, generator) = (load("keypoints")?, load("encoder")?, load("generator")?);
    let mut shape = manifest.input_shape(1);
    shape[0] = batch;
    let mut state = 1u32;
    let values = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        })
        .collect();
    let mut image = Tensor::default();
    device.upload(&Tensor::from_vec(&shape, values), &mut image)?;
    let (mut features, mut small) = (Tensor::default(), Tensor::default());
    encoder.run(device, &[("source", &image)], &mut [("features", &mut features), ("small", &mut small)])?;
    let (mut source, mut driving) = (Keypoints::default(), Keypoints::default());
    let locate = |image: &Tensor, to: &mut Keypoints| {
        let Keypoints { value, jacobian } = to;
        keypoints.run(device, &[("image", image)], &mut [("value", value), ("jacobian", jacobian)])
    };
    locate(&image, &mut source)?;
    let mut prediction = Tensor::default();
    let mut graph = Graph::default();
    let time = median(RUNS, || {
        device
            .replay::<deepfake_models::Error>(&mut graph, || {
                locate(&image, &mut driving)?;
                generator.run(
                    device,
                    &[
                        ("features", &features),
                        ("small", &small),
                        ("source_value", &source.value),
                        ("source_jacobian", &source.jacobian),
                        ("driving_value", &driving.value),
                        ("driving_jacobian", &driving.jacobian),
                    ],
                    &mut [("prediction", &mut prediction)],
                )
            })
            .unwrap();
        device.synchronize().unwrap();
    });
    if let Some(reason) = graph.refusal() {
        println!("no CUDA graph: {reason}");
    }
    Ok(time)
}

/// `frame` as NV12 of that size on a device.
fn on_device(device: &Device, frame: &Frame<'_>, width: usize, height: usize) -> FrameBuffer {
    let cuda = device.cuda().unwrap();
    let mut upload = Upload::new(cuda).unwrap();
    let there = upload.take(frame).unwrap();
    let spec = SampleSpec {
        width,
        height,
        layout: Layout::Nchw,
        channels: Channels::Rgb,
        mean: [0.0; 3],
        std: [1.0; 3],
        border: Border::Replicate,
    };
    let (x, y) = (frame.width() as f32 / width as f32, frame.height() as f32 / height as f32);
    let mut picture = Tensor::default();
    device.sample(&there, &[Affine { m: [x, 0.0, 0.0, 0.0, y, 0.0] }], &spec, &mut picture).unwrap();
    let layout = FrameLayout { format: PixelFormat::Nv12, color: ColorSpace::default(), width, height };
    let mut buffer = FrameBuffer::new(device, layout).unwrap();
    let layer = Layer { image: &picture, map: Affine::IDENTITY, feather: 0.0 };
    device.compose(&[layer], Background::Color([0.0; 3]), &mut buffer.frame_mut()).unwrap();
    device.synchronize().unwrap();
    buffer
}

/// Frames of 256x256 NV12 through the reenactor, all in the GPU's memory.
fn core(model: &str, precision: Precision, crop: CropMode) -> Result<(f64, String)> {
    let platform = Platform::on_gpu(&options(precision), "a bench".into())?;
    let device = platform.device();
    let engine = EngineOptions { cuda: device.cuda().cloned(), ..options(precision) };
    let start = Instant::now();
    let mut reenactor = Reenactor::load(&ReenactorOptions { model: model.into(), engine })?;
    println!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    reenactor.set_settings(&ReenactSettings { driver_crop: crop, ..Default::default() });
    let face = Picture::open(&portrait())?;
    reenactor.set_portrait(&face.frame())?;
    let driver = on_device(device, &face.frame(), 256, 256);
    let mut output = on_device(device, &face.frame(), 256, 256);
    let mut count = 0;
    let mut last = None;
    let time = median(RUNS, || {
        count += 1;
        let time = Duration::from_millis(40) * count;
        last = Some(reenactor.process(&driver.frame(), Some(time), &mut output.frame_mut()).unwrap());
    });
    let outcome = last.unwrap();
    Ok((time, format!("{:?}, {}", outcome.shown, reenactor.report().reason)))
}

/// Runs `streams` equal pipelines at once, each over `buffers` `rounds` times. Returns the frames a second of all of
/// them together and the statistics of the first element.
fn pipelines(
    description: &str,
    caps: &gst::Caps,
    buffers: &[gst::Buffer],
    rounds: usize,
    streams: usize,
) -> Result<(f64, gst::Structure), String> {
    let all: Vec<_> = (0..streams)
        .map(|_| {
            let description =
                format!("appsrc name=source format=time block=true max-buffers=4 ! {description}");
            let pipeline = gst::parse::launch(&description).unwrap().downcast::<gst::Pipeline>().unwrap();
            let source = pipeline.by_name("source").and_downcast::<gst_app::AppSrc>().unwrap();
            source.set_caps(Some(caps));
            (pipeline, source)
        })
        .collect();
    // Networks are loaded and the first frame is through before the clock starts.
    for (pipeline, source) in &all {
        let started = pipeline.set_state(gst::State::Playing).and_then(|_| {
            let _ = source.push_buffer(buffers[0].clone());
            pipeline.state(gst::ClockTime::from_seconds(300)).0
        });
        if let Err(error) = started {
            let message = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
            for (pipeline, _) in &all {
                let _ = pipeline.set_state(gst::State::Null);
            }
            return Err(format!("{error}: {message:?}"));
        }
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (pipeline, source) in &all {
            scope.spawn(move || {
                for round in 0..rounds {
                    for (index, buffer) in buffers.iter().enumerate() {
                        let mut buffer = buffer.clone();
                        let number = (round * buffers.len() + index + 1) as u64;
                        buffer.make_mut().set_pts(gst::ClockTime::from_mseconds(40 * number));
                        source.push_buffer(buffer).unwrap();
                    }
                }
                source.end_of_stream().unwrap();
                let bus = pipeline.bus().unwrap();
                let end = bus.timed_pop_filtered(None, &[gst::MessageType::Eos, gst::MessageType::Error]);
                assert!(matches!(end.as_ref().map(|m| m.type_()), Some(gst::MessageType::Eos)), "{end:?}");
            });
        }
    });
    let took = start.elapsed().as_secs_f64();
    let stats = all[0].0.by_name("element").unwrap().property::<gst::Structure>("stats");
    for (pipeline, _) in &all {
        pipeline.set_state(gst::State::Null).unwrap();
    }
    Ok(((streams * rounds * buffers.len()) as f64 / took, stats))
}

/// A row that failed, with the reason, and nothing more of it.
fn failed(what: &str, reason: &str) {
    println!("| {what} | failed | | {reason} |");
}

fn main() {
    init();
    let platform = match Platform::on_gpu(&EngineOptions::default(), "a bench".into()) {
        Ok(platform) => platform,
        Err(error) => return println!("SKIPPED: benches of the GPU path: {error}"),
    };
    println!("{}", platform.device().cuda().unwrap().name());
    let model = env::var("DEEPFAKE_BENCH_MODEL").unwrap_or_else(|_| "fomm-lite".into());
    let manifest = zoo::find(&model).unwrap();
    let portrait = portrait();
    println!("model {}", manifest.model().name);
    println!("| what | ms a frame | frames a second | note |\n| --- | --- | --- | --- |");
    for precision in [Precision::Fp16, Precision::Tf32] {
        let name = precision.name();
        let bare_time = match bare(&manifest, precision, 1) {
            Ok(time) => time,
            Err(error) => {
                println!("| bare engines, {name} | failed | | {error} |");
                continue;
            }
        };
        row(&format!("bare engines, {name}, CUDA graph"), bare_time, "");
        for (crop, what) in [(CropMode::None, "driver-crop=none"), (CropMode::Track, "driver-crop=track")] {
            let (time, note) = core(&model, precision, crop).unwrap();
            let share = time / bare_time;
            row(&format!("core 256x256 NV12, {name}, {what}"), time, &format!("{share:.2}x bare; {note}"));
        }
        let Some((caps, buffers)) = demo_frames(256, 256, 100) else { return };
        let description = format!(
            "cudaupload ! fomreenact name=element model=\"{model}\" precision={name} driver-crop=none backend=tensorrt \
             source-location=\"{}\" qos=false ! video/x-raw(memory:CUDAMemory) ! fakesink sync=false",
            portrait.display()
        );
        let what = format!("element 256x256 CUDA memory, {name}");
        match pipelines(&description, &caps, &buffers, 5, 1) {
            Ok((rate, stats)) => {
                let total = stats.get::<f64>("total").unwrap_or(f64::NAN);
                let share = total / bare_time;
                row(&what, total, &format!("{share:.2}x bare; {rate:.0} fps with cudaupload"));
            }
            Err(reason) => failed(&what, &reason),
        }
        for batch in [4, 8, 16] {
            match bare(&manifest, precision, batch) {
                Ok(time) => row(
                    &format!("bare engines, {name}, batch {batch}"),
                    time / batch as f64,
                    "a frame of the batch",
                ),
                Err(error) => println!("| bare engines, {name}, batch {batch} | failed | | {error} |"),
            }
        }
        for streams in [1, 2, 4, 8, 16] {
            let what = format!("{streams} streams 256x256 CUDA memory, {name}");
            match pipelines(&description, &caps, &buffers, 3, streams) {
                Ok((rate, _)) => row(&what, 1000.0 / rate, "all together"),
                Err(reason) => failed(&what, &reason),
            }
        }
        let Some((caps, buffers)) = demo_frames(1920, 1080, 40) else { return };
        let description = format!(
            "fomreenact name=element model=\"{model}\" precision={name} backend=tensorrt composition=scene \
             source-location=\"{}\" qos=false ! video/x-raw,format=NV12,width=1920,height=1080 ! fakesink sync=false",
            portrait.display()
        );
        let what = format!("element 1080p system memory, scene, {name}");
        match pipelines(&description, &caps, &buffers, 8, 1) {
            Ok((rate, stats)) => row(&what, 1000.0 / rate, &stats.to_string()),
            Err(reason) => failed(&what, &reason),
        }
    }
    let Some((caps, buffers)) = demo_frames(1920, 1080, 40) else { return };
    let (what, description) = (
        "deepfakedetect 1080p system memory",
        "deepfakedetect name=element backend=tensorrt ! fakesink sync=false",
    );
    match pipelines(description, &caps, &buffers, 8, 1) {
        Ok((rate, stats)) => row(what, 1000.0 / rate, &stats.to_string()),
        Err(reason) => failed(what, &reason),
    }
}
