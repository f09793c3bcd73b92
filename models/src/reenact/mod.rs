//! A portrait animated by a driving video.
//!
//! A frame's way through [`Reenactor::process`]: the tracker finds the driver's face, the crop about it is sampled,
//! the key-point network reads it, [`Device::transfer`] puts its motion on the portrait's key points, the generator paints, and
//! the picture is composed into the output. While no face is found nothing of the driver is shown: the output is made
//! from the portrait alone, always.

mod crop;
mod fomm;
mod picture;
mod reference;
mod scene;
mod settings;
mod smoother;

use std::time::{Duration, Instant};

use deepfake_kernels::{
    Affine, Background, Device, Frame, FrameMut, Graph, Keypoints, Layer, Memory, Point, Rect, Shape, Tensor,
    Transfer,
};

use self::{
    crop::{fixed_map, Follower, Square},
    fomm::{Encoded, Fomm},
    reference::{normalise, ReferenceKeeper},
    scene::Scene,
    smoother::Smoother,
};
use crate::{
    engine::{both, choose, precision, BackendReport, EngineOptions, Intake, Outlet, Platform},
    face::{FaceTracker, Landmarks, Track, TrackerOptions},
    manifest::Crop,
    zoo, Error, Result, Stage, StageTimes,
};

pub use picture::Picture;
pub use settings::{Composition, CropMode, FaceLost, Motion, ReenactSettings, Reference};

/// Faces smaller than this, in pixels, are too coarse to read an expression off.
const SMALLEST_FACE: f32 = 32.0;
/// A face may be missed for this many frames before it counts as lost: until then the last picture is held, whatever
/// the settings, so that one bad frame does not flash up as a still or as black.
const GRACE: u32 = 3;
/// Time between frames where their timestamps do not tell.
const DEFAULT_INTERVAL: Duration = Duration::from_millis(40);
/// Longer gaps between frames are counted as this much.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);

/// How a [`Reenactor`] is made.
#[derive(Clone, Debug)]
pub struct ReenactorOptions {
    /// Name of a model in the zoo, or path of a manifest.
    pub model: String,
    /// How its networks are run.
    pub engine: EngineOptions,
}

/// What the output of a frame shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The portrait with the driver's motion.
    Animated,
    /// The last animated picture once more.
    Held,
    /// The still portrait.
    Source,
    /// Black.
    Black,
}

/// Something worth telling the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The driver's face is gone.
    FaceLost,
    /// The driver's face is there (again).
    FaceFound,
    /// This frame is the reference of relative motion from now on.
    ReferenceTaken,
}

/// What became of a frame.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the output shows.
    pub shown: Shown,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// How long the stages took.
    pub times: StageTimes,
}

/// The portrait in use.
#[derive(Debug, Default)]
struct Portrait {
    /// There is one.
    there: bool,
    encoded: Encoded,
    /// Where the next one is encoded, so that one that fails leaves this one alone.
    next: Encoded,
    landmarks: Option<Vec<[f32; 2]>>,
    scene: Scene,
}

/// The driver as it was in the last frame.
#[derive(Debug, Default)]
struct Driver {
    track: Option<u64>,
    /// The face was in the last frame.
    seen: bool,
    follower: Follower,
    last_time: Option<Duration>,
}

/// Whether the driver's face is in a frame.
enum Sighting {
    Seen(Landmarks),
    /// Not in this one, but it was a moment ago.
    Missed,
    Lost,
}

/// Animates a portrait.
#[derive(Debug)]
pub struct Reenactor {
    intake: Intake,
    outlet: Outlet,
    /// Where the driver's face is tracked.
    beside: Device,
    tracker: FaceTracker,
    portrait_tracker: FaceTracker,
    reference: ReferenceKeeper,
    driver: Driver,
    animator: Animator,
}

