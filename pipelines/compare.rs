//! Models of face reenactment side by side, as an application would show them: the portrait, the driving video, and what
//! X2Face and a First Order Motion Model make of the two. `pipelines/compare.sh` sets up and calls it.
//!
//! `compare --driver FILE --portrait FILE [--portrait FILE]... --x2face MODEL --fomm MODEL --out FILE` writes one video, with
//! the driver's sound where there is any. X2Face makes one face of all portraits; everything else takes the first.

mod playing;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use deepfake_kernels::{draw_text, text_size, ColorSpace, FrameMut, PixelFormat, PlaneMut};
use deepfake_models::{manifest::Kind, zoo};
use gst::prelude::*;
use gst_app::AppSrc;
use playing::{
    launch, panel_width, play, portrait_panel, set, stage_times, static_pad, when_decoded, Output, Pass,
    Result, I420, PANEL,
};

/// Height of the line of names above the pictures, in pixels.
const LINE: i32 = 40;
/// Height of its letters.
const LETTERS: usize = 21;
const NAMES: [&str; 4] = ["Source", "Driver", "X2Face", "First Order Motion"];
/// The elements behind the last two.
const ELEMENTS: [&str; 2] = ["x2face", "fomm"];
/// What their models must be: the element takes either, and the name above the panel would be wrong.
const KINDS: [Kind; 2] = [Kind::X2face, Kind::Fomm];

