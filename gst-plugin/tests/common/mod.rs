//! What the tests of both elements need.
//!
//! They run the real networks: `ORT_DYLIB_PATH` names ONNX Runtime's shared library.

// Not every test file needs everything.
#![allow(dead_code)]

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Once, OnceLock},
    time::Duration,
};

use deepfake_kernels::{CudaDevice, DeviceError};
use gst::{glib, prelude::*};
use gst_video::{prelude::*, VideoFormat, VideoFrameRef, VideoInfo};

pub const FORMATS: [VideoFormat; 8] = [
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Nv12,
    VideoFormat::I420,
];

/// Long enough for a slow machine under load.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        deepfake_models::engine::locate_runtime(None).expect("the tests run the real networks");
        gstdeepfake::plugin_register_static().unwrap();
    });
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

pub fn portrait() -> PathBuf {
    repository().join("pipelines/assets/portrait.jpg")
}

/// A copy of a model of the zoo; the bytes of one of its files go through `change`.
pub fn model_copy(name: &str, file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(repository().join("models/zoo").join(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join(file);
    std::fs::write(&path, change(std::fs::read(&path).unwrap())).unwrap();
    folder
}

/// What is in a frame.
#[derive(Clone, Copy, PartialEq)]
pub enum Content {
    /// The portrait, as large as fits.
    Face,
    /// The same, shifted and smaller.
    OtherFace,
    /// One colour.
    Flat([u8; 3]),
}

pub const GREEN: [u8; 3] = [10, 230, 20];

pub fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
    init();
    VideoInfo::builder(format, width, height).fps(gst::Fraction::new(25, 1)).build().unwrap()
}

/// A buffer of `info` with `content`, without metadata.
pub fn picture(info: &VideoInfo, content: Content) -> gst::Buffer {
    let (width, height) = (info.width(), info.height());
    let mut rgb = image::RgbImage::from_pixel(width, height, image::Rgb([90, 90, 100]));
    let paste = |rgb: &mut image::RgbImage, share: f64, shift: f64| {
        static FACE: OnceLock<image::RgbImage> = OnceLock::new();
        let face = FACE.get_or_init(|| image::open(portrait()).unwrap().to_rgb8());
        let side = (f64::from(width.min(height)) * share).max(1.0);
        let small =
            image::imageops::resize(face, side as u32, side as u32, image::imageops::FilterType::Triangle);
        let x = (f64::from(width) - side) / 2.0 + shift * f64::from(width);
        image::imageops::replace(rgb, &small, x as i64, ((f64::from(height) - side) / 2.0) as i64);
    };
    match content {
        Content::Face => paste(&mut rgb, 1.0, 0.0),
        Content::OtherFace => paste(&mut rgb, 0.8, 0.05),
        Content::Flat(color) => rgb.pixels_mut().for_each(|p| p.0 = color),
    }
    let source = VideoInfo::builder(VideoFormat::Rgb, width, height).fps(info.fps()).build().unwrap();
    let mut packed = gst::Buffer::with_size(source.size()).unwrap();
    {
        let mut frame = VideoFrameRef::from_buffer_ref_writable(packed.get_mut().unwrap(), &source).unwrap();
        let stride = frame.plane_stride()[0] as usize;
        let row = width as usize * 3;
        let data = frame.plane_data_mut(0).unwrap();
        for (y, line) in rgb.as_raw().chunks(row).enumerate() {
            data[y * stride..y * stride + row].copy_from_slice(line);
        }
    }
    convert(&packed, &source, info)
}

/// `buffer` in another format of the same size.
pub fn convert(buffer: &gst::BufferRef, from: &VideoInfo, to: &VideoInfo) -> gst::Buffer {
    // A converter of pictures is particular about frame rates.
    let to = &VideoInfo::builder(to.format(), to.width(), to.height())
        .fps(from.fps())
        .colorimetry(&to.colorimetry())
        .build()
        .unwrap();
    let converter = gst_video::VideoConverter::new(from, to, None).unwrap();
    let mut out = gst::Buffer::with_size(to.size()).unwrap();
    {
        let source = VideoFrameRef::from_buffer_ref_readable(buffer, from).unwrap();
        let mut target = VideoFrameRef::from_buffer_ref_writable(out.get_mut().unwrap(), to).unwrap();
        converter.frame_ref(&source, &mut target);
    }
    out
}

/// The pixels of `buffer` as packed RGB.
pub fn rgb(buffer: &gst::BufferRef, info: &VideoInfo) -> Vec<[u8; 3]> {
    let target = VideoInfo::builder(VideoFormat::Rgb, info.width(), info.height()).build().unwrap();
    let converted = convert(buffer, info, &target);
    let frame = VideoFrameRef::from_buffer_ref_readable(&converted, &target).unwrap();
    let stride = frame.plane_stride()[0] as usize;
    let data = frame.plane_data(0).unwrap();
    (0..info.height() as usize)
        .flat_map(|y| data[y * stride..].chunks(3).take(info.width() as usize).map(|p| [p[0], p[1], p[2]]))
        .collect()
}

/// Mean absolute difference of two pictures.
pub fn difference(a: &[[u8; 3]], b: &[[u8; 3]]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / (a.len() * 3) as f64
}

/// The share of pixels that are nearly of `color`.
pub fn share_of(pixels: &[[u8; 3]], color: [u8; 3]) -> f64 {
    let near = pixels.iter().filter(|p| p.iter().zip(color).all(|(a, b)| a.abs_diff(b) < 40)).count();
    near as f64 / pixels.len() as f64
}

/// `buffer` with the times of the `n`-th frame at 25 frames a second.
pub fn timed(mut buffer: gst::Buffer, n: u64) -> gst::Buffer {
    let writable = buffer.make_mut();
    writable.set_pts(gst::ClockTime::from_mseconds(40 * n));
    writable.set_duration(gst::ClockTime::from_mseconds(40));
    buffer
}

/// An element alone, its messages on a bus.
pub fn element(name: &str) -> (gst::Element, gst::Bus) {
    init();
    let element = gst::ElementFactory::make(name).build().unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    (element, bus)
}

/// The first message of a kind; those before it are lost.
pub fn wait_for(bus: &gst::Bus, kind: gst::MessageType) -> gst::Message {
    bus.timed_pop_filtered(gst::ClockTime::try_from(PATIENCE).unwrap(), &[kind])
        .unwrap_or_else(|| panic!("no message {kind:?}"))
}

/// The error on the bus: itself and its debug text.
pub fn error_on(bus: &gst::Bus) -> (glib::Error, String) {
    let message = wait_for(bus, gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    (error.error(), error.debug().map(|d| d.to_string()).unwrap_or_default())
}

/// Asserts one warning, which says what to do about pixels that are not square. Other messages are lost.
pub fn assert_advised_once(bus: &gst::Bus) {
    let warnings: Vec<_> = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning])).collect();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    let gst::MessageView::Warning(warning) = warning.view() else { unreachable!() };
    assert!(warning.error().matches(gst::StreamError::Format), "{warning:?}");
    assert!(warning.error().message().contains("pixel-aspect-ratio=1/1"), "{warning:?}");
}

