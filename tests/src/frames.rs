//! Frames out of a pipeline, as RGB pictures.

use std::time::Duration;

use deepfake_kernels::{ColorSpace, Frame, PixelFormat, Plane};
use gst::prelude::*;
use gst_video::prelude::*;

use crate::footage;

/// One RGB frame and its place in the stream.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Presentation time, where the buffer had one.
    pub time: Option<Duration>,
    /// Duration, where the buffer had one.
    pub duration: Option<Duration>,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Rows without padding, 3 bytes a pixel.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// For the kernels.
    pub fn frame(&self) -> Frame<'_> {
        let plane = Plane { data: &self.rgb, stride: self.width * 3 };
        Frame::new(PixelFormat::Rgb, ColorSpace::default(), self.width, self.height, vec![plane])
            .expect("a picture fills its plane")
    }
}

/// Runs `description`, a pipeline without a sink, and hands its RGB frames to `each`, one after the other.
///
/// # Panics
/// If the pipeline cannot be made or posts an error.
pub fn pull_frames(description: &str, mut each: impl FnMut(Picture)) {
    let text = format!("{description} ! videoconvert ! video/x-raw,format=RGB ! appsink name=frames sync=false max-buffers=4");
    let pipeline = gst::parse::launch(&text)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
        .downcast::<gst::Pipeline>()
        .expect("a description of several elements gives a pipeline");
    let sink =
        pipeline.by_name("frames").and_downcast::<gst_app::AppSink>().expect("the sink that was just named");
    pipeline.set_state(gst::State::Playing).expect("the pipeline starts");
    let bus = pipeline.bus().expect("a pipeline has a bus");
    while !sink.is_eos() {
        // An error before the sink does not wake it.
        if let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(1)) {
            each(to_picture(&sample));
        }
        if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error]) {
            panic!("{text}: {message:?}");
        }
    }
    pipeline.set_state(gst::State::Null).expect("the pipeline stops");
}

/// The first frames of the demo's clip, which shows one face, scaled to that size as buffers of NV12 in system memory, and
/// their caps. `None`, said aloud, without the footage.
pub fn demo_frames(width: u32, height: u32, count: usize) -> Option<(gst::Caps, Vec<gst::Buffer>)> {
    let clip = footage("WolfgangLanger_Pexels.mp4")?;
    let description = format!(
        "filesrc location=\"{}\" ! decodebin ! videoconvert ! videoscale ! video/x-raw,format=NV12,width={width},height={height} ! \
         appsink name=frames sync=false",
        clip.display()
    );
    let pipeline = gst::parse::launch(&description).ok()?.downcast::<gst::Pipeline>().ok()?;
    let sink = pipeline.by_name("frames").and_downcast::<gst_app::AppSink>()?;
    pipeline.set_state(gst::State::Playing).ok()?;
    let (mut caps, mut buffers) = (None, Vec::new());
    while let Some(sample) = sink.pull_sample().ok().filter(|_| buffers.len() < count) {
        caps = sample.caps_owned();
        buffers.extend(sample.buffer().and_then(|buffer| buffer.copy_deep().ok()));
    }
    pipeline.set_state(gst::State::Null).ok()?;
    Some((caps?, buffers))
}

fn to_picture(sample: &gst::Sample) -> Picture {
    let caps = sample.caps().expect("a sample of video has caps");
    let info = gst_video::VideoInfo::from_caps(caps).expect("caps of raw video");
    let buffer = sample.buffer().expect("a sample of video has a buffer");
    let frame =
        gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).expect("a frame can be mapped");
    let (width, height) = (info.width() as usize, info.height() as usize);
    let stride = frame.plane_stride()[0] as usize;
    let data = frame.plane_data(0).expect("RGB has one plane");
    let rgb = data.chunks(stride).take(height).flat_map(|row| &row[..width * 3]).copied().collect();
    let time = |t: Option<gst::ClockTime>| t.map(Duration::from);
    Picture { time: time(buffer.pts()), duration: time(buffer.duration()), width, height, rgb }
}
