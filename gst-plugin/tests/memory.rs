//! CUDA memory in and out of both elements. What needs a GPU says so where there is none.

mod common;

use std::collections::HashSet;

use common::{
    alone, difference, element, error_on, gpu, info, init, picture, portrait, rgb, share_of, skipped,
    structures, timed, wait_for, Content, GREEN, PATIENCE,
};
use deepfake_kernels::CudaDevice;
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo};

const ELEMENTS: [&str; 2] = ["fomreenact", "deepfakedetect"];
const CUDA: &str = "memory:CUDAMemory";
const CUDA_FORMATS: [VideoFormat; 4] =
    [VideoFormat::Nv12, VideoFormat::I420, VideoFormat::Rgba, VideoFormat::Bgra];

fn on_the_gpu(info: &VideoInfo) -> gst::Caps {
    let mut caps = info.to_caps().unwrap();
    caps.make_mut().set_features(0, Some(gst::CapsFeatures::new([CUDA])));
    caps
}

fn caps(text: &str) -> gst::Caps {
    text.parse().unwrap()
}

// Without a GPU.

#[test]
fn every_pad_lists_cuda_memory_first_and_then_system_memory() {
    for name in ELEMENTS {
        let (element, _bus) = element(name);
        for template in element.pad_template_list() {
            let caps = template.caps();
            let features: Vec<bool> =
                (0..caps.size()).map(|n| caps.features(n).unwrap().contains(CUDA)).collect();
            assert_eq!(features, [true, false], "{name} {}: {caps}", template.name());
            let formats: HashSet<String> = {
                let list = caps.structure(0).unwrap().get::<gst::List>("format").unwrap();
                list.iter().map(|format| format.get().unwrap()).collect()
            };
            let expected = CUDA_FORMATS.map(|format| format.to_str().to_string());
            assert_eq!(formats, HashSet::from(expected), "{name} {}", template.name());
        }
    }
}

/// The pads of a new element that can be asked for caps.
fn pads(element: &gst::Element) -> Vec<gst::Pad> {
    let mut pads = vec![element.static_pad("sink").unwrap(), element.static_pad("src").unwrap()];
    pads.extend(element.request_pad_simple("source"));
    pads
}

#[test]
fn pipelines_with_cuda_memory_can_be_set_up_unless_the_cpu_was_asked_for() {
    for name in ELEMENTS {
        let (element, _bus) = element(name);
        for pad in pads(&element) {
            let possible = |backend: &str| {
                element.set_property_from_str("backend", backend);
                pad.query_caps(None).can_intersect(&caps("video/x-raw(memory:CUDAMemory)"))
            };
            assert!(possible("auto") && possible("tensorrt"), "{name} {}", pad.name());
            assert!(!possible("onnxruntime"), "{name} {}", pad.name());
        }
    }
}