struct Arguments {
    driver: PathBuf,
    portraits: Vec<PathBuf>,
    /// As in [`ELEMENTS`].
    models: [String; 2],
    out: PathBuf,
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
    const USAGE: &str =
        "compare --driver FILE --portrait FILE [--portrait FILE]... --x2face MODEL --fomm MODEL --out FILE";
    let (mut driver, mut x2face, mut fomm, mut out) = (None, None, None, None);
    let mut portraits = Vec::new();
    while let Some(word) = words.next() {
        let value = words.next();
        let value = || value.clone().ok_or_else(|| format!("{word} needs a value. Usage: {USAGE}"));
        match word.as_str() {
            "--driver" => driver = Some(value()?),
            "--portrait" => portraits.push(PathBuf::from(value()?)),
            "--x2face" => x2face = Some(value()?),
            "--fomm" => fomm = Some(value()?),
            "--out" => out = Some(value()?),
            _ => return Err(format!("what is {word}? Usage: {USAGE}").into()),
        }
    }
    let need = |slot: Option<String>, name| slot.ok_or_else(|| format!("--{name} is missing"));
    if portraits.is_empty() {
        return Err("--portrait is missing".into());
    }
    Ok(Arguments {
        driver: need(driver, "driver")?.into(),
        portraits,
        models: [need(x2face, "x2face")?, need(fomm, "fomm")?],
        out: need(out, "out")?.into(),
    })
}

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the words of a command line ask for.
pub fn run(words: impl Iterator<Item = String>) -> Result<()> {
    let arguments = arguments(words)?;
    let inputs: Vec<&Path> =
        arguments.portraits.iter().chain([&arguments.driver]).map(PathBuf::as_path).collect();
    for file in &inputs {
        fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    gst::init()?;
    check_kinds(&arguments.models)?;
    if let Some(folder) = arguments.out.parent() {
        fs::create_dir_all(folder)?;
    }
    let output = Output::new(&arguments.out, &inputs)?;
    let pass = compare(&arguments, output.part())?;
    output.complete()?;
    println!();
    for (element, (stats, model)) in ELEMENTS.iter().zip(pass.stats.iter().zip(&arguments.models)) {
        println!("{element:<7} {model}: median ms a frame: {}", stage_times(stats));
    }
    let fps = pass.frames as f64 / pass.took.as_secs_f64();
    println!("{} frames, {fps:.1} fps (of the whole pipeline, both models at the same time)", pass.frames);
    println!("wrote {}", arguments.out.display());
    Ok(())
}

/// Refuses a model that is not of the kind that its option stands for.
fn check_kinds(models: &[String; 2]) -> Result<()> {
    // A name is looked for where the elements do it, which is also beside their plugin.
    let plugin = gst::Registry::get().find_plugin("deepfake").and_then(|plugin| plugin.filename());
    if let Some(folder) = plugin.as_deref().and_then(Path::parent) {
        zoo::set_plugin_folder(folder.to_owned());
    }
    for ((option, kind), model) in ELEMENTS.iter().zip(KINDS).zip(models) {
        let found = zoo::find(model)?.model().kind;
        if found != kind {
            return Err(format!(
                "--{option} takes a model of kind {kind:?}, and {model} is of kind {found:?}"
            )
            .into());
        }
    }
    Ok(())
}

fn compare(arguments: &Arguments, out: &Path) -> Result<Pass> {
    let panel = format!("video/x-raw,format=I420,width={PANEL},height={PANEL},pixel-aspect-ratio=1/1");
    let animated = |element: &str, number: usize| {
        format!("driving. ! queue ! fomreenact name={element} ! {panel} ! queue ! sides.sink_{number} ")
    };
    let pipeline = launch(&format!(
        "filesrc name=driver ! decodebin name=decoder \
         deinterlace name=video ! videoconvert ! {I420} ! tee name=driving \
         {} \
         driving. ! queue max-size-time=0 max-size-bytes=0 ! videoscale ! video/x-raw,height={PANEL},pixel-aspect-ratio=1/1 ! sides.sink_1 \
         {}{} \
         appsrc name=names format=time ! videoconvert ! sides.sink_4 \
         compositor name=sides background=black sink_0::repeat-after-eos=true sink_4::repeat-after-eos=true ! \
           video/x-raw,format=I420 ! queue ! x264enc speed-preset=veryfast bitrate=5000 ! h264parse ! mp4mux name=muxer ! filesink name=file",
        portrait_panel("sink_0"),
        animated(ELEMENTS[0], 2),
        animated(ELEMENTS[1], 3)
    ))?;
    set(&pipeline, "driver", "location", &arguments.driver)?;
    set(&pipeline, "portrait", "location", &arguments.portraits[0])?;
    set(&pipeline, "file", "location", out)?;
    let paths = arguments.portraits.iter().map(|path| path.to_str().ok_or("paths must be UTF-8"));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    for (element, model) in ELEMENTS.iter().zip(&arguments.models) {
        let reenact = pipeline.by_name(element).ok_or("no element")?;
        reenact.set_property("model", model);
        // A first order motion model has no use for more than one.
        let used = if *element == "x2face" { &paths[..] } else { &paths[..1] };
        reenact.set_property("source-locations", gst::Array::new(used));
    }
    when_decoded(&pipeline, link_video)?;
    play(&pipeline, "compare", &ELEMENTS)
}

/// Puts the panels side by side, now that the driver's width is known, and lets the video flow.
fn link_video(pipeline: &gst::Pipeline, pad: &gst::Pad) -> Result<()> {
    let sink = static_pad(pipeline, "video", "sink")?;
    if sink.is_linked() {
        return Ok(());
    }
    let driver = panel_width(pad).ok_or("the driver's size is not known")?;
    let places = [0, PANEL, PANEL + driver, 2 * PANEL + driver];
    for (number, place) in places.into_iter().enumerate() {
        let panel = static_pad(pipeline, "sides", &format!("sink_{number}"))?;
        panel.set_property("xpos", place);
        panel.set_property("ypos", LINE);
    }
    write_names(pipeline, &places.map(|place| place as usize), (3 * PANEL + driver) as usize)?;
    pad.link(&sink)?;
    Ok(())
}

/// Gives the line of names, `width` pixels wide, each name in the middle above its panel, which begins at its place.
fn write_names(pipeline: &gst::Pipeline, places: &[usize; 4], width: usize) -> Result<()> {
    let mut pixels = vec![0u8; 4 * width * LINE as usize];
    let plane = PlaneMut { data: &mut pixels, stride: 4 * width };
    let (format, height) = (PixelFormat::Rgbx, LINE as usize);
    let mut frame = FrameMut::new(format, ColorSpace::default(), width, height, vec![plane])?;
    for (index, name) in NAMES.iter().enumerate() {
        let end = places.get(index + 1).copied().unwrap_or(width);
        let (across, down) = text_size(name, LETTERS);
        let left = (places[index] + end) as i32 / 2 - across as i32 / 2;
        draw_text(&mut frame, left, (LINE - down as i32) / 2, LETTERS, name, [1.0; 3], None);
    }
    let names = pipeline.by_name("names").and_downcast::<AppSrc>().ok_or("no line of names")?;
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "RGBx")
        .field("width", width as i32)
        .field("height", LINE)
        .field("framerate", gst::Fraction::new(0, 1))
        .build();
    names.set_caps(Some(&caps));
    let mut picture = gst::Buffer::from_mut_slice(pixels);
    picture.get_mut().ok_or("a buffer of our own")?.set_pts(gst::ClockTime::ZERO);
    names.push_buffer(picture)?;
    names.end_of_stream()?;
    Ok(())
}
