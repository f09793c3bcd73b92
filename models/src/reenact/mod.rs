//! A portrait animated by a driving video.
//!
//! A frame's way through [`Reenactor::process`]: the tracker finds the driver's face, the crop about it is sampled,
//! the key-point network reads it, [`motion`] puts its motion on the portrait's key points, the generator paints, and
//! the picture is composed into the output. While no face is found nothing of the driver is shown: the output is made
//! from the portrait alone, always.

mod crop;
mod fomm;
pub mod motion;
mod picture;
mod reference;
mod settings;

use std::time::Duration;

use deepfake_kernels::{compose, draw_disc, Affine, Frame, FrameMut, Layer, Point, Rect, Tensor};

use self::{
    crop::{fixed_map, Follower, Square},
    fomm::{Encoded, Fomm},
    motion::{transfer, Keypoints, Smoother},
    reference::{normalise, ReferenceKeeper},
};
use crate::{
    engine::{BackendReport, EngineOptions},
    face::{FaceTracker, Landmarks, Track, TrackerOptions},
    zoo, Error, Result, Stage, StageTimes,
};

pub use picture::Picture;
pub use settings::{CropMode, FaceLost, Motion, ReenactSettings, Reference};

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

#[derive(Debug)]
struct Portrait {
    encoded: Encoded,
    landmarks: Option<Vec<[f32; 2]>>,
}

/// The driver as it was in the last frame.
#[derive(Debug, Default)]
struct Driver {
    track: Option<u64>,
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
    fomm: Fomm,
    tracker: FaceTracker,
    portrait_tracker: FaceTracker,
    settings: ReenactSettings,
    portrait: Option<Portrait>,
    driver: Driver,
    reference: ReferenceKeeper,
    smoother: Smoother,
    /// The driver's key points that were put on the portrait last, to be put on another one that comes meanwhile.
    driving: Option<Keypoints>,
    prediction: Tensor,
    /// Key points of `prediction`, once it was painted from the present portrait.
    animated: Option<Keypoints>,
}

impl Reenactor {
    /// Loads the model and the face networks.
    ///
    /// # Errors
    /// Those of [`zoo::find`] and [`crate::engine::load`], and [`Error::Manifest`] if the model animates nothing.
    pub fn load(options: &ReenactorOptions) -> Result<Self> {
        let manifest = zoo::find(&options.model)?;
        let fomm = Fomm::load(&manifest, &options.engine)?;
        let tracking =
            TrackerOptions { max_faces: 1, min_face_size: SMALLEST_FACE, ..TrackerOptions::default() };
        Ok(Self {
            tracker: FaceTracker::load(&options.engine, tracking.clone())?,
            // Of several people in a portrait the largest counts; the tracker sorts nothing out by itself.
            portrait_tracker: FaceTracker::load(
                &options.engine,
                TrackerOptions { max_faces: 8, ..tracking },
            )?,
            fomm,
            settings: ReenactSettings::default(),
            portrait: None,
            driver: Driver::default(),
            reference: ReferenceKeeper::default(),
            smoother: Smoother::default(),
            driving: None,
            prediction: Tensor::default(),
            animated: None,
        })
    }

    /// Which backend runs the networks, and why.
    pub fn report(&self) -> &BackendReport {
        self.fomm.report()
    }

    /// Width and height of the model's picture.
    pub fn output_size(&self) -> (usize, usize) {
        self.fomm.size()
    }

    /// Takes other settings. The part of the portrait that is used changes with the next portrait only.
    pub fn set_settings(&mut self, settings: &ReenactSettings) {
        if settings.driver_crop != self.settings.driver_crop {
            self.smoother.reset();
        }
        if settings.driver_crop != self.settings.driver_crop || settings.reference != self.settings.reference
        {
            self.reference.reset();
        }
        self.settings = settings.clone();
    }

