//! What the examples share: a pipeline is made, followed to its end, and its elements' statistics are read.

use std::{
    error::Error,
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, LazyLock,
    },
    time::{Duration, Instant},
};

use gst::prelude::*;
use signal_hook::consts::{SIGINT, SIGTERM};

/// What may fail does so with words for the user.
pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Height of every picture in the side-by-side videos, in pixels.
pub const PANEL: i32 = 360;

/// I420 as videos have it. The compositor takes every I420 for that, so the full range of a webcam's JPEG has to be
/// converted before, or contrast is too strong.
pub const I420: &str = "video/x-raw,format=I420,colorimetry=(string){bt709,bt601}";

/// How a pass went.
pub struct Pass {
    pub frames: u64,
    pub took: Duration,
    pub stats: Vec<gst::Structure>,
}

/// A file to be written. It gets its name only when it is complete; until then it lies beside it as `<name>.part`, so
/// that whatever fails or is interrupted leaves alone what had the name before.
pub struct Output {
    path: PathBuf,
    part: PathBuf,
}

impl Output {
    /// An output of that path, unless it would take the place of one of the `inputs`, or of what is no file.
    pub fn new(path: &Path, inputs: &[&Path]) -> Result<Self> {
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if path.exists() && !path.is_file() {
            return Err(format!("{} is there, but is not a file", path.display()).into());
        }
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        for input in inputs {
            if is_same_file(input, &path) || is_same_file(input, &part) {
                return Err(format!("{} cannot be both read and written", input.display()).into());
            }
        }
        Ok(Self { path, part })
    }

    /// Where it lies when it is complete.
    #[allow(dead_code, reason = "not every example reads what it has written")]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where to write it.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Gives it its name.
    pub fn complete(&self) -> Result<()> {
        fs::rename(&self.part, &self.path).map_err(|e| format!("{}: {e}", self.path.display()).into())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // There is none if the output is complete, or nothing was written.
        let _ = fs::remove_file(&self.part);
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

/// Becomes true when the user wants the process to end, so that it can clean up first. A second wish ends it at once.
fn interrupted() -> Result<&'static AtomicBool> {
    static WISHED: LazyLock<io::Result<Arc<AtomicBool>>> = LazyLock::new(|| {
        let wished = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first wish only sets it, the second finds it set.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, wished.clone())?;
            signal_hook::flag::register(signal, wished.clone())?;
        }
        Ok(wished)
    });
    WISHED.as_deref().map_err(|e| e.to_string().into())
}

/// A pipeline of that description.
pub fn launch(description: &str) -> Result<gst::Pipeline> {
    let element = gst::parse::launch(description)
        .map_err(|e| format!("{e}; is the plugin in GST_PLUGIN_PATH? pipelines/setup.sh builds it"))?;
    element.downcast().map_err(|_| "not a pipeline".into())
}

/// The part of a pipeline that shows the picture in the file of `portrait`, a square, as a panel of the compositor `sides`.
pub fn portrait_panel(pad: &str) -> String {
    // RGB, which the compositor converts as it should; see also `I420`.
    let caps = format!("video/x-raw,format=RGB,width={PANEL},height={PANEL},pixel-aspect-ratio=1/1");
    format!("filesrc name=portrait ! decodebin ! videoconvert ! videoscale add-borders=true ! {caps} ! sides.{pad} ")
}

/// Sets a property of the element of that name to a path.
pub fn set(pipeline: &gst::Pipeline, element: &str, property: &str, path: &Path) -> Result<()> {
    let element = pipeline.by_name(element).ok_or_else(|| format!("no element '{element}'"))?;
    element.set_property(property, path.to_str().ok_or("paths must be UTF-8")?);
    Ok(())
}

/// A pad of the element of that name.
pub fn static_pad(pipeline: &gst::Pipeline, element: &str, pad: &str) -> Result<gst::Pad> {
    let element = pipeline.by_name(element).ok_or_else(|| format!("no element '{element}'"))?;
    element.static_pad(pad).ok_or_else(|| format!("no pad '{pad}'").into())
}

/// Plays a pipeline to its end, showing how far it is by the frames that leave the first of `elements`.
pub fn play(pipeline: &gst::Pipeline, title: &str, elements: &[&str]) -> Result<Pass> {
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
    let interrupted = interrupted()?;
    // A failure to start is told on the bus, with its reason.
    let started = pipeline.set_state(gst::State::Playing);
    let terminal = io::stderr().is_terminal();
    let interval = Duration::from_millis(if terminal { 250 } else { 2000 });
    let mut shown = start;
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Err(format!("{title}: interrupted").into());
        }
        let Some(message) = bus.timed_pop(gst::ClockTime::from_mseconds(250)) else {
            if started.is_err() {
                return Err(format!("{title}: the pipeline does not start").into());
            }
            if shown.elapsed() >= interval {
                show_progress(pipeline, title, frames.load(Ordering::Relaxed), start, terminal);
                shown = Instant::now();
            }
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

/// Has `link_video` link the decoder's pad of video, and the sound, where there is any, go to the muxer. That there is
/// no video is an error.
pub fn when_decoded(
    pipeline: &gst::Pipeline,
    link_video: impl Fn(&gst::Pipeline, &gst::Pad) -> Result<()> + Send + Sync + 'static,
) -> Result<()> {
    let decoder = pipeline.by_name("decoder").ok_or("no decoder")?;
    let weak = pipeline.downgrade();
    let has_video = Arc::new(AtomicBool::new(false));
    let found = has_video.clone();
    decoder.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let linked = match media_type(pad).as_deref() {
            Some("video/x-raw") => {
                found.store(true, Ordering::Relaxed);
                link_video(&pipeline, pad)
            }
            Some("audio/x-raw") => link_sound(&pipeline, pad),
            _ => Ok(()),
        };
        if let Err(error) = linked {
            gst::element_error!(pipeline, gst::StreamError::Failed, ("{}", error));
        }
    });
    let weak = pipeline.downgrade();
    decoder.connect_no_more_pads(move |_| {
        let Some(pipeline) = weak.upgrade() else { return };
        // What waits for the video would wait for ever.
        if !has_video.load(Ordering::Relaxed) {
            gst::element_error!(
                pipeline,
                gst::StreamError::WrongType,
                ("the driver has no video that can be decoded")
            );
        }
    });
    Ok(())
}

fn media_type(pad: &gst::Pad) -> Option<String> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    caps.structure(0).map(|s| s.name().to_string())
}

/// Width of a video scaled to the panel's height, as `videoscale` will compute it.
pub fn panel_width(pad: &gst::Pad) -> Option<i32> {
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
        "queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! audioconvert ! audioresample ! voaacenc ! aacparse ! queue",
        true,
    )?;
    pipeline.add(&bin)?;
    bin.link(&pipeline.by_name("muxer").ok_or("no muxer")?)?;
    bin.sync_state_with_parent()?;
    pad.link(&bin.static_pad("sink").ok_or("the sound branch has no sink")?)?;
    Ok(())
}

/// The times in an element's statistics.
pub fn stage_times(stats: &gst::Structure) -> String {
    stats
        .iter()
        .filter_map(|(name, value)| Some(format!("{name} {:.1}", value.get::<f64>().ok()?)))
        .collect::<Vec<_>>()
        .join(", ")
}
