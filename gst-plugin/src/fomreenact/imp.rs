/**
 * SECTION:element-fomreenact
 * @short_description: animates a portrait by the face of a driving video
 *
 * The face on the pad `sink` (the driver) moves the portrait, by a first order motion model or by X2Face, whichever
 * #fomreenact:model names. The portrait comes from #fomreenact:source-location or from the request pad `source`, which
 * takes a picture or live video; the last one wins. The driver is never shown: not while its face is lost
 * (#fomreenact:on-face-lost), not on an error, and not with #fomreenact:bypass, which shows the still portrait.
 *
 * While the pad `source` is linked and no portrait has come, the driving stream waits. Feed both pads from
 * different streaming threads (a queue behind a tee). Frames on the pad `source` are taken as they come and not
 * synchronised to the driver; put `clocksync` before it to play a file as a moving portrait.
 *
 * The output has the size and format that downstream asks for, and always square pixels. Else it has the model's size, or
 * with #fomreenact:composition `scene`, which shows the portrait's whole picture with the animated face in its place, the
 * size of that picture. Faces are measured in pixels: where the driver's are not square a warning says so; put
 * `videoscale ! video/x-raw,pixel-aspect-ratio=1/1` before. Frame rate, timestamps and durations are those of the
 * driver. Frames that are late at the sink are dropped before they are animated; `qos=false` keeps all.
 *
 * ## Models
 *
 * A first order motion model reads key points off the driver and moves those of the portrait alike, by default by what
 * changed since a reference frame. Of the driver's picture nothing but the key points reaches what paints.
 *
 * X2Face makes one embedded face of up to eight pictures of the person (#fomreenact:source-locations), of which the first
 * is the still portrait and gives the scene. It takes the driver's pose and expression as they are: it has no key points, so
 * #fomreenact:motion, #fomreenact:adapt-scale, #fomreenact:motion-scale, #fomreenact:reference, #fomreenact:smoothing,
 * #fomreenact:keypoints and the signal #fomreenact::calibrate have no effect, no `reference` is told of, and an info message
 * on the bus names those that were set all the same. Its driving network sees the driver's picture, but gives only the
 * places in the embedded face that each pixel is sampled at: no colour of the driver can come out. A graph that makes anything
 * but black of a black face is refused at the start.
 *
 * ## GPU
 *
 * With TensorRT (#fomreenact:backend) the networks and everything between them run on an NVIDIA GPU. Frames then go in
 * and come out in CUDA memory as well as in system memory, each pad for itself; between elements in CUDA memory they
 * never leave the GPU. The CUDA context is the one that all CUDA elements of the pipeline share; where none has one,
 * #fomreenact:device-id says on which GPU it is made. CUDA memory needs libgstcuda of GStreamer's "bad" plugins.
 *
 * Engines are built for the GPU at the first start, which takes seconds with TensorRT for RTX and up to minutes with
 * full TensorRT, and kept in #fomreenact:engine-cache-dir. The change to PAUSED waits for that. Meanwhile messages tell
 * how far it is; an application whose thread waits gets them in a synchronous handler of the bus, or in another thread.
 *
 * ## Metadata
 *
 * Of the driver's metadata only reference timestamps, time codes and captions are kept, and of its tags neither
 * pictures and attachments nor places. By default (#fomreenact:marking) every buffer carries the
 * custom metadata `GstDeepfakeSyntheticMeta` (`generator`, `model`, `digital-source-type`), and the stream the tags
 * `synthetic-media`, `comment` and `keywords`.
 *
 * Element messages `fomreenact-status` have a field `status`:
 *
 * * `engine-progress`: the engine of `network` is built, `percent` of it so far, or all of it (`done`);
 * * `backend`: `backend`, its `version`, the `device` that it runs on, its `precision`, and the `reason` why it was taken;
 * * `reference`: the frame of this `timestamp`, `stream-time` and `running-time` is what relative motion starts from;
 * * `face-lost` and `face-found`: with the same times.
 *
 * ## Example launch lines
 *
 * |[
 * gst-launch-1.0 filesrc location=driver.mp4 ! decodebin ! videoconvert ! fomreenact source-location=portrait.jpg !
 *     videoconvert ! autovideosink
 * ]| Animates a portrait by a file.
 *
 * |[
 * gst-launch-1.0 filesrc location=driver.mp4 ! decodebin ! videoconvert ! fomreenact model=x2face-lite
 *     source-locations="<front.jpg,left.jpg,right.jpg>" ! videoconvert ! autovideosink
 * ]| Animates three pictures of a person by a file, with X2Face.
 *
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! fomreenact name=f ! videoconvert ! autovideosink
 *     filesrc location=portrait.jpg ! decodebin ! videoconvert ! f.source
 * ]| Animates a portrait by the camera.
 *
 * |[
 * gst-launch-1.0 filesrc location=driver.mp4 ! decodebin ! videoconvert ! fomreenact source-location=portrait.jpg !
 *     video/x-raw,width=512,height=512 ! videoconvert ! vp8enc deadline=1 ! webmmux ! filesink location=out.webm
 * ]| Writes a file, with the tags that say it is synthetic.
 *
 * |[
 * gst-launch-1.0 filesrc location=driver.mp4 ! qtdemux ! h264parse ! nvh264dec ! fomreenact backend=tensorrt
 *     source-location=portrait.jpg ! cudadownload ! videoconvert ! autovideosink
 * ]| Decodes and animates on the GPU.
 *
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! fomreenact backend=tensorrt composition=scene source-location=portrait.jpg !
 *     videoconvert ! autovideosink
 * ]| Animates the face in the portrait's whole picture, with frames in system memory and networks on the GPU.
 */