    /// Takes the portrait in `frame`. Where that fails, the one before stays.
    ///
    /// # Errors
    /// [`Error::NoFaceInPortrait`] if there is none and `source_crop` is [`CropMode::Track`]; [`Error::Network`].
    pub fn set_portrait(&mut self, frame: &Frame<'_>) -> Result<()> {
        let mut times = StageTimes::default();
        self.portrait_tracker.reset();
        let face = largest(self.portrait_tracker.update(frame, None, &mut times)?);
        let landmarks = face.and_then(|track| normalise(&track.landmarks.points));
        let map = match (self.settings.source_crop, face) {
            (CropMode::Track, None) => return Err(Error::NoFaceInPortrait),
            (CropMode::Track, Some(track)) => {
                let square = Square::about_face(track.landmarks.bounding_box(), self.fomm.crop());
                let (width, height) = self.fomm.size();
                Affine::from_rect(square.within((frame.width(), frame.height())).rect(), width, height)
            }
            (mode, _) => fixed_map(mode, (frame.width(), frame.height()), self.fomm.size()),
        };
        let encoded = self.fomm.encode(frame, &map, &mut times)?;
        self.portrait = Some(Portrait { encoded, landmarks });
        self.reference.portrait_changed();
        self.animated = None;
        Ok(())
    }

    /// Whether there is a portrait to animate.
    pub fn has_portrait(&self) -> bool {
        self.portrait.is_some()
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
        self.smoother.reset();
        self.driving = None;
        self.animated = None;
    }

    /// Forgets what came before, for another driving video; only portrait and settings stay.
    pub fn new_stream(&mut self) {
        self.flush();
        self.reference.reset();
    }

    /// Animates the portrait by the driving frame `driver` and writes all of `output`. `time` is the frame's place in
    /// the stream; without one a 25th of a second is assumed since the last.
    ///
    /// # Errors
    /// [`Error::NoPortrait`] and [`Error::Network`]; `output` is then unspecified, but never shows the driver.
    pub fn process(
        &mut self,
        driver: &Frame<'_>,
        time: Option<Duration>,
        output: &mut FrameMut<'_>,
    ) -> Result<Outcome> {
        if self.portrait.is_none() {
            return Err(Error::NoPortrait);
        }
        let mut times = StageTimes::default();
        let mut events = Vec::new();
        let elapsed = self.driver.elapse(time);
        let shown = match self.find_driver(driver, time, &mut events, &mut times)? {
            Sighting::Seen(face) => self.animate(driver, &face, elapsed, &mut events, &mut times)?,
            Sighting::Missed if self.hold(&mut times)? => Shown::Held,
            Sighting::Missed | Sighting::Lost => self.without_face(&mut times)?,
        };
        times.measure(Stage::Compose, || self.paint(shown, output));
        Ok(Outcome { shown, events, times })
    }

