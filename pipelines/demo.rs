//! The main job from end to end, as an application would embed it: a portrait is animated by a driving video, and the
//! detector looks at both the real and the animated footage. `pipelines/demo.sh` sets up and calls it.
//!
//! `demo --driver FILE --portrait FILE --out DIR` writes
//! * `reenact.mp4`: driver, portrait and result side by side, with the driver's sound where there is any;
//! * `reenacted.mp4`: the result alone;
//! * `detect.mp4`: the detector's overlay over the real and over the reenacted footage, side by side;
//! * `detect.jsonl`: what the detector says of each frame of the two clips.

mod playing;

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use gst::prelude::*;
use playing::{
    launch, panel_width, play, portrait_panel, set, stage_times, static_pad, when_decoded, Output, Pass,
    Result, I420, PANEL,
};

struct Arguments {
    driver: PathBuf,
    portrait: PathBuf,
    out: PathBuf,
}

fn arguments(mut words: impl Iterator<Item = OsString>) -> Result<Arguments> {
    let (mut driver, mut portrait, mut out) = (None, None, None);
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
    match run(env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is written.
struct Outputs {
    side_by_side: Output,
    reenacted: Output,
    overlays: Output,
    report: Output,
    /// Of the two clips; they are never completed, since only the report that joins them is kept.
    clip_reports: [Output; 2],
}

impl Outputs {
    const NAMES: [&str; 4] = ["reenact.mp4", "reenacted.mp4", "detect.mp4", "detect.jsonl"];

    /// All of them before anything runs, so that what is refused is refused at once.
    fn new(arguments: &Arguments) -> Result<Self> {
        let inputs = [arguments.driver.as_path(), &arguments.portrait];
        let output = |name: &str| Output::new(&arguments.out.join(name), &inputs);
        let [side_by_side, reenacted, overlays, report] = Self::NAMES.map(output);
        Ok(Self {
            side_by_side: side_by_side?,
            reenacted: reenacted?,
            overlays: overlays?,
            report: report?,
            clip_reports: [output(".detect-real.jsonl")?, output(".detect-reenacted.jsonl")?],
        })
    }
}

/// Does what the words of a command line ask for.
pub fn run(words: impl Iterator<Item = OsString>) -> Result<()> {
    let arguments = arguments(words)?;
    for file in [&arguments.driver, &arguments.portrait] {
        fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    fs::create_dir_all(&arguments.out)?;
    let outputs = Outputs::new(&arguments)?;
    gst::init()?;
    let reenactment = reenact(&arguments, &outputs)?;
    let detection = detect(&arguments, &outputs)?;
    print_table(&reenactment, &detection);
    for name in Outputs::NAMES {
        println!("wrote {}", arguments.out.join(name).display());
    }
    Ok(())
}

fn reenact(arguments: &Arguments, outputs: &Outputs) -> Result<Pass> {
    let encoder = "x264enc speed-preset=veryfast bitrate=2500 ! h264parse ! mp4mux";
    let pipeline = launch(&format!(
        "filesrc name=driver ! decodebin name=decoder \
         deinterlace name=video ! videoconvert ! {I420} ! tee name=driving \
         driving. ! queue max-size-time=0 max-size-bytes=0 ! videoscale ! video/x-raw,height={PANEL},pixel-aspect-ratio=1/1 ! sides.sink_0 \
         {} \
         driving. ! queue ! fomreenact name=reenact ! video/x-raw,format=I420,width={PANEL},height={PANEL} ! tee name=result \
         result. ! queue ! sides.sink_2 \
         result. ! queue ! {encoder} ! filesink name=reenacted \
         compositor name=sides sink_1::repeat-after-eos=true ! video/x-raw,format=I420 ! queue ! x264enc speed-preset=veryfast bitrate=4000 ! \
           h264parse ! mp4mux name=muxer ! filesink name=file",
        portrait_panel("sink_1")
    ))?;
    set(&pipeline, "driver", "location", &arguments.driver)?;
    set(&pipeline, "portrait", "location", &arguments.portrait)?;
    set(&pipeline, "reenact", "source-location", &arguments.portrait)?;
    set(&pipeline, "reenacted", "location", outputs.reenacted.part())?;
    set(&pipeline, "file", "location", outputs.side_by_side.part())?;

    when_decoded(&pipeline, link_video)?;
    let pass = play(&pipeline, "reenact", &["reenact"])?;
    outputs.side_by_side.complete()?;
    outputs.reenacted.complete()?;
    Ok(pass)
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

/// What the detector says of the two clips.
struct Detection {
    pass: Pass,
    scores: [Option<f64>; 2],
}

const CLIPS: [&str; 2] = ["real", "reenacted"];

fn detect(arguments: &Arguments, outputs: &Outputs) -> Result<Detection> {
    let clip = |index: usize| {
        let name = CLIPS[index];
        format!(
            "filesrc name={name} ! decodebin ! deinterlace ! videoconvert ! {I420} ! deepfakedetect name=detect-{name} overlay=true ! \
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
    set(&pipeline, "file", "location", outputs.overlays.part())?;
    let reports = outputs.clip_reports.each_ref().map(Output::part);
    let clips = [arguments.driver.as_path(), outputs.reenacted.path()];
    for (name, (file, report)) in CLIPS.iter().zip(clips.into_iter().zip(reports)) {
        set(&pipeline, name, "location", file)?;
        set(&pipeline, &format!("detect-{name}"), "report-location", report)?;
    }
    let pass = play(&pipeline, "detect", &["detect-real", "detect-reenacted"])?;
    let scores = merge_reports(&reports, outputs.report.part())?;
    outputs.overlays.complete()?;
    outputs.report.complete()?;
    Ok(Detection { pass, scores })
}

/// Joins the reports of the clips into one, each line saying which clip it is about, and gives the mean score of each.
fn merge_reports(reports: &[&Path; 2], merged: &Path) -> Result<[Option<f64>; 2]> {
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
    }
    out.flush()?;
    Ok(means)
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