use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        LazyLock, Mutex, MutexGuard, PoisonError,
    },
    time::{Duration, Instant},
};

use deepfake_models::{
    reenact::{Event, ReenactSettings, Reenactor},
    Stage, StageTimes,
};
use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};
use gst_video::VideoInterlaceMode;

use super::{
    caps,
    portrait::{Next, Portrait, Reason, Slot, Unusable},
    settings::{self, Composition, MarkingFlags, Settings},
    source,
    tags::{without_driver, Tags},
};
use crate::{
    engine::{self, EngineSettings, Listener},
    frame,
    gpu::Gpu,
    latency::{self, Latency},
    marking::{self, Marking},
    meta::Times,
    stats::Stats,
    video::{self, Memories, Video},
};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("fomreenact", gst::DebugColorFlags::empty(), Some("Face reenactment"))
});

/// What lives from start to stop.
struct State {
    reenactor: Reenactor,
    applied: ReenactSettings,
    marking: Marking,
    videos: Option<(Video, Video)>,
    stream_id: Option<String>,
    /// The portrait in use, to be cut anew when the crop changes.
    portrait: Option<Portrait>,
    /// Why the last portrait could not be used, if it could not.
    unusable: Option<Unusable>,
    /// Properties of which was told that they have no effect.
    idle: Vec<&'static str>,
}

/// The element.
pub struct FomReenact {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    pub(super) gpu: Gpu,
    pub(super) slot: Slot,
    tags: Mutex<Tags>,
    calibrate: AtomicBool,
    stats: Mutex<Stats>,
    latency: Mutex<Latency>,
}

/// A panic elsewhere has been reported as an error by then; the data is replaced at the next start.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for FomReenact {
    const NAME: &'static str = "GstFomReenact";
    type Type = super::FomReenact;
    type ParentType = gst_base::BaseTransform;

    fn new() -> Self {
        let stages =
            [Stage::Track, Stage::Sample, Stage::Keypoints, Stage::Generate, Stage::Compose, Stage::Wait];
        Self {
            settings: Mutex::default(),
            state: Mutex::default(),
            gpu: Gpu::default(),
            slot: Slot::default(),
            tags: Mutex::default(),
            calibrate: AtomicBool::new(false),
            stats: Mutex::new(Stats::new(
                "fomreenact-stats",
                &["frames", "dropped", "faces-lost", "portraits"],
                &stages,
            )),
            latency: Mutex::default(),
        }
    }
}