    /// Writes the still portrait to all of `output`.
    ///
    /// # Errors
    /// [`Error::NoPortrait`].
    pub fn show_portrait(&self, output: &mut FrameMut<'_>) -> Result<()> {
        if self.portrait.is_none() {
            return Err(Error::NoPortrait);
        }
        self.paint(Shown::Source, output);
        Ok(())
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
            self.smoother.reset();
            if id.is_some() {
                self.reference.driver_changed(self.settings.reference);
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
        events: &mut Vec<Event>,
        times: &mut StageTimes,
    ) -> Result<Shown> {
        let map = match self.settings.driver_crop {
            CropMode::Track => {
                let square = Square::about_face(face.bounding_box(), self.fomm.crop());
                let square = self.driver.follower.step(square, elapsed);
                let (width, height) = self.fomm.size();
                Affine::from_rect(square.rect(), width, height)
            }
            mode => fixed_map(mode, (frame.width(), frame.height()), self.fomm.size()),
        };
        let driving = self.fomm.drive(frame, &map, times)?;
        // The driver's motion is smoothed, not its sum with the portrait, which may move by itself.
        let driving = self.smoother.step(driving, self.settings.smoothing, elapsed);
        let Some(portrait) = &self.portrait else { return Err(Error::NoPortrait) };
        let landmarks = normalise(&face.points);
        let taken = self.reference.offer(
            self.settings.reference,
            &driving,
            landmarks.as_deref(),
            portrait.landmarks.as_deref(),
            elapsed,
        );
        if taken {
            events.push(Event::ReferenceTaken);
        }
        self.driving = Some(driving);
        if self.generate(times)? {
            Ok(Shown::Animated)
        } else {
            Ok(Shown::Source)
        }
    }

    /// Puts the driver's last motion on the present portrait. `false`: there is none, or it is relative to a reference
    /// that the user has not named yet.
    fn generate(&mut self, times: &mut StageTimes) -> Result<bool> {
        let (Some(portrait), Some(driving)) = (&self.portrait, &self.driving) else { return Ok(false) };
        let source = &portrait.encoded.keypoints;
        let moved = match (self.settings.motion, self.reference.get()) {
            (Motion::Relative, Some(reference)) => transfer(source, driving, reference, &self.settings),
            (Motion::Relative, None) => return Ok(false),
            (Motion::Absolute, _) => transfer(source, driving, driving, &self.settings),
        };
        // Half-painted or painted for another portrait: not to be held, should the generator fail.
        self.animated = None;
        self.fomm.generate(&portrait.encoded, &moved, &mut self.prediction, times)?;
        self.animated = Some(moved);
        Ok(true)
    }

    /// Sees to it that there is an animated picture of the present portrait to be shown once more.
    fn hold(&mut self, times: &mut StageTimes) -> Result<bool> {
        Ok(self.animated.is_some() || self.generate(times)?)
    }

    fn without_face(&mut self, times: &mut StageTimes) -> Result<Shown> {
        let wanted = self.settings.on_face_lost;
        Ok(match wanted {
            FaceLost::Hold if self.hold(times)? => Shown::Held,
            FaceLost::Hold | FaceLost::Source => Shown::Source,
            FaceLost::Black => Shown::Black,
        })
    }

    fn paint(&self, shown: Shown, output: &mut FrameMut<'_>) {
        let (width, height) = self.fomm.size();
        let image = match (shown, &self.portrait) {
            (Shown::Animated | Shown::Held, _) => Some(self.prediction.data()),
            (Shown::Source, Some(portrait)) => Some(portrait.encoded.image.data()),
            (Shown::Source, None) | (Shown::Black, _) => None,
        };
        let placed = fit((width, height), (output.width(), output.height()));
        let map = Affine::from_rect(placed, width, height).inverse();
        let layer = image.zip(map).map(|(image, map)| Layer { image, width, height, map, feather: 0.0 });
        compose(layer.as_slice(), [0.0; 3], output);
        if self.settings.keypoints && matches!(shown, Shown::Animated | Shown::Held) {
            if let Some(keypoints) = &self.animated {
                draw_keypoints(keypoints, placed, output);
            }
        }
    }
}

impl Driver {
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

fn draw_keypoints(keypoints: &Keypoints, placed: Rect, output: &mut FrameMut<'_>) {
    const COLORS: [[f32; 3]; 5] =
        [[1.0, 0.2, 0.2], [0.2, 1.0, 0.2], [0.3, 0.5, 1.0], [1.0, 1.0, 0.2], [1.0, 0.3, 1.0]];
    let radius = (placed.width / 64.0).max(1.5);
    for (index, [x, y]) in keypoints.value.iter().enumerate() {
        let at = Point {
            x: placed.x + (x + 1.0) / 2.0 * placed.width,
            y: placed.y + (y + 1.0) / 2.0 * placed.height,
        };
        draw_disc(output, at, radius, COLORS[index % COLORS.len()]);
    }
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