/// What lives on the device.
#[derive(Debug)]
struct Animator {
    device: Device,
    fomm: Fomm,
    settings: ReenactSettings,
    portrait: Portrait,
    smoother: Smoother,
    /// Key points of the last driving frame, as the network gave them.
    driving: Keypoints,
    /// What the smoother held before the last frame, where that may have to be taken back.
    before: Keypoints,
    /// The smoother holds key points of the driver, to be put on another portrait that comes meanwhile.
    driven: bool,
    /// The driver's key points that relative motion starts from; the keeper knows whether there are any.
    reference: Keypoints,
    /// The portrait's key points with the driver's motion.
    moved: Keypoints,
    prediction: Tensor,
    /// `prediction` was painted from the present portrait by `moved`.
    animated: bool,
    graph: Graph,
}

/// What relative motion starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// The kept reference.
    Kept,
    /// The present frame, which is to be kept.
    Here,
    /// Nothing yet.
    Nowhere,
}

impl Reenactor {
    /// Loads the model and the face networks.
    ///
    /// # Errors
    /// Those of [`zoo::find`] and [`Platform::load`], and [`Error::Manifest`] if the model animates nothing.
    pub fn load(options: &ReenactorOptions) -> Result<Self> {
        choose(&options.engine, |platform| Self::load_on(platform, &options.model))
    }

    fn load_on(platform: &Platform, model: &str) -> Result<Self> {
        let manifest = zoo::find(model)?;
        let tracking =
            TrackerOptions { max_faces: 1, min_face_size: SMALLEST_FACE, ..TrackerOptions::default() };
        // The driver's face is followed beside the animation where that is possible.
        let beside = platform.fork()?;
        let (tracker, fomm) = both(
            platform.device(),
            || FaceTracker::load_on(&beside, tracking.clone()),
            || precision::load::<Fomm>(&manifest, platform),
        );
        Ok(Self {
            intake: Intake::default(),
            outlet: Outlet::default(),
            tracker: tracker?,
            beside: beside.device().clone(),
            // Of several people in a portrait the largest counts; the tracker sorts nothing out by itself.
            portrait_tracker: FaceTracker::load_on(platform, TrackerOptions { max_faces: 8, ..tracking })?,
            reference: ReferenceKeeper::default(),
            driver: Driver::default(),
            animator: Animator {
                device: platform.device().clone(),
                fomm: fomm?,
                settings: ReenactSettings::default(),
                portrait: Portrait::default(),
                smoother: Smoother::default(),
                driving: Keypoints::default(),
                before: Keypoints::default(),
                driven: false,
                reference: Keypoints::default(),
                moved: Keypoints::default(),
                prediction: Tensor::default(),
                animated: false,
                graph: Graph::default(),
            },
        })
    }

    /// Which backend runs the networks, and why.
    pub fn report(&self) -> &BackendReport {
        self.animator.fomm.report()
    }

    /// Width and height of the picture that the output shows: the portrait's whole one with [`Composition::Scene`], once
    /// there is a portrait, else the model's.
    pub fn output_size(&self) -> (usize, usize) {
        let scene = match self.animator.settings.composition {
            Composition::Scene => self.animator.portrait.scene.size(),
            Composition::Portrait => None,
        };
        scene.unwrap_or_else(|| self.animator.fomm.size())
    }

    /// Takes other settings. The part of the portrait that is used, and what of it is shown, change with the next portrait
    /// only.
    pub fn set_settings(&mut self, settings: &ReenactSettings) {
        let old = &self.animator.settings;
        if settings.driver_crop != old.driver_crop {
            self.animator.smoother.reset();
        }
        if settings.driver_crop != old.driver_crop || settings.reference != old.reference {
            self.reference.reset();
        }
        self.animator.settings = settings.clone();
    }