impl ObjectImpl for FomReenact {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::properties()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            vec![
                // Takes the next driving frame as the one that relative motion starts from.
                glib::subclass::Signal::builder("calibrate")
                    .action()
                    .class_handler(|args| {
                        if let Ok(element) = args[0].get::<super::FomReenact>() {
                            element.imp().calibrate.store(true, Ordering::Relaxed);
                        }
                        None
                    })
                    .build(),
            ]
        });
        &SIGNALS
    }

    fn constructed(&self) {
        self.parent_constructed();
        // Late frames are dropped before they cost anything.
        self.obj().set_property("qos", true);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        gst::debug!(CAT, imp = self, "{} = {:?}", pspec.name(), value);
        let mut settings = lock(&self.settings);
        settings.set(pspec.name(), value);
        match pspec.name() {
            // A path that is taken away leaves the portrait that was read from it.
            "source-location" | "source-locations" => match &settings.source_locations[..] {
                [] => self.slot.forget_files(None),
                paths => self.slot.put_files(paths.to_vec()),
            },
            "marking" => lock(&self.tags).marking_changed(),
            _ => (),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => lock(&self.stats).structure().to_value(),
            name => lock(&self.settings).get(name),
        }
    }
}

impl GstObjectImpl for FomReenact {}

impl ElementImpl for FomReenact {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face reenactment",
                "Filter/Effect/Video",
                "Animates a portrait by the face of a driving video",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            use gst::{PadDirection, PadPresence};
            [
                ("sink", PadDirection::Sink, PadPresence::Always, video::caps(Memories::SystemAndCuda)),
                ("src", PadDirection::Src, PadPresence::Always, caps::output(Memories::SystemAndCuda)),
                (source::PAD, PadDirection::Sink, PadPresence::Request, video::caps(Memories::SystemAndCuda)),
            ]
            .into_iter()
            .filter_map(|(name, direction, presence, caps)| {
                gst::PadTemplate::new(name, direction, presence, &caps).ok()
            })
            .collect()
        });
        &TEMPLATES
    }

    fn request_new_pad(
        &self,
        templ: &gst::PadTemplate,
        _name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let pad = self.build_source_pad(templ);
        if !self.slot.add_pad(&pad) {
            gst::warning!(CAT, imp = self, "there is one pad '{}' already", source::PAD);
            return None;
        }
        let added = pad.set_active(true).and_then(|()| self.obj().add_pad(&pad));
        if let Err(error) = added {
            gst::error!(CAT, imp = self, "{error}");
            self.slot.remove_pad();
            return None;
        }
        Some(pad)
    }

    fn release_pad(&self, pad: &gst::Pad) {
        // First what wakes the driving stream: it may wait for a portrait from this very pad.
        self.slot.remove_pad();
        let _ = pad.set_active(false);
        let _ = self.obj().remove_pad(pad);
    }

    fn set_context(&self, context: &gst::Context) {
        let settings = self.engine_settings();
        self.gpu.set_context(self.obj().upcast_ref(), context, &settings);
        self.parent_set_context(context);
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => {
                self.gpu.prepare(self.obj().upcast_ref(), &self.engine_settings());
            }
            gst::StateChange::ReadyToPaused => self.slot.start(),
            // Pads are deactivated by the parent, which waits for their streams to come back.
            gst::StateChange::PausedToReady => self.slot.stop(),
            _ => (),
        }
        let result = self.parent_change_state(transition);
        let failed_to_start = transition == gst::StateChange::ReadyToPaused && result.is_err();
        if transition == gst::StateChange::ReadyToNull {
            // What was found on the way to READY belongs to this pipeline, not to the next that the element may be put in.
            self.gpu.stop();
        }
        if transition == gst::StateChange::PausedToReady || failed_to_start {
            self.slot.stop();
            self.slot.clear();
        }
        result
    }
}