#[test]
fn on_the_cpu_only_system_memory_is_accepted_from_the_start_on() {
    let video = info(VideoFormat::Nv12, 64, 48);
    for name in ELEMENTS {
        let (element, _bus) = element(name);
        element.set_property_from_str("backend", "onnxruntime");
        let pads = pads(&element);
        element.set_state(gst::State::Paused).unwrap();
        for pad in pads {
            let id = format!("{name} {}", pad.name());
            assert!(!pad.query_caps(None).can_intersect(&caps("video/x-raw(memory:CUDAMemory)")), "{id}");
            assert!(!pad.query_accept_caps(&on_the_gpu(&video)), "{id}");
            assert!(pad.query_accept_caps(&video.to_caps().unwrap()), "{id}");
        }
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn cuda_memory_for_an_element_on_the_cpu_is_not_negotiated() {
    let video = info(VideoFormat::Nv12, 320, 240);
    for name in ELEMENTS {
        let (element, _bus) = element(name);
        element.set_property_from_str("backend", "onnxruntime");
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps(on_the_gpu(&video));
        let pushed = harness.push(timed(picture(&video, Content::Face), 0));
        assert_eq!(pushed, Err(gst::FlowError::NotNegotiated), "{name}");
    }
}

#[test]
fn contexts_that_hold_no_cuda_context_are_ignored() {
    for name in ELEMENTS {
        let (element, bus) = element(name);
        for kind in ["gst.cuda.context", "gst.gl.GLDisplay"] {
            element.set_context(&gst::Context::new(kind, true));
        }
        element.set_property_from_str("backend", "onnxruntime");
        element.set_state(gst::State::Paused).unwrap();
        element.set_context(&gst::Context::new("gst.cuda.context", false));
        let mut query = gst::query::Context::new("gst.cuda.context");
        assert!(!element.static_pad("sink").unwrap().query(query.query_mut()), "{name} has none");
        element.set_state(gst::State::Null).unwrap();
        assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none());
    }
}

#[test]
fn an_element_on_the_cpu_asks_nobody_for_a_cuda_context() {
    for name in ELEMENTS {
        let (element, bus) = element(name);
        element.set_property_from_str("backend", "onnxruntime");
        element.set_state(gst::State::Paused).unwrap();
        element.set_state(gst::State::Null).unwrap();
        let asked = [gst::MessageType::NeedContext, gst::MessageType::HaveContext];
        assert!(bus.pop_filtered(&asked).is_none(), "{name}");
    }
}

#[test]
fn without_a_gpu_backend_auto_says_why_it_took_the_cpu_and_tensorrt_why_it_cannot_start() {
    init();
    if CudaDevice::new(0).is_ok() {
        skipped(format_args!("there is a CUDA device"));
        return;
    }
    for name in ELEMENTS {
        let (element, bus) = element(name);
        element.set_state(gst::State::Paused).unwrap();
        let status = structures(&bus, &format!("{name}-status"));
        element.set_state(gst::State::Null).unwrap();
        let [backend] = &status[..] else { panic!("{status:?}") };
        assert_eq!(backend.get::<&str>("backend").unwrap(), "onnxruntime");
        assert_eq!(backend.get::<&str>("device").unwrap(), "CPU");
        assert_eq!(backend.get::<&str>("precision").unwrap(), "fp32");
        let reason = backend.get::<&str>("reason").unwrap();
        assert!(reason.contains("cannot be used: "), "{reason}");

        element.set_property_from_str("backend", "tensorrt");
        assert!(element.set_state(gst::State::Paused).is_err());
        let (error, _) = error_on(&bus);
        assert!(error.matches(gst::ResourceError::Settings), "{error:?}");
        assert!(error.message().contains("backend=onnxruntime"), "{error}");
        element.set_state(gst::State::Null).unwrap();
    }
}

// With a GPU.

/// Brings frames to the GPU, in a context of its own pipeline.
struct Uploader {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
}

impl Uploader {
    fn new() -> Self {
        let pipeline = gst::parse::launch(
            "appsrc name=source format=time ! cudaupload name=upload ! video/x-raw(memory:CUDAMemory) ! \
             appsink name=sink sync=false max-buffers=1",
        )
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
        let source = pipeline.by_name("source").unwrap().downcast().unwrap();
        let sink = pipeline.by_name("sink").unwrap().downcast().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, source, sink }
    }

    /// The CUDA context, for elements to share.
    fn context(&self) -> gst::Context {
        let upload = self.pipeline.by_name("upload").unwrap();
        context_of(&upload).expect("cudaupload has a context")
    }

    /// `buffer` on the GPU.
    fn upload(&self, buffer: gst::Buffer, info: &VideoInfo) -> gst::Buffer {
        let sample = gst::Sample::builder().buffer(&buffer).caps(&info.to_caps().unwrap()).build();
        self.source.push_sample(&sample).unwrap();
        let sample =
            self.sink.try_pull_sample(gst::ClockTime::try_from(PATIENCE).unwrap()).expect("nothing comes");
        let buffer = sample.buffer_owned().unwrap();
        assert!(is_cuda(&buffer), "cudaupload does not upload");
        buffer
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn is_cuda(buffer: &gst::BufferRef) -> bool {
    buffer.n_memory() > 0 && buffer.peek_memory(0).is_type("gst.cuda.memory")
}

/// What `element` answers to a query for a CUDA context.
fn context_of(element: &gst::Element) -> Option<gst::Context> {
    let mut query = gst::query::Context::new("gst.cuda.context");
    let answered = element.static_pad("sink").unwrap().query(query.query_mut());
    query.context_owned().filter(|_| answered)
}

/// The `GstCudaContext` in `context`.
fn cuda_context(context: &gst::Context) -> gst::Object {
    context.structure().get::<gst::Object>("gst.cuda.context").unwrap()
}

/// An element on the GPU, fed and read by the test.
struct Bench {
    uploader: Uploader,
    harness: Harness,
    element: gst::Element,
    bus: gst::Bus,
    input: VideoInfo,
    cuda: bool,
}

impl Bench {
    fn new(name: &str, output: Option<&str>) -> Self {
        let (element, bus) = element(name);
        let uploader = Uploader::new();
        element.set_context(&uploader.context());
        element.set_property_from_str("backend", "tensorrt");
        if name == "fomreenact" {
            element.set_property("source-location", portrait().to_str());
        }
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        if let Some(output) = output {
            harness.set_sink_caps_str(output);
        }
        let input = info(VideoFormat::Nv12, 320, 240);
        Self { uploader, harness, element, bus, input, cuda: false }
    }

    /// The frames that follow.
    fn set_input(&mut self, format: VideoFormat, cuda: bool) {
        self.input = info(format, 320, 240);
        self.cuda = cuda;
        let caps = if cuda { on_the_gpu(&self.input) } else { self.input.to_caps().unwrap() };
        self.harness.set_src_caps(caps);
    }

    fn push(&mut self, content: Content, n: u64) -> gst::Buffer {
        let buffer = timed(picture(&self.input, content), n);
        let buffer = if self.cuda { self.uploader.upload(buffer, &self.input) } else { buffer };
        if self.harness.push(timed(buffer, n)).is_err() {
            panic!("{:?}", error_on(&self.bus));
        }
        self.harness.pull().unwrap()
    }

    fn output(&self) -> VideoInfo {
        VideoInfo::from_caps(&self.output_caps()).unwrap()
    }

    fn output_caps(&self) -> gst::Caps {
        self.harness.sinkpad().unwrap().current_caps().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.element.set_bus(None);
    }
}

/// What downstream asks for.
fn wanted(format: VideoFormat, cuda: bool) -> String {
    let features = if cuda { "(memory:CUDAMemory)" } else { "" };
    format!("video/x-raw{features},format={},width=128,height=128", format.to_str())
}

#[test]
fn the_picture_is_the_same_from_and_to_either_memory_in_every_format() {
    if !gpu() {
        return;
    }
    let expected = {
        let mut bench = Bench::new("fomreenact", Some(&wanted(VideoFormat::Rgba, false)));
        bench.set_input(VideoFormat::Nv12, false);
        let out = bench.push(Content::Face, 0);
        rgb(&out, &bench.output())
    };
    let flat = vec![expected[0]; expected.len()];
    assert!(difference(&expected, &flat) > 10.0, "the picture is empty");
    for (from_cuda, to_cuda) in [(true, true), (true, false), (false, true)] {
        for (index, from) in CUDA_FORMATS.into_iter().enumerate() {
            let to = CUDA_FORMATS[(index + 1) % CUDA_FORMATS.len()];
            let mut bench = Bench::new("fomreenact", Some(&wanted(to, to_cuda)));
            bench.set_input(from, from_cuda);
            let out = bench.push(Content::Face, 0);
            let id = format!("{from:?} cuda={from_cuda} to {to:?} cuda={to_cuda}");
            assert_eq!(is_cuda(&out), to_cuda, "{id}");
            assert_eq!(bench.output_caps().features(0).unwrap().contains(CUDA), to_cuda, "{id}");
            let apart = difference(&expected, &rgb(&out, &bench.output()));
            assert!(apart < 3.0, "{id}: {apart}");
        }
    }
}

#[test]
fn without_a_wish_downstream_frames_stay_in_the_memory_in_which_they_come() {
    if !gpu() {
        return;
    }
    for cuda in [true, false] {
        let mut bench = Bench::new("fomreenact", Some("video/x-raw(ANY)"));
        bench.set_input(VideoFormat::Nv12, cuda);
        assert_eq!(is_cuda(&bench.push(Content::Face, 0)), cuda);
    }
}

#[test]
fn the_memory_may_change_in_mid_stream_on_either_side() {
    if !gpu() {
        return;
    }
    let mut bench = Bench::new("fomreenact", Some("video/x-raw(ANY)"));
    for (n, cuda) in [true, false, true, true, false].into_iter().enumerate() {
        bench.set_input(CUDA_FORMATS[n % CUDA_FORMATS.len()], cuda);
        for frame in 0..3 {
            let out = bench.push(Content::Face, 3 * n as u64 + frame);
            assert_eq!(is_cuda(&out), cuda, "change {n}");
        }
    }
}

#[test]
fn a_portrait_in_cuda_memory_on_the_source_pad_is_taken() {
    if !gpu() {
        return;
    }
    let still = |cuda: bool| {
        let mut bench = Bench::new("fomreenact", Some("video/x-raw,format=RGB"));
        bench.element.set_property("bypass", true);
        let mut source = Harness::with_element(&bench.element, Some("source"), None);
        let info = info(VideoFormat::Nv12, 256, 256);
        let buffer = picture(&info, Content::OtherFace);
        if cuda {
            source.set_src_caps(on_the_gpu(&info));
            source.push(bench.uploader.upload(buffer, &info)).unwrap();
        } else {
            source.set_src_caps(info.to_caps().unwrap());
            source.push(buffer).unwrap();
        }
        bench.set_input(VideoFormat::Nv12, true);
        let out = bench.push(Content::Flat(GREEN), 0);
        rgb(&out, &bench.output())
    };
    let (system, cuda) = (still(false), still(true));
    assert!(share_of(&cuda, GREEN) == 0.0);
    assert!(difference(&system, &cuda) < 1.0, "{}", difference(&system, &cuda));
}

#[test]
fn a_face_is_scored_alike_in_either_memory_and_the_frame_is_not_copied() {
    if !gpu() {
        return;
    }
    let mut scores = Vec::new();
    for cuda in [false, true] {
        for format in CUDA_FORMATS {
            let mut bench = Bench::new("deepfakedetect", None);
            bench.set_input(format, cuda);
            let frame = timed(picture(&bench.input, Content::Face), 0);
            let frame = if cuda { bench.uploader.upload(frame, &bench.input) } else { frame };
            bench.harness.push(frame.clone()).unwrap();
            let out = bench.harness.pull().unwrap();
            assert_eq!(frame.peek_memory(0).as_ptr(), out.peek_memory(0).as_ptr(), "{format:?} {cuda}");
            let region = out.meta::<gst_video::VideoRegionOfInterestMeta>().expect("no face");
            scores.push(region.param("deepfake").unwrap().get::<f32>("score").unwrap());
        }
    }
    let spread =
        scores.iter().copied().fold(f32::MIN, f32::max) - scores.iter().copied().fold(f32::MAX, f32::min);
    assert!(spread < 0.2, "{scores:?}");
}

#[test]
fn the_overlay_is_drawn_in_cuda_memory_and_not_into_what_others_hold() {
    if !gpu() {
        return;
    }
    for format in CUDA_FORMATS {
        let mut bench = Bench::new("deepfakedetect", None);
        bench.element.set_property("overlay", true);
        bench.set_input(format, true);
        let plain = rgb(&picture(&bench.input, Content::Face), &bench.input);
        let held = bench.uploader.upload(timed(picture(&bench.input, Content::Face), 0), &bench.input);
        bench.harness.push(held.clone()).unwrap();
        let out = bench.harness.pull().unwrap();
        assert!(is_cuda(&out), "{format:?}");
        let drawn = difference(&plain, &rgb(&out, &bench.input));
        assert!(drawn > 0.2 && drawn < 20.0, "{format:?}: {drawn}");
        let left = difference(&plain, &rgb(&held, &bench.input));
        assert!(left < 0.01, "{format:?}: another branch sees the overlay: {left}");
    }
}

#[test]
fn memory_of_another_context_is_refused_with_advice() {
    if !gpu() {
        return;
    }
    for name in ELEMENTS {
        let mut bench = Bench::new(name, None);
        bench.set_input(VideoFormat::Nv12, true);
        let other = Uploader::new();
        assert_ne!(cuda_context(&other.context()), cuda_context(&bench.uploader.context()));
        let frame = other.upload(timed(picture(&bench.input, Content::Face), 0), &bench.input);
        assert_eq!(bench.harness.push(frame), Err(gst::FlowError::Error), "{name}");
        let (error, _) = error_on(&bench.bus);
        assert!(error.message().contains("another CUDA context"), "{error}");
    }
}

#[test]
fn system_memory_with_caps_of_cuda_memory_is_refused() {
    if !gpu() {
        return;
    }
    for name in ELEMENTS {
        let mut bench = Bench::new(name, None);
        bench.set_input(VideoFormat::Nv12, true);
        let frame = timed(picture(&bench.input, Content::Face), 0);
        assert_eq!(bench.harness.push(frame), Err(gst::FlowError::Error), "{name}");
        let (error, _) = error_on(&bench.bus);
        assert!(error.message().contains("CUDA memory"), "{error}");
    }
}

#[test]
fn upstream_is_offered_a_pool_of_cuda_memory() {
    if !gpu() {
        return;
    }
    let mut bench = Bench::new("fomreenact", Some("video/x-raw(ANY)"));
    bench.set_input(VideoFormat::Nv12, true);
    bench.push(Content::Face, 0);
    let mut query = gst::query::Allocation::new(Some(&on_the_gpu(&bench.input)), true);
    assert!(bench.harness.srcpad().unwrap().peer_query(query.query_mut()));
    assert!(query.find_allocation_meta::<gst_video::VideoMeta>().is_some());
    let (pool, ..) = query.allocation_pools().next().expect("no pool");
    let pool = pool.expect("no pool");
    pool.set_active(true).unwrap();
    assert!(is_cuda(&pool.acquire_buffer(None).unwrap()));
    pool.set_active(false).unwrap();
}

#[test]
fn frames_that_are_given_back_are_used_again() {
    if !gpu() {
        return;
    }
    let mut bench = Bench::new("fomreenact", Some("video/x-raw(memory:CUDAMemory)"));
    bench.set_input(VideoFormat::Nv12, true);
    let seen: HashSet<usize> =
        (0..50).map(|n| bench.push(Content::Face, n).peek_memory(0).as_ptr() as usize).collect();
    assert!(seen.len() <= 4, "{} frames of memory for 50 frames", seen.len());
}

/// Plays `pipeline` to its end.
fn play(pipeline: &gst::Pipeline) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let last = bus
        .timed_pop_filtered(
            gst::ClockTime::try_from(PATIENCE).unwrap(),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
        .expect("no end");
    assert_eq!(last.type_(), gst::MessageType::Eos, "{last:?}");
}

#[test]
fn the_elements_of_a_pipeline_share_one_context() {
    if !gpu() {
        return;
    }
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=3 ! video/x-raw,format=NV12,width=320,height=240 ! cudaupload name=u ! \
         video/x-raw(memory:CUDAMemory) ! tee name=t ! queue ! fomreenact name=a backend=tensorrt \
         source-location={} ! video/x-raw(memory:CUDAMemory) ! deepfakedetect name=b backend=tensorrt ! \
         cudadownload ! fakesink sync=false  t. ! queue ! deepfakedetect name=c backend=tensorrt ! fakesink sync=false",
        portrait().display()
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    play(&pipeline);
    let contexts: HashSet<usize> = ["u", "a", "b", "c"]
        .iter()
        .map(|name| {
            let context = context_of(&pipeline.by_name(name).unwrap());
            cuda_context(&context.unwrap_or_else(|| panic!("{name} has no context"))).as_ptr() as usize
        })
        .collect();
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(contexts.len(), 1);
}

#[test]
fn an_element_that_nobody_gives_a_context_makes_one_and_tells_the_others() {
    if !gpu() {
        return;
    }
    let (element, bus) = element("deepfakedetect");
    element.set_property_from_str("backend", "tensorrt");
    element.set_state(gst::State::Paused).unwrap();
    let message = wait_for(&bus, gst::MessageType::HaveContext);
    let gst::MessageView::HaveContext(have) = message.view() else { unreachable!() };
    let mine = context_of(&element).expect("no context");
    assert_eq!(cuda_context(&have.context()), cuda_context(&mine));
    element.set_state(gst::State::Null).unwrap();
    assert!(context_of(&element).is_none(), "a stopped element holds on to the GPU");
    element.set_bus(None);
}

#[test]
fn an_element_offers_a_context_from_ready_on_and_keeps_none_in_null() {
    if !gpu() {
        return;
    }
    for name in ELEMENTS {
        let (element, _bus) = element(name);
        element.set_property_from_str("backend", "tensorrt");
        element.set_state(gst::State::Ready).unwrap();
        assert!(context_of(&element).is_some(), "{name}: decoders upstream will make one of their own");
        element.set_state(gst::State::Null).unwrap();
        assert!(
            context_of(&element).is_none(),
            "{name} holds on to the context of a pipeline that it may have left"
        );
        element.set_bus(None);
    }
}

#[test]
fn three_hundred_frames_take_no_memory_of_the_gpu() {
    if gpu() {
        alone("many_frames", |_| ());
    }
}

#[test]
#[ignore = "run by three_hundred_frames_take_no_memory_of_the_gpu in a process of its own"]
fn many_frames() {
    init();
    let device = CudaDevice::new(0).unwrap();
    let free = || device.memory_info().unwrap().0;
    for (name, output) in [
        ("fomreenact", Some("video/x-raw(memory:CUDAMemory)")),
        ("fomreenact", Some("video/x-raw")),
        ("deepfakedetect", None),
    ] {
        for cuda in [true, false] {
            let mut bench = Bench::new(name, output);
            bench.set_input(VideoFormat::Nv12, cuda);
            let mut before = 0;
            for n in 0..350 {
                if n == 50 {
                    before = free();
                }
                bench.push(if n % 40 < 35 { Content::Face } else { Content::Flat(GREEN) }, n);
                while bench.bus.pop().is_some() {}
            }
            assert!(free() >= before, "{name} {output:?} cuda={cuda}: {} bytes", before - free());
        }
    }
}

#[test]
fn forty_starts_and_stops_take_no_memory_of_the_gpu() {
    if gpu() {
        alone("many_starts", |_| ());
    }
}

#[test]
#[ignore = "run by forty_starts_and_stops_take_no_memory_of_the_gpu in a process of its own"]
fn many_starts() {
    init();
    let device = CudaDevice::new(0).unwrap();
    let mut before = 0;
    for cycle in 0..40 {
        if cycle == 10 {
            before = device.memory_info().unwrap().0;
        }
        let mut bench = Bench::new(ELEMENTS[cycle % 2], None);
        bench.set_input(VideoFormat::Nv12, true);
        bench.push(Content::Face, 0);
    }
    let after = device.memory_info().unwrap().0;
    // What the driver keeps to hand out again comes in steps of 2 MiB.
    assert!(after + (4 << 20) >= before, "{} bytes in 30 cycles", before - after);
}