    /// Takes the portrait in `frame`. Where that fails, the one before stays.
    ///
    /// # Errors
    /// [`Error::NoFaceInPortrait`] if there is none and `source_crop` is [`CropMode::Track`]; [`Error::Network`].
    pub fn set_portrait(&mut self, frame: &Frame<'_>) -> Result<()> {
        let mut intake = std::mem::take(&mut self.intake);
        let device = self.animator.device.clone();
        let taken = intake.take(&device, frame).and_then(|frame| self.take_portrait(&frame));
        self.intake = intake;
        // Nothing may still be read when the caller takes the frame back.
        let done = device.synchronize();
        taken?;
        Ok(done?)
    }

    fn take_portrait(&mut self, frame: &Frame<'_>) -> Result<()> {
        let mut times = StageTimes::default();
        self.portrait_tracker.reset();
        let face = largest(self.portrait_tracker.update(frame, None, &mut times)?);
        let landmarks = face.and_then(|track| normalise(&track.landmarks.points));
        let Animator { device, fomm, settings, portrait, animated, .. } = &mut self.animator;
        let map = match (settings.source_crop, face) {
            (CropMode::Track, None) => return Err(Error::NoFaceInPortrait),
            (CropMode::Track, Some(track)) => {
                let square = Square::about_face(track.landmarks.bounding_box(), fomm.crop());
                let (width, height) = fomm.size();
                Affine::from_rect(square.within((frame.width(), frame.height())).rect(), width, height)
            }
            (mode, _) => fixed_map(mode, (frame.width(), frame.height()), fomm.size()),
        };
        fomm.encode(frame, &map, &mut portrait.next, &mut times)?;
        if settings.composition == Composition::Scene {
            portrait.scene.set(device, frame, map)?;
        }
        portrait.encoded.take_over(device, &mut portrait.next)?;
        portrait.landmarks = landmarks;
        portrait.there = true;
        *animated = false;
        self.reference.portrait_changed();
        Ok(())
    }

    /// Whether there is a portrait to animate.
    pub fn has_portrait(&self) -> bool {
        self.animator.portrait.there
    }

    /// Takes the next frame with a face as the reference of relative motion.
    pub fn calibrate(&mut self) {
        self.reference.calibrate();
    }

    /// Forgets what came before, after a seek in the driving video; portrait, settings and a reference that the user
    /// named stay.
    pub fn flush(&mut self) {
        self.tracker.reset();
        self.driver = Driver::default();
        self.reference.seek();
        self.animator.smoother.reset();
        self.animator.driven = false;
        self.animator.animated = false;
    }

    /// Forgets what came before, for another driving video; only portrait and settings stay.
    pub fn new_stream(&mut self) {
        self.flush();
        self.reference.reset();
    }

    /// Animates the portrait by the driving frame `driver` and writes all of `output`. `time` is the frame's place in
    /// the stream; without one a 25th of a second is assumed since the last.
    ///
    /// Both frames may lie in the host's memory, and where the networks run on a GPU also in that. When this returns, all
    /// work on them is done.
    ///
    /// # Errors
    /// [`Error::NoPortrait`], [`Error::Network`] and [`Error::Device`]; `output` is then unspecified, but never shows the
    /// driver.
    pub fn process(
        &mut self,
        driver: &Frame<'_>,
        time: Option<Duration>,
        output: &mut FrameMut<'_>,
    ) -> Result<Outcome> {
        if !self.has_portrait() {
            return Err(Error::NoPortrait);
        }
        let device = self.animator.device.clone();
        let (mut intake, mut outlet) = (std::mem::take(&mut self.intake), std::mem::take(&mut self.outlet));
        let mut waiting = None;
        let outcome = intake.take(&device, driver).and_then(|driver| {
            outlet.give(&device, output, |output| {
                let outcome = self.process_there(&driver, time, output);
                waiting = Some(Instant::now());
                outcome
            })
        });
        (self.intake, self.outlet) = (intake, outlet);
        if outcome.is_err() {
            // As in the outlet: nothing may still be read.
            let _ = self.beside.synchronize();
        }
        let mut outcome = outcome?;
        if let Some(since) = waiting {
            outcome.times.add_to(Stage::Wait, since.elapsed());
        }
        if matches!(outcome.shown, Shown::Animated | Shown::Held) && self.animator.settings.keypoints {
            // They are looked at here, so that is the only work that does not fit in a graph.
            self.animator.draw_keypoints(output)?;
        }
        Ok(outcome)
    }

