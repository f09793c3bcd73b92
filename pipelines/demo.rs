//! The main job from end to end, as an application would embed it: a portrait is animated by a driving video, and the
//! detector looks at both the real and the animated footage. `pipelines/demo.sh` sets up and calls it.
//!
//! `demo --driver FILE --portrait FILE --out DIR` writes
//! * `reenact.mp4`: driver, portrait and result side by side, with the driver's sound where there is any;
//! * `reenacted.mp4`: the result alone;
//! * `detect.mp4`: the detector's overlay over the real and over the reenacted footage, side by side;
//! * `detect.jsonl`: what the detector says of each frame of the two clips.

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use gst::prelude::*;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Height of every picture in the side-by-side videos, in pixels.
const PANEL: i32 = 360;

struct Arguments {
    driver: PathBuf,
    portrait: PathBuf,
    out: PathBuf,
}

fn arguments() -> Result<Arguments> {
    let (mut driver, mut portrait, mut out) = (None, None, None);
    let mut words = env::args_os().skip(1);
    while let Some(word) = words.next() {
        let slot = match word.to_str() {
            Some("--driver") => &mut driver,
            Some("--portrait") => &mut portrait,
            Some("--out") => &mut out,
            _ => {
                return Err(
                    format!("what is {word:?}? Usage: demo --driver FILE --portrait FILE --out DIR").into()
                )
            }
        };
        let value = words.next().ok_or_else(|| format!("{word:?} needs a value"))?;
        *slot = Some(PathBuf::from(value));
    }
    let need = |slot: Option<PathBuf>, name| slot.ok_or_else(|| format!("--{name} is missing"));
    Ok(Arguments {
        driver: need(driver, "driver")?,
        portrait: need(portrait, "portrait")?,
        out: need(out, "out")?,
    })
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = arguments()?;
    for file in [&arguments.driver, &arguments.portrait] {
        fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    fs::create_dir_all(&arguments.out)?;
    gst::init()?;
    let reenacted = arguments.out.join("reenacted.mp4");
    let reenactment = reenact(&arguments, &reenacted)?;
    let detection = detect(&arguments, &reenacted)?;
    print_table(&reenactment, &detection);
    for name in ["reenact.mp4", "reenacted.mp4", "detect.mp4", "detect.jsonl"] {
        println!("wrote {}", arguments.out.join(name).display());
    }
    Ok(())
}

/// How a pass went.
struct Pass {
    frames: u64,
    took: Duration,
    stats: Vec<gst::Structure>,
}

fn reenact(arguments: &Arguments, reenacted: &Path) -> Result<Pass> {
    let encoder = "x264enc speed-preset=veryfast bitrate=2500 ! h264parse ! mp4mux";
    let pipeline = launch(&format!(
        "filesrc name=driver ! decodebin name=decoder \
         deinterlace name=video ! videoconvert ! video/x-raw,format=I420 ! tee name=driving \
         driving. ! queue max-size-time=0 max-size-bytes=0 ! videoscale ! video/x-raw,height={PANEL},pixel-aspect-ratio=1/1 ! sides.sink_0 \
         filesrc name=portrait ! decodebin ! videoconvert ! videoscale add-borders=true ! \
           video/x-raw,format=I420,width={PANEL},height={PANEL},pixel-aspect-ratio=1/1 ! sides.sink_1 \
         driving. ! queue ! fomreenact name=reenact ! video/x-raw,format=I420,width={PANEL},height={PANEL} ! tee name=result \
         result. ! queue ! sides.sink_2 \
         result. ! queue ! {encoder} ! filesink name=reenacted \
         compositor name=sides sink_1::repeat-after-eos=true ! video/x-raw,format=I420 ! queue ! x264enc speed-preset=veryfast bitrate=4000 ! \
           h264parse ! mp4mux name=muxer ! filesink name=file"
    ))?;
    set(&pipeline, "driver", "location", &arguments.driver)?;
    set(&pipeline, "portrait", "location", &arguments.portrait)?;
    set(&pipeline, "reenact", "source-location", &arguments.portrait)?;
    set(&pipeline, "reenacted", "location", reenacted)?;
    set(&pipeline, "file", "location", &arguments.out.join("reenact.mp4"))?;

    let decoder = pipeline.by_name("decoder").ok_or("no decoder")?;
    let weak = pipeline.downgrade();
    decoder.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let linked = match media_type(pad).as_deref() {
            Some("video/x-raw") => link_video(&pipeline, pad),
            Some("audio/x-raw") => link_sound(&pipeline, pad),
            _ => Ok(()),
        };
        if let Err(error) = linked {
            gst::element_error!(pipeline, gst::StreamError::Failed, ("{}", error));
        }
    });
    play(&pipeline, "reenact", &["reenact"])
}

fn media_type(pad: &gst::Pad) -> Option<String> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    caps.structure(0).map(|s| s.name().to_string())
}