/// The structures of the element messages `name` that are on the bus; other messages are lost.
pub fn structures(bus: &gst::Bus, name: &str) -> Vec<gst::Structure> {
    std::iter::from_fn(|| bus.pop())
        .filter(|message| message.type_() == gst::MessageType::Element)
        .filter_map(|message| message.structure().filter(|s| s.name() == name).map(|s| s.to_owned()))
        .collect()
}

/// The text of the error with which the element `name`, set up by `set`, refuses to start. It must start none the
/// less once `repair` has been run.
pub fn refused_start(
    name: &str,
    set: impl FnOnce(&gst::Element),
    repair: impl FnOnce(&gst::Element),
) -> (glib::Error, String) {
    let (element, bus) = element(name);
    set(&element);
    assert!(element.set_state(gst::State::Paused).is_err(), "the element starts in spite of all");
    let (error, debug) = error_on(&bus);
    assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none(), "one cause, one error");
    element.set_state(gst::State::Null).unwrap();
    repair(&element);
    element.set_state(gst::State::Paused).expect("the element does not recover");
    element.set_state(gst::State::Null).unwrap();
    (error, debug)
}

/// Says that the present test is skipped and why, past the harness, which would swallow the words of a test that passes.
pub fn skipped(why: std::fmt::Arguments<'_>) {
    let current = std::thread::current();
    let test = current.name().unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// Whether a test that needs a GPU can run. Where it cannot it says so and why.
///
/// # Panics
/// If there is a GPU, and the elements do not start on it for another reason than a missing library.
pub fn gpu() -> bool {
    without_gpu().map(|why| skipped(format_args!("{why}"))).is_none()
}

/// Whether the elements work on a GPU here.
///
/// # Panics
/// As [`gpu`].
pub fn on_gpu() -> bool {
    without_gpu().is_none()
}

/// Why the elements do not work on a GPU here, if they do not; found out once.
fn without_gpu() -> Option<&'static str> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    WHY.get_or_init(find_gpu).as_deref()
}