    /// [`process`](Self::process) for frames on the device.
    fn process_there(
        &mut self,
        driver: &Frame<'_>,
        time: Option<Duration>,
        output: &mut FrameMut<'_>,
    ) -> Result<Outcome> {
        let mut times = StageTimes::default();
        let mut events = Vec::new();
        let elapsed = self.driver.elapse(time);
        self.animator.prepare(output)?;
        // What follows reads what was brought to the GPU before.
        self.beside.wait_for(&self.animator.device)?;
        let track = self.driver.track;
        let foreseen = match self.foresee(driver) {
            Some(map) => {
                Some(self.animator.animate(driver, &map, Start::Kept, elapsed, output, &mut times)?)
            }
            None => None,
        };
        let sighting = self.find_driver(driver, time, &mut events, &mut times)?;
        if let Some(shown) = foreseen {
            match &sighting {
                Sighting::Seen(face) if self.driver.track == track => {
                    self.driver.follow(face, self.animator.fomm.crop(), elapsed);
                    return Ok(Outcome { shown, events, times });
                }
                _ => self.animator.take_back()?,
            }
        }
        self.driver.seen = matches!(sighting, Sighting::Seen(_));
        let shown = match sighting {
            Sighting::Seen(face) => self.animate(driver, &face, elapsed, output, &mut events, &mut times)?,
            Sighting::Missed if self.animator.hold(self.start(), &mut times)? => {
                self.animator.show(Shown::Held, output, &mut times)?
            }
            Sighting::Missed | Sighting::Lost => {
                let shown = self.animator.without_face(self.start(), &mut times)?;
                self.animator.show(shown, output, &mut times)?
            }
        };
        Ok(Outcome { shown, events, times })
    }

    /// Writes the still portrait to all of `output`.
    ///
    /// # Errors
    /// [`Error::NoPortrait`], [`Error::Device`].
    pub fn show_portrait(&mut self, output: &mut FrameMut<'_>) -> Result<()> {
        if !self.has_portrait() {
            return Err(Error::NoPortrait);
        }
        let Self { animator, outlet, .. } = self;
        let device = animator.device.clone();
        outlet.give(&device, output, |output| {
            animator.prepare(output)?;
            animator.show(Shown::Source, output, &mut StageTimes::default())
        })?;
        Ok(())
    }

    /// On a GPU the part of the frame that the driver's face is expected in, if the frame may be animated before it is known
    /// whether and where the face is: it was seen in the last frame, and nothing but the face's being there decides on
    /// this one. The animation then takes no longer for the tracking, which goes on beside it; should the face be gone after
    /// all, the animation is taken back before anybody sees it. A crop that follows a face comes one frame late this way, of
    /// which nothing is seen, as it glides anyway.
    fn foresee(&self, frame: &Frame<'_>) -> Option<Affine> {
        let Animator { device, fomm, settings, .. } = &self.animator;
        let surely = device.cuda().is_some()
            && self.driver.seen
            && self.reference.is_kept()
            && !self.reference.is_searching(settings.reference);
        let (width, height) = fomm.size();
        match settings.driver_crop {
            _ if !surely => None,
            CropMode::Track => {
                self.driver.follower.current().map(|square| Affine::from_rect(square.rect(), width, height))
            }
            mode => Some(fixed_map(mode, (frame.width(), frame.height()), (width, height))),
        }
    }

    fn start(&self) -> Start {
        if self.reference.is_kept() {
            Start::Kept
        } else {
            Start::Nowhere
        }
    }

