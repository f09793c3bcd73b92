/**
 * SECTION:element-deepfakedetect
 * @short_description: tells how likely the faces of a video were synthesised
 *
 * Finds the faces of every frame, or takes those that an element upstream found, follows them over time, and
 * classifies each by the artifacts that warping a synthesised face into a picture leaves. Scores range from 0
 * (real) to 1 (fake). The pixels stay as they are unless #deepfakedetect:overlay is on.
 *
 * What is found is attached to every buffer as `GstVideoRegionOfInterestMeta` of type `face`, with the parameters
 * `deepfake`: `track-id`, `x`, `y`, `w`, `h`, `detection-confidence`, `score`, `smoothed-score`, `label` (`real`,
 * `fake` or `uncertain`), `marked` (the frame says of itself that it is synthetic) and `stale` (repeated from an
 * earlier frame, see #deepfakedetect:interval).
 *
 * Faces are measured in pixels: where these are not square a warning says so; put
 * `videoscale ! video/x-raw,pixel-aspect-ratio=1/1` before.
 *
 * With TensorRT (#deepfakedetect:backend) the networks run on an NVIDIA GPU, and frames may be in CUDA memory as well as
 * in system memory; they go on in the memory in which they come. The CUDA context is the one that all CUDA elements of
 * the pipeline share; where none has one, #deepfakedetect:device-id says on which GPU it is made. CUDA memory needs
 * libgstcuda of GStreamer's "bad" plugins.
 *
 * Engines are built for the GPU at the first start, which takes seconds with TensorRT for RTX and up to minutes with
 * full TensorRT, and kept in #deepfakedetect:engine-cache-dir. The change to PAUSED waits for that. Meanwhile messages
 * tell how far it is; an application whose thread waits gets them in a synchronous handler of the bus, or in another
 * thread.
 *
 * Element messages:
 *
 * * `deepfakedetect`, one a frame: `timestamp`, `stream-time`, `running-time`, `width`, `height`, `marked`, and
 *   `faces`, an array of structures with the fields above;
 * * `deepfakedetect-summary`, at the end of a stream: `frames`, `mean`, `max`, `verdict`, and `tracks`, an array
 *   of structures with `track-id`, `frames`, `mean`, `max` and `verdict`;
 * * `deepfakedetect-status`, at the start, with a field `status`: `engine-progress` while the engine of `network` is
 *   built, `percent` of it so far or all of it (`done`); then `backend`, with `backend`, its `version`, the `device` that
 *   it runs on, its `precision`, and the `reason` why it was taken.
 *
 * Every frame is analysed and goes on. Where that takes longer than a frame lasts, a live pipeline falls behind.
 * `qos=true` bounds its latency: frames that are late at the sink are then dropped before they are analysed. So does
 * `queue leaky=downstream max-size-buffers=1` before the element, and #deepfakedetect:interval makes it quicker.
 *
 * #deepfakedetect:report-location gets the same as JSON, one object a line, told apart by `type` (`frame` or
 * `summary`).
 *
 * ## Example launch lines
 *
 * |[
 * gst-launch-1.0 -m filesrc location=clip.mp4 ! decodebin ! videoconvert ! deepfakedetect ! fakesink
 * ]| Prints the scores of every frame of a file.
 *
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! deepfakedetect overlay=true interval=5 ! videoconvert ! autovideosink
 * ]| Shows the camera with a box about every face, classified in every fifth frame.
 *
 * |[
 * gst-launch-1.0 filesrc location=clip.mp4 ! decodebin ! videoconvert ! deepfakedetect post-messages=false
 *     report-location=clip.jsonl ! fakesink
 * ]| Writes the scores to a file.
 *
 * |[
 * gst-launch-1.0 -m filesrc location=clip.mp4 ! qtdemux ! h264parse ! nvh264dec ! deepfakedetect backend=tensorrt !
 *     fakesink
 * ]| Decodes and scores on the GPU.
 */
