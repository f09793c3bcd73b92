//! A live source that is faster than the networks: frames are dropped, latency stays bounded.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use deepfake_tests::{decode, footage, init, portrait, pull_frames, Picture};
use gst::prelude::*;

/// Plays pictures as a camera would, at `fps` in real time, whether they are fetched or not.
fn camera(source: &gst_app::AppSrc, pictures: &[Picture], fps: u32, frames: usize) {
    let start = std::time::Instant::now();
    for index in 0..frames {
        let due = Duration::from_secs(1) * index as u32 / fps;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let buffer = gst::Buffer::from_slice(pictures[index % pictures.len()].rgb.clone());
        if source.push_buffer(buffer).is_err() {
            return;
        }
    }
    // The pipeline may be going down already.
    let _ = source.end_of_stream();
}

#[test]
fn a_camera_faster_than_the_networks_is_kept_up_with_by_dropping() {
    init();
    let Some(clip) = footage("WolfgangLanger_Pexels.mp4") else { return };
    let mut pictures = Vec::new();
    pull_frames(&decode(&clip), |picture| {
        if pictures.len() < 64 {
            pictures.push(picture)
        }
    });
    // Faster than most machines' CPUs take it, so that there is something to drop.
    let (fps, frames) = (100, 600);
    let (width, height) = (pictures[0].width, pictures[0].height);
    // The queue has room for all frames: nothing but quality of service keeps it from filling.
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=camera is-live=true do-timestamp=true format=time max-bytes=0 \
           caps=video/x-raw,format=RGB,width={width},height={height},framerate={fps}/1 ! \
         queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! fomreenact name=reenact source-location=\"{}\" ! video/x-raw,format=I420 ! \
         fakesink name=sink sync=true qos=true signal-handoffs=true",
        portrait().display()
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let source = pipeline.by_name("camera").and_downcast::<gst_app::AppSrc>().unwrap();
    let reenact = pipeline.by_name("reenact").unwrap();
    // How old each frame is when it leaves the element.
    let ages = Arc::new(Mutex::new(Vec::new()));
    let inner = ages.clone();
    reenact.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let element = pad.parent_element().unwrap();
        if let Some((now, time)) = element.current_running_time().zip(info.buffer().and_then(|b| b.pts())) {
            inner.lock().unwrap().push(now.saturating_sub(time).mseconds() as f32);
        }
        gst::PadProbeReturn::Ok
    });
    assert_eq!(pipeline.set_state(gst::State::Paused).unwrap(), gst::StateChangeSuccess::NoPreroll);
    pipeline.set_state(gst::State::Playing).unwrap();
    let feeder = std::thread::spawn(move || camera(&source, &pictures, fps, frames));
    let message = pipeline.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_seconds(60),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert!(matches!(message.as_ref().map(|m| m.type_()), Some(gst::MessageType::Eos)), "{message:?}");
    feeder.join().unwrap();
    let (state, ..) = pipeline.state(gst::ClockTime::ZERO);
    assert!(state.is_ok(), "the pipeline got going");
    let stats = reenact.property::<gst::Structure>("stats");
    pipeline.set_state(gst::State::Null).unwrap();

    let ages = ages.lock().unwrap();
    let shown = ages.len();
    println!("{shown} of {frames} frames shown; {stats}");
    assert!(shown >= 20, "only {shown} frames were shown");
    let dropped = stats.get::<u64>("dropped").unwrap() as usize;
    assert_eq!(shown + dropped, frames, "each frame is shown or counted as dropped");
    let frame = stats.get::<f64>("total").unwrap() as f32;
    if frame * fps as f32 > 1000.0 {
        assert!(dropped > 0, "{frame} ms a frame is too slow for {fps} fps, but nothing was dropped");
    } else {
        eprintln!(
            "this machine takes {frame} ms a frame and keeps up with {fps} fps: nothing need be dropped"
        );
    }
    // A frame waits for the one before it and is then processed: some frame times, and no more later than sooner.
    let part = shown / 3;
    let worst = |ages: &[f32]| ages.iter().copied().fold(0.0, f32::max);
    let middle = |ages: &[f32]| deepfake_tests::median(ages);
    let (early, late) = (middle(&ages[..part]), middle(&ages[2 * part..]));
    println!("median age {early} ms in the first third, {late} ms in the last, worst {}", worst(&ages));
    assert!(late < 2.0 * early + 2.0 * frame, "latency grows: {early} ms, then {late} ms");
    assert!(late < 6.0 * frame + 50.0, "latency of {late} ms at {frame} ms a frame");
}

#[test]
fn a_live_pipeline_goes_to_playing_and_tells_its_latency() {
    init();
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc is-live=true num-buffers=30 ! fomreenact source-location=\"{}\" ! deepfakedetect ! fakesink sync=true",
        portrait().display()
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let message = pipeline.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_seconds(30),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert!(matches!(message.as_ref().map(|m| m.type_()), Some(gst::MessageType::Eos)), "{message:?}");
    let mut query = gst::query::Latency::new();
    assert!(pipeline.query(&mut query));
    let (live, least, most) = query.result();
    println!("live {live}, latency {least} .. {most:?}");
    assert!(live && least > gst::ClockTime::ZERO);
    assert!(most.is_none_or(|most| most >= least));
    pipeline.set_state(gst::State::Null).unwrap();
}