    /// Follows the driver's face and notes when it comes and goes.
    fn find_driver(
        &mut self,
        frame: &Frame<'_>,
        time: Option<Duration>,
        events: &mut Vec<Event>,
        times: &mut StageTimes,
    ) -> Result<Sighting> {
        let tracks = self.tracker.update(frame, time, times)?;
        let known = tracks.iter().find(|track| Some(track.id) == self.driver.track);
        if known.is_some_and(|track| (1..=GRACE).contains(&track.missed)) {
            return Ok(Sighting::Missed);
        }
        let face = known.filter(|track| track.missed == 0).or_else(|| largest(tracks));
        let id = face.map(|track| track.id);
        match (self.driver.track, id) {
            (None, Some(_)) => events.push(Event::FaceFound),
            (Some(_), None) => events.push(Event::FaceLost),
            _ => {}
        }
        if id != self.driver.track {
            // Another person, or the same after a while: what was smoothed before has nothing to do with it.
            self.driver.follower.reset();
            self.animator.smoother.reset();
            if id.is_some() {
                self.reference.driver_changed(self.animator.settings.reference);
            }
        }
        self.driver.track = id;
        Ok(face.map_or(Sighting::Lost, |track| Sighting::Seen(track.landmarks.clone())))
    }

    fn animate(
        &mut self,
        frame: &Frame<'_>,
        face: &Landmarks,
        elapsed: Duration,
        output: &mut FrameMut<'_>,
        events: &mut Vec<Event>,
        times: &mut StageTimes,
    ) -> Result<Shown> {
        let animator = &mut self.animator;
        let size = animator.fomm.size();
        let map = match animator.settings.driver_crop {
            CropMode::Track => {
                let square = self.driver.follow(face, animator.fomm.crop(), elapsed);
                Affine::from_rect(square.rect(), size.0, size.1)
            }
            mode => fixed_map(mode, (frame.width(), frame.height()), size),
        };
        let landmarks = normalise(&face.points);
        let taken = self.reference.offer(
            animator.settings.reference,
            landmarks.as_deref(),
            animator.portrait.landmarks.as_deref(),
            elapsed,
        );
        let start = match (taken, self.reference.is_kept()) {
            (true, _) => Start::Here,
            (false, true) => Start::Kept,
            (false, false) => Start::Nowhere,
        };
        if taken {
            events.push(Event::ReferenceTaken);
        }
        animator.animate(frame, &map, start, elapsed, output, times)
    }
}

impl Animator {
    /// Puts the motion of the driving frame on the portrait and paints it.
    fn animate(
        &mut self,
        frame: &Frame<'_>,
        map: &Affine,
        start: Start,
        elapsed: Duration,
        output: &mut FrameMut<'_>,
        times: &mut StageTimes,
    ) -> Result<Shown> {
        let amount = self.smoother.amount(self.settings.smoothing, elapsed);
        // Half-painted or painted for another portrait: not to be held, should anything fail.
        self.animated = false;
        let mut graph = std::mem::take(&mut self.graph);
        let device = self.device.clone();
        let can_move = self.can_move(start);
        let shown = if can_move { Shown::Animated } else { Shown::Source };
        let done = device.replay::<Error>(&mut graph, || {
            if self.driven && device.cuda().is_some() {
                copy(&device, &self.smoother.state, &mut self.before)?;
            }
            self.fomm.drive(frame, map, &mut self.driving, times)?;
            // The driver's motion is smoothed, not its sum with the portrait, which may move by itself.
            device.smooth(&mut self.smoother.state, &self.driving, amount)?;
            if can_move {
                self.generate(start, times)?;
            }
            times.measure(Stage::Compose, || self.paint(shown, output))
        });
        self.graph = graph;
        done?;
        self.driven = true;
        self.animated = can_move;
        if start == Start::Here {
            copy(&device, &self.smoother.state, &mut self.reference)?;
        }
        Ok(shown)
    }

    /// Undoes the last frame, in which there was no face after all: what is held from now on is what was shown before it.
    fn take_back(&mut self) -> Result<()> {
        self.animated = false;
        copy(&self.device, &self.before, &mut self.smoother.state)
    }