/// Puts the panels side by side, now that the driver's width is known, and lets the video flow.
fn link_video(pipeline: &gst::Pipeline, pad: &gst::Pad) -> Result<()> {
    let sink = static_pad(pipeline, "video", "sink")?;
    if sink.is_linked() {
        return Ok(());
    }
    let width = panel_width(pad).ok_or("the driver's size is not known")?;
    for (name, position) in [("sink_1", width), ("sink_2", width + PANEL)] {
        static_pad(pipeline, "sides", name)?.set_property("xpos", position);
    }
    pad.link(&sink)?;
    Ok(())
}

/// Width of a video scaled to the panel's height, as `videoscale` will compute it.
fn panel_width(pad: &gst::Pad) -> Option<i32> {
    let caps = pad.current_caps()?;
    let video = caps.structure(0)?;
    let (width, height) = (video.get::<i32>("width").ok()?, video.get::<i32>("height").ok()?);
    let aspect = video.get::<gst::Fraction>("pixel-aspect-ratio").unwrap_or(gst::Fraction::new(1, 1));
    let exact = f64::from(width) * f64::from(aspect.numer()) / f64::from(aspect.denom()) / f64::from(height);
    // Encoders of 4:2:0 want even widths.
    Some(((exact * f64::from(PANEL)).round() as i32 + 1) & !1)
}

fn link_sound(pipeline: &gst::Pipeline, pad: &gst::Pad) -> Result<()> {
    let bin = gst::parse::bin_from_description(
        "queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! audioconvert ! audioresample ! avenc_aac ! aacparse ! queue",
        true,
    )?;
    pipeline.add(&bin)?;
    bin.link(&pipeline.by_name("muxer").ok_or("no muxer")?)?;
    bin.sync_state_with_parent()?;
    pad.link(&bin.static_pad("sink").ok_or("the sound branch has no sink")?)?;
    Ok(())
}

/// What the detector says of the two clips.
struct Detection {
    pass: Pass,
    scores: [Option<f64>; 2],
}

const CLIPS: [&str; 2] = ["real", "reenacted"];

fn detect(arguments: &Arguments, reenacted: &Path) -> Result<Detection> {
    let clip = |index: usize| {
        let name = CLIPS[index];
        format!(
            "filesrc name={name} ! decodebin ! deinterlace ! videoconvert ! video/x-raw,format=I420 ! deepfakedetect name=detect-{name} overlay=true ! \
             videoconvert ! videoscale add-borders=true ! video/x-raw,format=I420,width=480,height={PANEL},pixel-aspect-ratio=1/1 ! \
             queue ! sides.sink_{index} "
        )
    };
    let pipeline = launch(&format!(
        "{}{}compositor name=sides sink_1::xpos=480 ! video/x-raw,format=I420 ! queue ! \
         x264enc speed-preset=veryfast bitrate=3000 ! h264parse ! mp4mux ! filesink name=file",
        clip(0),
        clip(1)
    ))?;
    set(&pipeline, "file", "location", &arguments.out.join("detect.mp4"))?;
    let report = |name: &str| arguments.out.join(format!(".detect-{name}.jsonl"));
    for (name, file) in CLIPS.iter().zip([arguments.driver.as_path(), reenacted]) {
        set(&pipeline, name, "location", file)?;
        set(&pipeline, &format!("detect-{name}"), "report-location", &report(name))?;
    }
    let pass = play(&pipeline, "detect", &["detect-real", "detect-reenacted"])?;
    let scores = merge_reports(&CLIPS.map(report), &arguments.out.join("detect.jsonl"))?;
    Ok(Detection { pass, scores })
}

/// Joins the reports of the clips into one, each line saying which clip it is about, and gives the mean score of each.
fn merge_reports(reports: &[PathBuf; 2], merged: &Path) -> Result<[Option<f64>; 2]> {
    let mut out = BufWriter::new(fs::File::create(merged)?);
    let mut means = [None; 2];
    for ((clip, report), mean) in CLIPS.iter().zip(reports).zip(&mut means) {
        let (mut sum, mut count) = (0.0, 0u32);
        for line in BufReader::new(fs::File::open(report)?).lines() {
            let mut value: serde_json::Value = serde_json::from_str(&line?)?;
            for face in value["faces"].as_array().into_iter().flatten() {
                if let Some(score) = face["score"].as_f64() {
                    sum += score;
                    count += 1;
                }
            }
            value["clip"] = (*clip).into();
            writeln!(out, "{value}")?;
        }
        *mean = (count > 0).then(|| sum / f64::from(count));
        fs::remove_file(report)?;
    }
    out.flush()?;
    Ok(means)
}

fn launch(description: &str) -> Result<gst::Pipeline> {
    let element = gst::parse::launch(description)
        .map_err(|e| format!("{e}; is the plugin in GST_PLUGIN_PATH? pipelines/setup.sh builds it"))?;
    element.downcast().map_err(|_| "not a pipeline".into())
}

