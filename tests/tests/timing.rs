//! Frames, timestamps and sound come out as they went in.

use std::time::Duration;

use deepfake_tests::{decode, footage, init, portrait, pull_frames, run_to_end};
use gst::prelude::*;

fn times(description: &str) -> Vec<(Option<Duration>, Option<Duration>)> {
    let mut times = Vec::new();
    pull_frames(description, |picture| times.push((picture.time, picture.duration)));
    times
}

#[test]
fn every_frame_keeps_its_time_and_duration() {
    init();
    let Some(clip) = footage("noface_face.mov") else { return };
    let input = times(&decode(&clip));
    assert!(input.len() > 100 && input.iter().all(|(time, _)| time.is_some()));
    let element = format!("fomreenact source-location=\"{}\"", portrait().display());
    assert_eq!(times(&format!("{} ! {element}", decode(&clip))), input);
    assert_eq!(times(&format!("{} ! deepfakedetect", decode(&clip))), input);
}

/// First and last presentation times of the video and of the sound in a file, after demuxing.
fn stream_times(path: &std::path::Path) -> [(gst::ClockTime, gst::ClockTime); 2] {
    let description = format!(
        "filesrc location=\"{}\" ! qtdemux name=demuxer \
         demuxer.video_0 ! queue ! h264parse ! fakesink name=video sync=false signal-handoffs=true \
         demuxer.audio_0 ! queue ! aacparse ! fakesink name=sound sync=false signal-handoffs=true",
        path.display()
    );
    let pipeline = gst::parse::launch(&description).unwrap().downcast::<gst::Pipeline>().unwrap();
    let collect = |name: &str| {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = pipeline.by_name(name).unwrap();
        let pad = sink.static_pad("sink").unwrap();
        let inner = seen.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let segment = pad.sticky_event::<gst::event::Segment>(0).unwrap();
            let segment = segment.segment().clone().downcast::<gst::ClockTime>().unwrap();
            if let Some(time) = info.buffer().and_then(|b| segment.to_running_time(b.pts())) {
                inner.lock().unwrap().push(time);
            }
            gst::PadProbeReturn::Ok
        });
        seen
    };
    let (video, sound) = (collect("video"), collect("sound"));
    pipeline.set_state(gst::State::Playing).unwrap();
    let message = pipeline.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_seconds(60),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert!(matches!(message.as_ref().map(|m| m.type_()), Some(gst::MessageType::Eos)), "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    [video, sound].map(|seen| {
        let seen = seen.lock().unwrap();
        (*seen.iter().min().unwrap(), *seen.iter().max().unwrap())
    })
}

#[test]
fn sound_stays_in_sync_within_a_frame() {
    init();
    let Some(clip) = footage("face_noface.mov") else { return };
    let folder = tempfile::tempdir().unwrap();
    // The same file with and without the element: what the encoder and the muxer do to times falls out.
    let write = |name: &str, element: &str| {
        let path = folder.path().join(name);
        let ended = run_to_end(
            &format!(
                "{} ! videorate ! video/x-raw,framerate=25/1 ! {element} ! videoconvert ! video/x-raw,format=I420 ! \
                 x264enc speed-preset=ultrafast tune=zerolatency ! h264parse ! mp4mux name=muxer ! filesink location=\"{}\" \
                 audiotestsrc wave=ticks num-buffers=260 samplesperbuffer=1024 ! audio/x-raw,rate=44100 ! \
                 audioconvert ! voaacenc ! aacparse ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! muxer.",
                decode(&clip),
                path.display()
            ),
            Duration::from_secs(120),
        );
        assert_eq!(ended.error, None);
        stream_times(&path)
    };
    let before = write("before.mp4", "identity");
    let after = write("after.mp4", &format!("fomreenact source-location=\"{}\"", portrait().display()));
    println!("before {before:?}\nafter  {after:?}");
    let frame = gst::ClockTime::from_mseconds(40);
    for (a, b) in before.iter().zip(&after) {
        assert!(a.0.absdiff(b.0) < frame && a.1.absdiff(b.1) < frame, "{before:?} {after:?}");
    }
}
