//! Frames a second of both elements, from decoded frames in memory to a sink that drops them, and what they spend
//! beside the networks.
//!
//! `cargo bench -p deepfake-tests --bench elements` with `DEEPFAKE_TEST_DATA` and `ORT_DYLIB_PATH` set, as
//! `tests/run.sh` does. The faces are those of the demo's clip, scaled to 640x480 NV12.

use std::time::Instant;

use deepfake_tests::{demo_frames, init, portrait};
use gst::prelude::*;

const FRAMES: usize = 300;

fn measure(element: &str, caps: &gst::Caps, buffers: &[gst::Buffer]) {
    let description =
        format!("appsrc name=source format=time block=true ! {element} name=element ! fakesink sync=false");
    let pipeline = gst::parse::launch(&description).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("source").and_downcast::<gst_app::AppSrc>().unwrap();
    source.set_caps(Some(caps));
    pipeline.set_state(gst::State::Playing).unwrap();
    let start = Instant::now();
    for buffer in buffers {
        source.push_buffer(buffer.clone()).unwrap();
    }
    source.end_of_stream().unwrap();
    let bus = pipeline.bus().unwrap();
    let end = bus.timed_pop_filtered(None, &[gst::MessageType::Eos, gst::MessageType::Error]);
    let took = start.elapsed().as_secs_f64();
    assert!(matches!(end.map(|m| m.type_()), Some(gst::MessageType::Eos)), "{element} failed");
    let stats = pipeline.by_name("element").unwrap().property::<gst::Structure>("stats");
    pipeline.set_state(gst::State::Null).unwrap();
    let (engine, total) = (stats.get::<f64>("engine").unwrap(), stats.get::<f64>("total").unwrap());
    println!("{}", element.split(' ').next().unwrap_or_default());
    println!(
        "  {:.1} fps; median frame {total:.2} ms, {engine:.2} of it in the networks, {:.1} % over",
        buffers.len() as f64 / took,
        (total / engine - 1.0) * 100.0
    );
    println!("  {stats}");
}

fn main() {
    init();
    let Some((caps, buffers)) = demo_frames(640, 480, FRAMES) else { return };
    println!("{} frames of 640x480 NV12", buffers.len());
    for _ in 0..3 {
        measure(&format!("fomreenact source-location=\"{}\"", portrait().display()), &caps, &buffers);
        measure("deepfakedetect", &caps, &buffers);
    }
}