fn set(pipeline: &gst::Pipeline, element: &str, property: &str, path: &Path) -> Result<()> {
    let element = pipeline.by_name(element).ok_or_else(|| format!("no element '{element}'"))?;
    element.set_property(property, path.to_str().ok_or("paths must be UTF-8")?);
    Ok(())
}

fn static_pad(pipeline: &gst::Pipeline, element: &str, pad: &str) -> Result<gst::Pad> {
    let element = pipeline.by_name(element).ok_or_else(|| format!("no element '{element}'"))?;
    element.static_pad(pad).ok_or_else(|| format!("no pad '{pad}'").into())
}

/// Plays a pipeline to its end, showing how far it is by the frames that leave the first of `elements`.
fn play(pipeline: &gst::Pipeline, title: &str, elements: &[&str]) -> Result<Pass> {
    let frames = Arc::new(AtomicU64::new(0));
    let counted = frames.clone();
    static_pad(pipeline, elements[0], "src")?.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    let start = Instant::now();
    let result = wait(pipeline, title, &frames, start);
    let took = start.elapsed();
    let stats = elements
        .iter()
        .filter_map(|name| Some(pipeline.by_name(name)?.property::<gst::Structure>("stats")))
        .collect();
    pipeline.set_state(gst::State::Null)?;
    result?;
    Ok(Pass { frames: frames.load(Ordering::Relaxed), took, stats })
}

fn wait(pipeline: &gst::Pipeline, title: &str, frames: &AtomicU64, start: Instant) -> Result<()> {
    let bus = pipeline.bus().ok_or("no bus")?;
    // A failure to start is told on the bus, with its reason.
    let started = pipeline.set_state(gst::State::Playing);
    let terminal = std::io::stderr().is_terminal();
    let interval = gst::ClockTime::from_mseconds(if terminal { 250 } else { 2000 });
    loop {
        let Some(message) = bus.timed_pop(interval) else {
            if started.is_err() {
                return Err(format!("{title}: the pipeline does not start").into());
            }
            show_progress(pipeline, title, frames.load(Ordering::Relaxed), start, terminal);
            continue;
        };
        match message.view() {
            gst::MessageView::Eos(_) => {
                show_progress(pipeline, title, frames.load(Ordering::Relaxed), start, terminal);
                if terminal {
                    eprintln!();
                }
                return Ok(());
            }
            gst::MessageView::Error(error) => {
                return Err(
                    format!("{title}: {} ({})", error.error(), error.debug().unwrap_or_default()).into()
                )
            }
            gst::MessageView::Warning(warning) => eprintln!("{title}: {}", warning.error()),
            _ => {}
        }
    }
}

fn show_progress(pipeline: &gst::Pipeline, title: &str, frames: u64, start: Instant, terminal: bool) {
    let share = pipeline
        .query_position::<gst::ClockTime>()
        .zip(pipeline.query_duration::<gst::ClockTime>())
        .filter(|(_, duration)| !duration.is_zero())
        .map(|(position, duration)| {
            format!(", {:.0} %", 100.0 * position.nseconds() as f64 / duration.nseconds() as f64)
        });
    let text = format!(
        "{title}: {frames} frames, {:.1} fps{}",
        frames as f64 / start.elapsed().as_secs_f64(),
        share.unwrap_or_default()
    );
    if terminal {
        eprint!("\r{text}   ");
    } else {
        eprintln!("{text}");
    }
}

fn print_table(reenactment: &Pass, detection: &Detection) {
    let fps = |pass: &Pass| pass.frames as f64 / pass.took.as_secs_f64();
    println!();
    println!("{:<12} {:>7} {:>7}   median ms a frame by stage", "element", "frames", "fps");
    let rows = [
        ("fomreenact", reenactment, 0),
        ("detect real", &detection.pass, 0),
        ("detect fake", &detection.pass, 1),
    ];
    for (name, pass, index) in rows {
        let stages = pass.stats.get(index).map(stage_times).unwrap_or_default();
        println!("{name:<12} {:>7} {:>7.1}   {stages}", pass.frames, fps(pass));
    }
    println!(
        "(fps: of the whole pipeline with decoding and encoding; the two detectors run at the same time)"
    );
    for (clip, score) in CLIPS.iter().zip(detection.scores) {
        let score = score.map_or("no face".to_owned(), |s| format!("{s:.3}"));
        println!("mean detection score of the {clip} footage: {score} (0 real .. 1 fake)");
    }
    println!();
}

/// The times in an element's statistics.
fn stage_times(stats: &gst::Structure) -> String {
    stats
        .iter()
        .filter_map(|(name, value)| Some(format!("{name} {:.1}", value.get::<f64>().ok()?)))
        .collect::<Vec<_>>()
        .join(", ")
}