use std::{
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use deepfake_models::{
    detect::{Analysis, InspectSettings, Inspector},
    Stage,
};
use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};

use super::settings::{self, Faces, Settings};
use crate::{
    engine::{self, Listener},
    frame,
    gpu::Gpu,
    latency::{self, Latency},
    marking,
    meta::{self, FrameRecord, SummaryRecord, Times},
    report::Report,
    stats::Stats,
    video::{self, Memories, Video},
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("deepfakedetect", gst::DebugColorFlags::empty(), Some("Deepfake detection"))
});

/// What lives from start to stop.
struct State {
    inspector: Inspector,
    applied: InspectSettings,
    video: Option<Video>,
    report: Option<Report>,
    stream_id: Option<String>,
    /// Frames were analysed that no summary covers.
    summary_due: bool,
}

/// The element.
pub struct DeepfakeDetect {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    gpu: Gpu,
    stats: Mutex<Stats>,
    latency: Mutex<Latency>,
}

/// A panic elsewhere has been reported as an error by then; the data is replaced at the next start.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for DeepfakeDetect {
    const NAME: &'static str = "GstDeepfakeDetect";
    type Type = super::DeepfakeDetect;
    type ParentType = gst_base::BaseTransform;

    fn new() -> Self {
        let stages = [Stage::Track, Stage::Sample, Stage::Classify, Stage::Wait];
        Self {
            settings: Mutex::default(),
            state: Mutex::default(),
            gpu: Gpu::default(),
            stats: Mutex::new(Stats::new(
                "deepfakedetect-stats",
                &["frames", "dropped", "faces", "marked"],
                &stages,
            )),
            latency: Mutex::default(),
        }
    }
}

impl ObjectImpl for DeepfakeDetect {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::properties()
    }

    fn constructed(&self) {
        self.parent_constructed();
        // BaseTransform would drop late frames altogether, also those of a recording that nobody waits for.
        self.obj().set_property("qos", false);
        // Metadata is attached to every buffer.
        self.obj().set_passthrough(false);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        gst::debug!(CAT, imp = self, "{} = {:?}", pspec.name(), value);
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => lock(&self.stats).structure().to_value(),
            name => lock(&self.settings).get(name),
        }
    }
}

impl GstObjectImpl for DeepfakeDetect {}

impl ElementImpl for DeepfakeDetect {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Deepfake detector",
                "Filter/Analyzer/Video",
                "Tells how likely the faces of a video were synthesised",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = video::caps(Memories::SystemAndCuda);
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .into_iter()
                .filter_map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
                })
                .collect()
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::NullToReady {
            let settings = lock(&self.settings).engine.clone();
            self.gpu.prepare(self.obj().upcast_ref(), &settings);
        }
        let result = self.parent_change_state(transition);
        if transition == gst::StateChange::ReadyToNull {
            // What was found on the way to READY belongs to this pipeline, not to the next that the element may be put in.
            self.gpu.stop();
        }
        result
    }

    fn set_context(&self, context: &gst::Context) {
        let settings = lock(&self.settings).engine.clone();
        self.gpu.set_context(self.obj().upcast_ref(), context, &settings);
        self.parent_set_context(context);
    }
}

impl BaseTransformImpl for DeepfakeDetect {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let (mut inspector, report) = self.load(&settings).inspect_err(|_| self.gpu.stop())?;
        self.gpu.started(engine::on_gpu(inspector.report()));
        let applied = settings.inspect();
        inspector.set_settings(&applied);
        let status = engine::status("deepfakedetect-status", inspector.report());
        gst::info!(CAT, imp = self, "{status}");