    /// Whether motion is relative to a reference that the user has not named yet.
    fn can_move(&self, start: Start) -> bool {
        self.settings.motion == Motion::Absolute || start != Start::Nowhere
    }

    /// Puts the driver's last motion on the present portrait.
    fn generate(&mut self, start: Start, times: &mut StageTimes) -> Result<()> {
        let how = Transfer {
            relative: self.settings.motion == Motion::Relative,
            adapt_scale: self.settings.adapt_scale,
            amount: self.settings.motion_scale,
        };
        let driving = &self.smoother.state;
        // Absolute motion knows no reference.
        let from = if start == Start::Kept && how.relative { &self.reference } else { driving };
        let source = &self.portrait.encoded.keypoints;
        self.device.transfer(source, driving, from, &how, &mut self.moved)?;
        self.fomm.generate(&self.portrait.encoded, &self.moved, &mut self.prediction, times)
    }

    /// Sees to it that there is an animated picture of the present portrait to be shown once more.
    fn hold(&mut self, start: Start, times: &mut StageTimes) -> Result<bool> {
        if !self.animated && self.driven && self.can_move(start) {
            self.generate(start, times)?;
            self.animated = true;
        }
        Ok(self.animated)
    }

    fn without_face(&mut self, start: Start, times: &mut StageTimes) -> Result<Shown> {
        let wanted = self.settings.on_face_lost;
        Ok(match wanted {
            FaceLost::Hold if self.hold(start, times)? => Shown::Held,
            FaceLost::Hold | FaceLost::Source => Shown::Source,
            FaceLost::Black => Shown::Black,
        })
    }

    /// Readies what a frame like `output` is painted on.
    fn prepare(&mut self, output: &FrameMut<'_>) -> Result<()> {
        if self.settings.composition == Composition::Scene {
            self.portrait.scene.render(&self.device, output.layout())?;
        }
        Ok(())
    }

    fn show(&self, shown: Shown, output: &mut FrameMut<'_>, times: &mut StageTimes) -> Result<Shown> {
        times.measure(Stage::Compose, || self.paint(shown, output))?;
        Ok(shown)
    }

    /// Takes the pixels of an output of that size to those of the model's picture; `None` where it is too thin for any.
    fn map_to_picture(&self, output: (usize, usize)) -> Option<Affine> {
        let (width, height) = self.fomm.size();
        match self.settings.composition {
            Composition::Portrait => Affine::from_rect(fit((width, height), output), width, height).inverse(),
            Composition::Scene => self.portrait.scene.to_crop(output),
        }
    }

    fn paint(&self, shown: Shown, output: &mut FrameMut<'_>) -> Result<()> {
        const BLACK: Background<'_> = Background::Color([0.0; 3]);
        let scene = match self.settings.composition {
            Composition::Scene if shown != Shown::Black => self.portrait.scene.rendered(),
            _ => None,
        };
        let image = match shown {
            Shown::Animated | Shown::Held => Some(&self.prediction),
            // The whole picture holds the still portrait already.
            Shown::Source if scene.is_some() => None,
            Shown::Source => Some(&self.portrait.encoded.image),
            Shown::Black => None,
        };
        let feather = if scene.is_some() { Scene::feather(self.fomm.size().0) } else { 0.0 };
        let map = self.map_to_picture((output.width(), output.height()));
        let layer = image.zip(map).map(|(image, map)| Layer { image, map, feather });
        let background = scene.as_ref().map_or(BLACK, Background::Picture);
        Ok(self.device.compose(layer.as_slice(), background, output)?)
    }