impl BaseTransformImpl for FomReenact {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::NeverInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let (reenactor, portrait) = self.load(&settings).inspect_err(|_| self.gpu.stop())?;
        self.gpu.started(engine::on_gpu(reenactor.report()));
        if portrait.is_some() {
            self.slot.forget_files(Some(&settings.source_locations));
        }
        let portraits = u64::from(portrait.is_some());
        let status = engine::status("fomreenact-status", reenactor.report());
        gst::info!(CAT, imp = self, "{status}");

        {
            let mut stats = lock(&self.stats);
            stats.reset();
            stats.count("portraits", portraits);
        }
        *lock(&self.latency) = Latency::default();
        lock(&self.tags).start_stream();
        self.calibrate.store(false, Ordering::Relaxed);
        let marking = Marking::new("fomreenact", &settings.model);
        *lock(&self.state) = Some(State {
            reenactor,
            applied: settings.reenact(),
            marking,
            videos: None,
            stream_id: None,
            portrait,
            unusable: None,
            idle: Vec::new(),
        });
        self.post(status);
        self.tell_idle(&settings);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        self.gpu.stop();
        Ok(())
    }

    fn transform_caps(
        &self,
        direction: gst::PadDirection,
        caps: &gst::Caps,
        filter: Option<&gst::Caps>,
    ) -> Option<gst::Caps> {
        let other = caps::transform(direction, caps, filter, self.memories());
        gst::trace!(CAT, imp = self, "{direction:?}: {caps} becomes {other}");
        Some(other)
    }

    fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        // The base class would accept what the pad's template lists.
        let memories = self.memories();
        let possible = match direction {
            gst::PadDirection::Src => caps::output(memories),
            _ => video::caps(memories),
        };
        caps.is_subset(&possible)
    }

    fn fixate_caps(&self, direction: gst::PadDirection, caps: &gst::Caps, othercaps: gst::Caps) -> gst::Caps {
        let size = lock(&self.state).as_ref().map_or((256, 256), |state| state.reenactor.output_size());
        caps::fixate(direction, caps, othercaps, size)
    }

    fn set_caps(&self, incaps: &gst::Caps, outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let video = |caps: &gst::Caps| {
            Video::from_caps(caps).map_err(|_| gst::loggable_error!(CAT, "these caps are no video: {}", caps))
        };
        let (input, output) = (video(incaps)?, video(outcaps)?);
        if input.info.interlace_mode() != VideoInterlaceMode::Progressive {
            gst::element_imp_error!(
                self,
                gst::StreamError::WrongType,
                ("Interlaced video cannot drive a portrait; put deinterlace before fomreenact"),
                ["{}", incaps]
            );
            return Err(gst::loggable_error!(CAT, "interlaced input"));
        }
        let mut advice = None;
        if let Some(state) = lock(&self.state).as_mut() {
            let old = state.videos.as_ref().map(|(old, _)| old);
            advice = video::square_pixels_advice(old, &input);
            if old.is_some_and(|old| !old.has_size_of(&input)) {
                // Nothing is where it was.
                state.reenactor.flush();
            }
            state.videos = Some((input, output));
        }
        if let Some(advice) = advice {
            gst::element_imp_warning!(self, gst::StreamError::Format, ("{}", advice), ["{}", incaps]);
        }
        Ok(())
    }

    fn unit_size(&self, caps: &gst::Caps) -> Option<usize> {
        Video::from_caps(caps).ok().map(|video| video.info.size())
    }

    fn transform_size(
        &self,
        _direction: gst::PadDirection,
        _caps: &gst::Caps,
        _size: usize,
        othercaps: &gst::Caps,
    ) -> Option<usize> {
        // A buffer with video metadata may be larger than its picture.
        self.unit_size(othercaps)
    }

    fn propose_allocation(
        &self,
        decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        self.parent_propose_allocation(decide_query, query)?;
        self.gpu.propose_pool(query).map_err(|error| gst::loggable_error!(CAT, "{}", error))?;
        query.add_allocation_meta::<gst_video::VideoMeta>(None);
        Ok(())
    }

    fn decide_allocation(&self, query: &mut gst::query::Allocation) -> Result<(), gst::LoggableError> {
        self.gpu.decide_pool(query).map_err(|error| gst::loggable_error!(CAT, "{}", error))?;
        self.parent_decide_allocation(query)
    }

    fn transform_meta<'a>(
        &self,
        _outbuf: &mut gst::BufferRef,
        meta: gst::MetaRef<'a, gst::Meta>,
        _inbuf: &'a gst::BufferRef,
    ) -> bool {
        // Anything else may describe the driver's picture, or hold it. These tell of time and of what is said, and
        // that a driver that was synthetic itself still is, whatever the marking here.
        let kept = [
            gst::ReferenceTimestampMeta::meta_api(),
            gst_video::VideoTimeCodeMeta::meta_api(),
            gst_video::VideoCaptionMeta::meta_api(),
        ];
        let api = meta.api();
        kept.contains(&api)
            // Not known to every GStreamer that this runs with.
            || api.name() == "GstAncillaryMetaAPI"
            || meta.try_as_custom_meta().is_some_and(|custom| custom.has_name(marking::META))
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
            gst::EventView::FlushStart(_) => self.slot.set_flushing(true),
            gst::EventView::FlushStop(_) => {
                if let Some(state) = lock(&self.state).as_mut() {
                    state.reenactor.flush();
                }
                self.slot.set_flushing(false);
            }
            gst::EventView::StreamStart(start) => self.start_stream(start.stream_id()),
            gst::EventView::Caps(_) => self.await_scene(),
            gst::EventView::Tag(tag) => {
                // Where nothing is left there is nothing to say.
                let Some(left) = without_driver(tag.tag()) else { return true };
                let tags = if left.scope() == gst::TagScope::Stream {
                    lock(&self.tags).set_upstream(left.clone());
                    self.due_tags().unwrap_or(left)
                } else {
                    left
                };
                let changed = gst::event::Tag::builder(tags).seqnum(event.seqnum()).build();
                return self.parent_sink_event(changed);
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

    fn transform(
        &self,
        inbuf: &gst::Buffer,
        outbuf: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (settings, preparing) = self.take_portraits()?;
        if let Some(tags) = self.due_tags() {
            self.obj().src_pad().push_event(gst::event::Tag::new(tags));
        }
        let started = Instant::now();
        let (events, times) = self.animate(&settings, inbuf, outbuf).map_err(|message| {
            self.post_error_message(message);
            gst::FlowError::Error
        })?;
        let took = preparing + started.elapsed();
        {
            let mut stats = lock(&self.stats);
            stats.count("frames", 1);
            stats.count("faces-lost", events.iter().filter(|e| matches!(e, Event::FaceLost)).count() as u64);
            stats.record(&times, took);
        }
        let when = Times::new(inbuf, &self.obj().segment());
        for event in events {
            let status = match event {
                Event::FaceLost => "face-lost",
                Event::FaceFound => "face-found",
                Event::ReferenceTaken => "reference",
            };
            let mut structure = gst::Structure::builder("fomreenact-status").field("status", status).build();
            when.add_to(&mut structure);
            self.post(structure);
        }
        let drifted = lock(&self.latency).record(took);
        if drifted {
            let obj = self.obj();
            let _ = obj.post_message(gst::message::Latency::builder().src(&*obj).build());
        }
        Ok(gst::FlowSuccess::Ok)
    }
}

impl FomReenact {
    /// Loads the networks, and the portrait if there is one to start with.
    fn load(&self, settings: &Settings) -> Result<(Reenactor, Option<Portrait>), gst::ErrorMessage> {
        let element = self.obj();
        let device = self
            .gpu
            .find_device(element.upcast_ref(), &settings.engine)
            .inspect_err(|reason| gst::info!(CAT, imp = self, "system memory only: {reason}"))
            .ok();
        let listener = Listener { element: element.upcast_ref(), status: "fomreenact-status" };
        let mut reenactor = Reenactor::load(&settings.options(device, &listener))
            .map_err(|error| engine::error_message(&error))?;
        reenactor.set_settings(&settings.reenact());
        let paths = &settings.source_locations;
        let portrait = (!paths.is_empty()).then(|| Portrait::Files(paths.clone()));
        if let Some(portrait) = &portrait {
            portrait.show(&mut reenactor, None).map_err(|unusable| unusable.error)?;
        }
        Ok((reenactor, portrait))
    }

    fn engine_settings(&self) -> EngineSettings {
        lock(&self.settings).engine.clone()
    }

    /// Where frames may lie, on any pad.
    pub(super) fn memories(&self) -> Memories {
        self.gpu.memories(&self.engine_settings())
    }

    /// Hands settings that changed to the engine, and cuts the portrait anew if its crop is among them.
    fn apply(&self, settings: &Settings) {
        let wanted = settings.reenact();
        let mut guard = lock(&self.state);
        let Some(state) = guard.as_mut().filter(|state| state.applied != wanted) else { return };
        let cut_anew = state.applied.source_crop != wanted.source_crop;
        state.reenactor.set_settings(&wanted);
        state.applied = wanted;
        let portrait = state.portrait.clone().filter(|_| cut_anew);
        drop(guard);
        self.tell_idle(settings);
        if let Some(portrait) = portrait {
            self.take(&portrait);
        }
    }

    /// Tells which of the properties that were set mean nothing to this model, once each.
    fn tell_idle(&self, settings: &Settings) {
        let mut guard = lock(&self.state);
        let Some(state) = guard.as_mut().filter(|state| !state.reenactor.has_keypoints()) else { return };
        let idle = settings.about_keypoints();
        let news: Vec<_> = idle.iter().filter(|name| !state.idle.contains(name)).copied().collect();
        state.idle.extend(&news);
        drop(guard);
        if !news.is_empty() {
            let text = format!(
                "No effect with model {}, which has no key points: {}",
                settings.model,
                news.join(", ")
            );
            // Twice, since gst-launch-1.0 shows of such messages what is meant for developers alone.
            gst::element_imp_info!(self, gst::LibraryError::Settings, ("{}", text), ["{}", text]);
        }
    }

    /// The settings as they are now, which the engine has got.
    fn apply_settings(&self) -> Settings {
        let settings = lock(&self.settings).clone();
        self.apply(&settings);
        settings
    }

    /// Sees to it that there is a portrait, the newest; waits for one if need be. Returns the settings for the frame,
    /// those of after the wait, and how long it worked, which the wait is no part of.
    fn take_portraits(&self) -> Result<(Settings, Duration), gst::FlowError> {
        let mut worked = Duration::ZERO;
        loop {
            let started = Instant::now();
            let settings = self.apply_settings();
            worked += started.elapsed();
            let have = lock(&self.state).as_ref().is_some_and(|state| state.reenactor.has_portrait());
            match self.slot.next(have) {
                Next::Keep => return Ok((settings, worked)),
                Next::Flushing => return Err(gst::FlowError::Flushing),
                Next::Missing(reason) => {
                    self.post_error_message(self.missing(reason));
                    return Err(gst::FlowError::Error);
                }
                Next::Take(portrait) => {
                    let started = Instant::now();
                    // It may have come after a wait, and be cut by what was set meanwhile.
                    self.apply_settings();
                    self.take(&portrait);
                    worked += started.elapsed();
                }
            }
        }
    }

    /// With a scene, whose size the output gets, negotiation waits for the portrait as frames do. Where none can come the
    /// first frame is an error, and so this is none.
    fn await_scene(&self) {
        if lock(&self.settings).composition != Composition::Scene {
            return;
        }
        loop {
            let have = lock(&self.state).as_ref().is_none_or(|state| state.reenactor.has_portrait());
            match self.slot.next(have) {
                Next::Take(portrait) => self.take(&portrait),
                Next::Keep | Next::Flushing | Next::Missing(_) => return,
            }
        }
    }

    /// Takes a portrait. One that cannot be used is a warning; the last one stays.
    fn take(&self, portrait: &Portrait) {
        let context = self.gpu.context();
        let mut guard = lock(&self.state);
        let Some(state) = guard.as_mut() else { return };
        let before = state.reenactor.output_size();
        let taken = portrait.show(&mut state.reenactor, context.as_ref());
        let resized = state.reenactor.output_size() != before;
        if taken.is_ok() {
            state.portrait = Some(portrait.clone());
        }
        let had_failed = state.unusable.is_some();
        state.unusable = taken.err();
        let unusable = state.unusable.clone();
        drop(guard);

        if resized {
            // Where downstream leaves the size to us it follows the picture.
            self.obj().reconfigure_src();
        }
        match unusable {
            None => lock(&self.stats).count("portraits", 1),
            // Of moving portraits, a warning a frame would say no more than the first.
            Some(_) if had_failed && matches!(portrait, Portrait::Frame(..)) => (),
            Some(Unusable { text, error }) => gst::element_imp_warning!(
                self,
                gst::ResourceError::Read,
                ("This portrait is not used: {}", text),
                ["{}", error]
            ),
        }
    }

    fn missing(&self, reason: Reason) -> gst::ErrorMessage {
        let unusable = lock(&self.state).as_ref().and_then(|state| state.unusable.clone());
        match (unusable, reason) {
            (Some(unusable), _) => unusable.error,
            (None, Reason::Unlinked) => gst::error_msg!(
                gst::ResourceError::Settings,
                ("There is no portrait: set source-location, or link a picture to the pad 'source'")
            ),
            (None, Reason::Ended) => gst::error_msg!(
                gst::ResourceError::Settings,
                ("There is no portrait: the stream on the pad 'source' ended without a picture")
            ),
        }
    }

    /// A driving video that follows another has tags, a face and a reference of its own.
    fn start_stream(&self, id: &str) {
        lock(&self.tags).start_stream();
        if let Some(state) = lock(&self.state).as_mut() {
            if state.stream_id.as_deref().is_some_and(|old| old != id) {
                state.reenactor.new_stream();
            }
            state.stream_id = Some(id.to_owned());
        }
    }

    fn due_tags(&self) -> Option<gst::TagList> {
        let wanted = lock(&self.settings).marking.contains(MarkingFlags::METADATA);
        let marking = lock(&self.state).as_ref().filter(|_| wanted).map(|state| state.marking.clone());
        lock(&self.tags).due(marking.as_ref())
    }

    /// Fills `outbuf`.
    fn animate(
        &self,
        settings: &Settings,
        inbuf: &gst::Buffer,
        outbuf: &mut gst::BufferRef,
    ) -> Result<(Vec<Event>, StageTimes), gst::ErrorMessage> {
        let context = self.gpu.context();
        let context = context.as_ref();
        let mut guard = lock(&self.state);
        let Some(State { reenactor, marking, videos: Some((input, output)), .. }) = guard.as_mut() else {
            return Err(gst::error_msg!(gst::CoreError::Negotiation, ["a buffer came before its caps"]));
        };
        if self.calibrate.swap(false, Ordering::Relaxed) {
            reenactor.calibrate();
        }
        let time = inbuf.pts().map(Duration::from);
        let result = if settings.bypass {
            frame::write(outbuf, output, context, |out| reenactor.show_portrait(out))?
                .map(|()| (Vec::new(), StageTimes::default()))
        } else {
            frame::read(inbuf, input, context, |driver| {
                frame::write(outbuf, output, context, |out| reenactor.process(driver, time, out))
            })??
            .map(|outcome| (outcome.events, outcome.times))
        };
        let result = result.map_err(|error| engine::error_message(&error))?;
        if settings.marking.contains(MarkingFlags::METADATA) {
            marking.mark(outbuf).map_err(|error| {
                gst::error_msg!(
                    gst::CoreError::Failed,
                    ("The output cannot be marked as synthetic"),
                    ["{}", error]
                )
            })?;
        }
        Ok(result)
    }

    fn post(&self, structure: gst::Structure) {
        let obj = self.obj();
        // Without a bus nobody wants to know.
        let _ = obj.post_message(gst::message::Element::builder(structure).src(&*obj).build());
    }
}