        lock(&self.stats).reset();
        *lock(&self.latency) = Latency::default();
        let state = State { inspector, applied, video: None, report, stream_id: None, summary_due: false };
        *lock(&self.state) = Some(state);
        self.post(status);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        // A user who stops in mid-stream wants the summary as well.
        self.summarise(false);
        *lock(&self.state) = None;
        self.gpu.stop();
        Ok(())
    }

    fn transform_caps(
        &self,
        _direction: gst::PadDirection,
        caps: &gst::Caps,
        filter: Option<&gst::Caps>,
    ) -> Option<gst::Caps> {
        // Frames pass in the memory in which they come.
        let same = self.caps().intersect_with_mode(caps, gst::CapsIntersectMode::First);
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&same, gst::CapsIntersectMode::First),
            None => same,
        })
    }

    fn accept_caps(&self, _direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        // The base class would accept what the pad's template lists.
        caps.is_subset(&self.caps())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let video = Video::from_caps(incaps)
            .map_err(|_| gst::loggable_error!(CAT, "these caps are no video: {}", incaps))?;
        let mut advice = None;
        if let Some(state) = lock(&self.state).as_mut() {
            advice = video::square_pixels_advice(state.video.as_ref(), &video);
            if state.video.as_ref().is_some_and(|old| !old.has_size_of(&video)) {
                // Nothing is where it was.
                state.inspector.flush();
            }
            state.video = Some(video);
        }
        if let Some(advice) = advice {
            gst::element_imp_warning!(self, gst::StreamError::Format, ("{}", advice), ["{}", incaps]);
        }
        Ok(())
    }

    fn propose_allocation(
        &self,
        _decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        // Buffers go on as they come: what upstream may attach to them or take them from is downstream's to say.
        self.parent_propose_allocation(None, query)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if query.type_() == gst::QueryType::Context && self.gpu.answer(self.obj().upcast_ref(), query) {
            return true;
        }
        if direction == gst::PadDirection::Src {
            if let gst::QueryViewMut::Latency(query) = query.view_mut() {
                return latency::answer(self.obj().sink_pad(), query, lock(&self.latency).reported());
            }
        }
        BaseTransformImplExt::parent_query(self, direction, query)
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Eos(_) => self.summarise(true),
            gst::EventView::StreamStart(start) => self.start_stream(start.stream_id()),
            gst::EventView::FlushStop(_) => {
                if let Some(state) = lock(&self.state).as_mut() {
                    state.inspector.flush();
                }
            }
            _ => (),
        }
        self.parent_sink_event(event)
    }

    fn submit_input_buffer(
        &self,
        is_discont: bool,
        inbuf: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let result = self.parent_submit_input_buffer(is_discont, inbuf);
        if result == Ok(gst_base::BASE_TRANSFORM_FLOW_DROPPED) {
            lock(&self.stats).count("dropped", 1);
        }
        result
    }

    fn transform_ip(&self, buf: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let settings = lock(&self.settings).clone();
        if settings.bypass {
            return Ok(gst::FlowSuccess::Ok);
        }
        let started = Instant::now();
        let (record, times) = self.analyse(&settings, buf).map_err(|message| {
            self.post_error_message(message);
            gst::FlowError::Error
        })?;
        let took = started.elapsed();
        if settings.post_messages {
            self.post(record.structure());
        }
        {
            let mut stats = lock(&self.stats);
            stats.count("frames", 1);
            stats.count("faces", record.faces() as u64);
            stats.count("marked", u64::from(record.marked()));
            stats.record(&times, took);
        }
        let drifted = lock(&self.latency).record(took);
        if drifted {
            let obj = self.obj();
            let _ = obj.post_message(gst::message::Latency::builder().src(&*obj).build());
        }
        Ok(gst::FlowSuccess::Ok)
    }
}

impl DeepfakeDetect {
    /// Loads the networks and makes the report's file.
    fn load(&self, settings: &Settings) -> Result<(Inspector, Option<Report>), gst::ErrorMessage> {
        let element = self.obj();
        let device = self
            .gpu
            .find_device(element.upcast_ref(), &settings.engine)
            .inspect_err(|reason| gst::info!(CAT, imp = self, "system memory only: {reason}"))
            .ok();
        let listener = Listener { element: element.upcast_ref(), status: "deepfakedetect-status" };
        let inspector = Inspector::load(&settings.options(device, &listener))
            .map_err(|error| engine::error_message(&error))?;
        let report = settings.report_location.clone().map(Report::create_for_element).transpose()?;
        Ok((inspector, report))
    }