fn find_gpu() -> Option<String> {
    init();
    if let Err(error @ (DeviceError::NoDriver | DeviceError::NoDevice { .. })) = CudaDevice::new(0) {
        return Some(format!("no CUDA device: {error}"));
    }
    if gst::ElementFactory::find("cudaupload").is_none() {
        return Some("no element cudaupload (the plugin nvcodec of gst-plugins-bad)".into());
    }
    let (element, bus) = element("deepfakedetect");
    element.set_property_from_str("backend", "tensorrt");
    let started = element.set_state(gst::State::Paused);
    let reason = started.is_err().then(|| error_on(&bus).0);
    element.set_state(gst::State::Null).unwrap();
    element.set_bus(None);
    match reason {
        None => None,
        Some(error) if error.matches(gst::ResourceError::Settings) => {
            Some(format!("the elements cannot use this GPU: {error}"))
        }
        Some(error) => panic!("there is a GPU, but {error}"),
    }
}

/// Runs an ignored test of the same file in a process of its own.
pub fn alone(test: &str, prepare: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", test]);
    prepare(&mut command);
    let output = command.output().unwrap();
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("running 1 test"), "no such test: {test}");
    assert!(output.status.success(), "{text}");
    output
}

/// The objects of GStreamer that outlive the ignored test `test`, which must end by [`end`].
pub fn leaks(test: &str) -> Vec<String> {
    let output = alone(test, |command| {
        command.env("GST_TRACERS", "leaks").env("GST_DEBUG", "GST_TRACER:7").env("GST_DEBUG_NO_COLOR", "1");
    });
    let log = String::from_utf8_lossy(&output.stderr);
    log.lines()
        .filter(|line| line.contains(" object-alive, type-name=(string)") && !line.contains("%s"))
        .map(str::to_owned)
        .collect()
}

/// Ends GStreamer, whereupon the tracer tells what is left.
pub fn end() {
    // SAFETY: the test that calls this is the only one of its process and has dropped what it made.
    unsafe { gst::deinit() };
}

/// Resident memory of this process in MiB.
pub fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Asserts default, type name and the states in which each property can be changed.
pub fn assert_properties(name: &str, expected: &[(&str, &str, &str)]) {
    let (element, _bus) = element(name);
    for (property, default, when) in expected {
        let pspec = element.find_property(property).unwrap_or_else(|| panic!("no property {property}"));
        let text = |value: &glib::Value| {
            value.serialize().map_or_else(|_| "NULL".into(), |text| text.trim_end_matches(".0").to_owned())
        };
        assert_eq!(text(pspec.default_value()), *default, "default of {property}");
        assert_eq!(text(&element.property_value(property)), *default, "value of {property}");
        let flags = pspec.flags();
        let found = if !flags.contains(glib::ParamFlags::WRITABLE) {
            "read-only"
        } else if flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
            "playing"
        } else if flags.contains(gst::PARAM_FLAG_MUTABLE_READY) {
            "ready"
        } else {
            "never"
        };
        assert_eq!(found, *when, "when {property} can be changed");
        assert!(
            pspec.nick() != *property && pspec.blurb().is_some_and(|b| b.len() > 10),
            "{property} is not described"
        );
    }
    let inherited = ["name", "parent", "qos", "stats"];
    for pspec in element.list_properties() {
        let known = inherited.contains(&pspec.name()) || expected.iter().any(|(p, ..)| *p == pspec.name());
        assert!(known, "{} is not in the table", pspec.name());
    }
}
