//! A portrait animated by a driving video.
//!
//! A frame's way through [`Reenactor::process`]: the tracker finds the driver's face, the crop about it is sampled, the motion
//! model paints the portrait as that moves, and the picture is composed into the output. There are two kinds of models: in
//! `fomm.rs` a network reads key points off the crop, [`Device::transfer`] puts their motion on the portrait's, and a
//! generator paints; in `x2face.rs` a network tells where in the portrait's embedded face each pixel is found. While no face is
//! found nothing of the driver is shown: the output is made from the portrait alone, always.

mod crop;
mod fomm;
mod model;
mod picture;
mod reference;
mod scene;
mod settings;
mod smoother;
mod x2face;

use std::time::{Duration, Instant};

use deepfake_kernels::{
    Affine, Background, Device, Frame, FrameMut, Layer, Memory, Point, Rect, Shape, Tensor,
};

use self::{
    crop::{fixed_map, Follower, Square},
    model::{MotionModel, Start},
    reference::{normalise, ReferenceKeeper},
    scene::Scene,
};
use crate::{
    engine::{both, choose, BackendReport, EngineOptions, Intake, Outlet, Platform, Replayed},
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
    /// The first of its pictures as the model sees it, planar RGB in 0..1, `[1, 3, height, width]`.
    image: Tensor,
    /// Pictures of the next one, so that one that fails leaves this one alone.
    next: Vec<Tensor>,
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
    /// Of the model.
    name: String,
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
    model: Box<dyn MotionModel>,
    settings: ReenactSettings,
    portrait: Portrait,
    /// The model has seen a driver, whose motion is to be put on another portrait that comes meanwhile.
    driven: bool,
    prediction: Tensor,
    /// `prediction` was painted from the present portrait, as the driver was last seen.
    animated: bool,
    replayed: Replayed,
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
        let (tracker, model) = both(
            platform.device(),
            || FaceTracker::load_on(&beside, tracking.clone()),
            || model::load(&manifest, platform),
        );
        Ok(Self {
            name: manifest.model().name.clone(),
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
                model: model?,
                settings: ReenactSettings::default(),
                portrait: Portrait::default(),
                driven: false,
                prediction: Tensor::default(),
                animated: false,
                replayed: Replayed::new(&manifest.model().name, platform),
            },
        })
    }

    /// Which backend runs the networks, and why.
    pub fn report(&self) -> &BackendReport {
        self.animator.model.report()
    }

    /// Whether the model has key points. Without them the driver's pose is always taken as it is: what settings say of motion,
    /// reference, smoothing and key points has no effect.
    pub fn has_keypoints(&self) -> bool {
        self.animator.model.keypoints().is_some()
    }

    /// Width and height of the picture that the output shows: the portrait's whole one with [`Composition::Scene`], once
    /// there is a portrait, else the model's.
    pub fn output_size(&self) -> (usize, usize) {
        let scene = match self.animator.settings.composition {
            Composition::Scene => self.animator.portrait.scene.size(),
            Composition::Portrait => None,
        };
        scene.unwrap_or_else(|| self.animator.size())
    }

    /// Takes other settings. The part of the portrait that is used, and what of it is shown, change with the next portrait
    /// only.
    pub fn set_settings(&mut self, settings: &ReenactSettings) {
        let old = &self.animator.settings;
        if settings.driver_crop != old.driver_crop {
            self.animator.model.reset();
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
        self.set_portraits(std::slice::from_ref(frame))
    }

    /// Takes the portrait of one person in several `pictures`, of which some models make a fuller face than of one. The
    /// first is what is shown where nothing is animated. Where that fails, the portrait before stays.
    ///
    /// # Errors
    /// [`Error::NoPortrait`] without pictures, [`Error::TooManyPortraits`] with more than the model can use,
    /// [`Error::NoFaceInPicture`] if there is none in one of several, and those of [`set_portrait`](Self::set_portrait).
    pub fn set_portraits(&mut self, pictures: &[Frame<'_>]) -> Result<()> {
        let most = self.animator.model.most_portraits();
        if pictures.len() > most {
            return Err(Error::TooManyPortraits { model: self.name.clone(), given: pictures.len(), most });
        }
        let mut intake = std::mem::take(&mut self.intake);
        let device = self.animator.device.clone();
        let taken = self.take_portraits(&mut intake, pictures);
        self.intake = intake;
        // Nothing may still be read when the caller takes the frames back.
        let done = device.synchronize();
        taken?;
        Ok(done?)
    }

    fn take_portraits(&mut self, intake: &mut Intake, pictures: &[Frame<'_>]) -> Result<()> {
        let (first, others) = pictures.split_first().ok_or(Error::NoPortrait)?;
        let count = pictures.len();
        let of_several = |index: usize, error: Error| match error {
            Error::NoFaceInPortrait if count > 1 => Error::NoFaceInPicture { number: index + 1, count },
            error => error,
        };
        let mut times = StageTimes::default();
        let device = self.animator.device.clone();
        self.animator.portrait.next.resize_with(count, Tensor::default);
        for (index, picture) in (1..).zip(others) {
            let taken =
                intake.take(&device, picture).and_then(|frame| self.take_picture(index, &frame, &mut times));
            taken.map_err(|error| of_several(index, error))?;
        }
        // Last, as a scene takes more of it than the face, and the intake holds one frame.
        let first = intake.take(&device, first)?;
        let (map, landmarks) =
            self.take_picture(0, &first, &mut times).map_err(|error| of_several(0, error))?;
        let Animator { model, settings, portrait, animated, .. } = &mut self.animator;
        model.encode(&portrait.next, &mut times)?;
        if settings.composition == Composition::Scene {
            portrait.scene.set(&device, &first, map)?;
        }
        model.adopt()?;
        std::mem::swap(&mut portrait.image, &mut portrait.next[0]);
        portrait.landmarks = landmarks;
        portrait.there = true;
        *animated = false;
        self.reference.portrait_changed();
        Ok(())
    }

    /// Cuts picture number `index` of the next portrait out of `frame`. Returns where, and the face's landmarks if it has one.
    fn take_picture(
        &mut self,
        index: usize,
        frame: &Frame<'_>,
        times: &mut StageTimes,
    ) -> Result<(Affine, Option<Vec<[f32; 2]>>)> {
        self.portrait_tracker.reset();
        let face = largest(self.portrait_tracker.update(frame, None, times)?);
        let Animator { device, model, settings, portrait, .. } = &mut self.animator;
        let spec = model.spec();
        let map = match (settings.source_crop, face) {
            (CropMode::Track, None) => return Err(Error::NoFaceInPortrait),
            (CropMode::Track, Some(track)) => {
                let square = Square::about_face(track.landmarks.bounding_box(), model.crop());
                let square = square.within((frame.width(), frame.height()));
                Affine::from_rect(square.rect(), spec.width, spec.height)
            }
            (mode, _) => fixed_map(mode, (frame.width(), frame.height()), (spec.width, spec.height)),
        };
        let landmarks = face.and_then(|track| normalise(&track.landmarks.points));
        let picture = &mut portrait.next[index];
        times.measure(Stage::Sample, || device.sample(frame, &[map], spec, picture))?;
        Ok((map, landmarks))
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
        self.animator.model.reset();
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
                    self.driver.follow(face, self.animator.model.crop(), elapsed);
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
        let Animator { device, settings, .. } = &self.animator;
        let settled = self.reference.is_kept() && !self.reference.is_searching(settings.reference);
        let surely = device.cuda().is_some() && self.driver.seen && (settled || !self.has_keypoints());
        let (width, height) = self.animator.size();
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
            self.animator.model.reset();
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
        let size = self.animator.size();
        let map = match self.animator.settings.driver_crop {
            CropMode::Track => {
                let square = self.driver.follow(face, self.animator.model.crop(), elapsed);
                Affine::from_rect(square.rect(), size.0, size.1)
            }
            mode => fixed_map(mode, (frame.width(), frame.height()), size),
        };
        let start = if self.has_keypoints() && self.is_reference(face, elapsed) {
            events.push(Event::ReferenceTaken);
            Start::Here
        } else {
            self.start()
        };
        self.animator.animate(frame, &map, start, elapsed, output, times)
    }

    /// Whether relative motion starts from this frame from now on.
    fn is_reference(&mut self, face: &Landmarks, elapsed: Duration) -> bool {
        let Animator { settings, portrait, .. } = &self.animator;
        let landmarks = normalise(&face.points);
        self.reference.offer(settings.reference, landmarks.as_deref(), portrait.landmarks.as_deref(), elapsed)
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
        self.model.step(&self.settings, elapsed);
        // Half-painted or painted for another portrait: not to be held, should anything fail.
        self.animated = false;
        let mut replayed = std::mem::take(&mut self.replayed);
        let device = self.device.clone();
        let can_move = self.can_move(start);
        let shown = if can_move { Shown::Animated } else { Shown::Source };
        let keep = self.driven && device.cuda().is_some();
        let done = replayed.run(&device, || {
            self.model.drive(frame, map, keep, times)?;
            if can_move {
                self.generate(start, times)?;
            }
            times.measure(Stage::Compose, || self.paint(shown, output))
        });
        self.replayed = replayed;
        done?;
        self.driven = true;
        self.animated = can_move;
        if start == Start::Here {
            self.model.keep_reference()?;
        }
        Ok(shown)
    }

    /// Width and height of the model's pictures.
    fn size(&self) -> (usize, usize) {
        let spec = self.model.spec();
        (spec.width, spec.height)
    }

    /// Undoes the last frame, in which there was no face after all: what is held from now on is what was shown before it.
    fn take_back(&mut self) -> Result<()> {
        self.animated = false;
        self.model.take_back()
    }

    /// Whether it is known how to move: where motion is relative, there must be a reference, which the user may have to name.
    fn can_move(&self, start: Start) -> bool {
        self.model.keypoints().is_none()
            || self.settings.motion == Motion::Absolute
            || start != Start::Nowhere
    }

    /// Puts the driver's last motion on the present portrait.
    fn generate(&mut self, start: Start, times: &mut StageTimes) -> Result<()> {
        self.model.generate(&self.settings, start, &mut self.prediction, times)
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
        let (width, height) = self.size();
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
            Shown::Source => Some(&self.portrait.image),
            Shown::Black => None,
        };
        let feather = if scene.is_some() { Scene::feather(self.size().0) } else { 0.0 };
        let map = self.map_to_picture((output.width(), output.height()));
        let layer = image.zip(map).map(|(image, map)| Layer { image, map, feather });
        let background = scene.as_ref().map_or(BLACK, Background::Picture);
        Ok(self.device.compose(layer.as_slice(), background, output)?)
    }

    /// Draws the key points of the animated picture into `output`, wherever that lies.
    fn draw_keypoints(&self, output: &mut FrameMut<'_>) -> Result<()> {
        const COLORS: [[f32; 3]; 5] =
            [[1.0, 0.2, 0.2], [0.2, 1.0, 0.2], [0.3, 0.5, 1.0], [1.0, 1.0, 0.2], [1.0, 0.3, 1.0]];
        let Some(keypoints) = self.model.keypoints() else { return Ok(()) };
        let (width, height) = self.size();
        let to_picture = self.map_to_picture((output.width(), output.height()));
        let Some(to_output) = to_picture.and_then(|map| map.inverse()) else { return Ok(()) };
        let mut values = Tensor::default();
        self.device.download([(keypoints, &mut values)])?;
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