    /// What either pad can take.
    fn caps(&self) -> gst::Caps {
        let settings = lock(&self.settings).engine.clone();
        video::caps(self.gpu.memories(&settings))
    }

    /// Analyses `buf`, attaches what is found, draws it if asked, and reports it to the file.
    fn analyse(
        &self,
        settings: &Settings,
        buf: &mut gst::BufferRef,
    ) -> Result<(FrameRecord, deepfake_models::StageTimes), gst::ErrorMessage> {
        let marked = settings.read_marking && marking::is_marked(buf);
        let times = Times::new(buf, &self.obj().segment());
        let time = buf.pts().map(Duration::from);
        let regions = match settings.faces {
            Faces::Detector => None,
            Faces::Metadata => Some(meta::regions(buf)),
            // Upstream that finds no face looks like no upstream.
            Faces::Auto => Some(meta::regions(buf)).filter(|regions| !regions.is_empty()),
        };

        let context = self.gpu.context();
        let context = context.as_ref();
        let mut guard = lock(&self.state);
        let Some(State { inspector, applied, video: Some(video), report, summary_due, .. }) = guard.as_mut()
        else {
            return Err(gst::error_msg!(gst::CoreError::Negotiation, ["a buffer came before its caps"]));
        };
        let wanted = settings.inspect();
        if *applied != wanted {
            inspector.set_settings(&wanted);
            *applied = wanted;
        }
        let analysis: Analysis =
            frame::read(buf, video, context, |frame| inspector.process(frame, time, regions.as_deref()))?
                .map_err(|error| engine::error_message(&error))?;
        let record = FrameRecord::new(&analysis, times, &video.info, marked);
        *summary_due = true;
        if settings.overlay {
            frame::write(buf, video, context, |frame| inspector.draw_overlay(&analysis, frame))?
                .map_err(|error| engine::error_message(&error))?;
        }
        let failed = report.as_mut().and_then(|r| r.write(&record).err().map(|e| r.failure(&e)));
        drop(guard);

        record.attach(buf);
        self.warn(failed);
        Ok((record, analysis.times))
    }

    /// Tells what the stream held, on the bus and in the file, and closes that. `always`: even if no frame came
    /// since the last summary.
    fn summarise(&self, always: bool) {
        let post = lock(&self.settings).post_messages;
        let mut failed = None;
        let mut record = None;
        if let Some(state) = lock(&self.state).as_mut() {
            if always || state.summary_due {
                state.summary_due = false;
                let summary = SummaryRecord::from(&state.inspector.summary());
                if let Some(report) = &mut state.report {
                    failed = report
                        .write(&summary)
                        .and_then(|()| report.close())
                        .err()
                        .map(|e| report.failure(&e));
                }
                record = Some(summary);
            }
        }
        self.warn(failed);
        if let Some(record) = record.filter(|_| post) {
            self.post(record.structure());
        }
    }

    /// A stream that follows another without an end of the first has its own tracks and summary.
    fn start_stream(&self, id: &str) {
        let another =
            lock(&self.state).as_ref().is_some_and(|s| s.stream_id.as_deref().is_some_and(|old| old != id));
        if another {
            self.summarise(false);
        }
        if let Some(state) = lock(&self.state).as_mut() {
            if another {
                state.inspector.reset();
            }
            state.stream_id = Some(id.to_owned());
        }
    }

    fn warn(&self, failed: Option<String>) {
        if let Some(text) = failed {
            gst::element_imp_warning!(self, gst::ResourceError::Write, ("{}", text));
        }
    }

    fn post(&self, structure: gst::Structure) {
        let obj = self.obj();
        // Without a bus nobody wants to know.
        let _ = obj.post_message(gst::message::Element::builder(structure).src(&*obj).build());
    }
}