    /// Draws the key points of the animated picture into `output`, wherever that lies.
    fn draw_keypoints(&self, output: &mut FrameMut<'_>) -> Result<()> {
        const COLORS: [[f32; 3]; 5] =
            [[1.0, 0.2, 0.2], [0.2, 1.0, 0.2], [0.3, 0.5, 1.0], [1.0, 1.0, 0.2], [1.0, 0.3, 1.0]];
        let (width, height) = self.fomm.size();
        let to_picture = self.map_to_picture((output.width(), output.height()));
        let Some(to_output) = to_picture.and_then(|map| map.inverse()) else { return Ok(()) };
        let mut values = Tensor::default();
        self.device.download([(&self.moved.value, &mut values)])?;
        let radius = (to_output.m[0] * width as f32 / 64.0).max(1.5);
        let points = values.data().as_chunks::<2>().0.iter().zip(COLORS.iter().cycle());
        let shapes: Vec<Shape<'_>> = points
            .map(|([x, y], &color)| {
                let at = Point { x: (x + 1.0) / 2.0 * width as f32, y: (y + 1.0) / 2.0 * height as f32 };
                Shape::Disc { center: to_output.apply(at), radius, color }
            })
            .collect();
        match output.memory() {
            Memory::Host => Ok(Device::Cpu.draw(&shapes, output)?),
            Memory::Cuda => {
                self.device.draw(&shapes, output)?;
                Ok(self.device.synchronize()?)
            }
        }
    }
}

impl Driver {
    /// The square to cut about the face now.
    fn follow(&mut self, face: &Landmarks, crop: &Crop, elapsed: Duration) -> Square {
        self.follower.step(Square::about_face(face.bounding_box(), crop), elapsed)
    }

    /// Time since the last frame, within reason.
    fn elapse(&mut self, time: Option<Duration>) -> Duration {
        let elapsed = match (self.last_time, time) {
            (Some(last), Some(now)) => now.checked_sub(last).unwrap_or(DEFAULT_INTERVAL),
            _ => DEFAULT_INTERVAL,
        };
        self.last_time = time;
        elapsed.min(LONGEST_INTERVAL)
    }
}

fn copy(device: &Device, from: &Keypoints, to: &mut Keypoints) -> Result<()> {
    device.copy(&from.value, &mut to.value)?;
    Ok(device.copy(&from.jacobian, &mut to.jacobian)?)
}

/// The largest face that was seen in the last frame.
fn largest(tracks: &[Track]) -> Option<&Track> {
    tracks.iter().filter(|track| track.missed == 0).max_by(|a, b| a.rect.area().total_cmp(&b.rect.area()))
}

/// The largest rectangle of the picture's proportions in the middle of the output.
fn fit(picture: (usize, usize), output: (usize, usize)) -> Rect {
    let scale = (output.0 as f32 / picture.0 as f32).min(output.1 as f32 / picture.1 as f32);
    let (width, height) = (picture.0 as f32 * scale, picture.1 as f32 * scale);
    Rect::new((output.0 as f32 - width) / 2.0, (output.1 as f32 - height) / 2.0, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_keeps_its_proportions_in_any_output() {
        assert_eq!(fit((256, 256), (640, 480)), Rect::new(80.0, 0.0, 480.0, 480.0));
        assert_eq!(fit((256, 256), (128, 256)), Rect::new(0.0, 64.0, 128.0, 128.0));
        assert_eq!(fit((256, 256), (1, 1)), Rect::new(0.0, 0.0, 1.0, 1.0));
    }

    #[test]
    fn time_between_frames_is_kept_within_reason() {
        let mut driver = Driver::default();
        let second = Duration::from_secs(1);
        assert_eq!(driver.elapse(Some(second)), DEFAULT_INTERVAL, "nothing to compare with");
        assert_eq!(driver.elapse(Some(second + Duration::from_millis(20))), Duration::from_millis(20));
        assert_eq!(driver.elapse(Some(second * 60)), LONGEST_INTERVAL);
        assert_eq!(driver.elapse(Some(second)), DEFAULT_INTERVAL, "backwards");
        assert_eq!(driver.elapse(None), DEFAULT_INTERVAL);
    }
}
