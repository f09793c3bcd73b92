//! How likely the faces of a video were synthesised.
//!
//! A frame's way through [`Inspector::process`]: the tracker follows the faces, those that are due are cropped and
//! classified in one batch, and each track keeps the scores of the last seconds for a [`verdict`](Label).

mod fwa;
mod overlay;
mod verdict;

use std::{collections::BTreeMap, time::Duration};

use deepfake_kernels::{Device, Frame, FrameMut, Memory, Rect};

use self::{
    fwa::Fwa,
    verdict::{ScoreHistory, Thresholds},
};
use crate::{
    engine::{both, choose, precision, BackendReport, EngineOptions, Intake, Platform},
    face::{FaceTracker, TrackerOptions},
    zoo, Result, StageTimes,
};

pub use fwa::MOST_CROPS;
pub use verdict::Label;

/// How an [`Inspector`] is made.
#[derive(Clone, Debug)]
pub struct InspectorOptions {
    /// Name of a model in the zoo, or path of a manifest.
    pub model: String,
    /// How its network is run.
    pub engine: EngineOptions,
}

/// Where the faces come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaceSource {
    /// From upstream where it named any, else from the own detector.
    #[default]
    Auto,
    /// Always from the own detector.
    Detector,
    /// Always from upstream; where it names none, there are none.
    Metadata,
}

/// The settings of an [`Inspector`].
#[derive(Clone, Debug, PartialEq)]
pub struct InspectSettings {
    /// Score from which on a face is called fake, 0..1; `None`: the model's.
    pub threshold: Option<f32>,
    /// Every how many frames of a track it is classified; at least 1.
    pub interval: u32,
    /// Most faces that are followed.
    pub max_faces: u32,
    /// Least longer side of a face, in pixels.
    pub min_face_size: u32,
    /// Crops of a face that are looked at, 1 to [`MOST_CROPS`].
    pub crops: u32,
    /// How far back scores count for the verdict.
    pub window: Duration,
    /// Where the faces come from.
    pub faces: FaceSource,
}

impl Default for InspectSettings {
    fn default() -> Self {
        Self {
            threshold: None,
            interval: 1,
            max_faces: 8,
            min_face_size: 48,
            crops: 1,
            window: Duration::from_secs(2),
            faces: FaceSource::Auto,
        }
    }
}

/// What is known of a face in a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct FaceReport {
    /// The same for the same face as long as it is followed.
    pub track_id: u64,
    /// Where it is, in pixels of the frame.
    pub rect: Rect,
    /// That it is a face, 0..1.
    pub detection_confidence: f32,
    /// That it is a fake in this frame, 0 (real) to 1 (fake).
    pub score: f32,
    /// Mean of the scores in the window.
    pub smoothed_score: f32,
    /// The verdict by the smoothed score.
    pub label: Label,
    /// Whether the score is an earlier frame's, because this one was not due.
    pub stale: bool,
}

/// What became of a frame.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The faces in it.
    pub faces: Vec<FaceReport>,
    /// Of each face that was classified in this frame: the crops and their scores.
    pub crops: Vec<Vec<(Rect, f32)>>,
    /// How long the stages took.
    pub times: StageTimes,
}

/// What is known of a face over all frames.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackSummary {
    /// Which face.
    pub track_id: u64,
    /// Frames in which it was classified.
    pub frames: u64,
    /// Mean score.
    pub mean: f32,
    /// Highest score.
    pub max: f32,
    /// The verdict by the mean score.
    pub label: Label,
}

/// What is known of the whole stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Frames seen, with or without a face.
    pub frames: u64,
    /// The faces; of more than [`MOST_TRACKS`] the last.
    pub tracks: Vec<TrackSummary>,
    /// Mean score of all faces and frames; `None` if there was no face.
    pub mean: Option<f32>,
    /// Highest score; `None` if there was no face.
    pub max: Option<f32>,
    /// The verdict by the mean score; `None` if there was no face.
    pub label: Option<Label>,
}

/// Tracks whose totals are kept; a stream without an end must not take memory without one.
pub const MOST_TRACKS: usize = 1024;

#[derive(Debug, Default)]
struct FaceRecord {
    history: ScoreHistory,
    seen: u64,
}

/// Inspects the faces of a video.
#[derive(Debug)]
pub struct Inspector {
    device: Device,
    intake: Intake,
    fwa: Fwa,
    tracker: FaceTracker,
    settings: InspectSettings,
    records: BTreeMap<u64, FaceRecord>,
    frames: u64,
    clock: Clock,
    totals: Totals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    scores: u64,
    sum: f64,
    max: f32,
}

/// Time where frames have none: a 25th of a second each.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    now: Duration,
}

impl Clock {
    fn tick(&mut self, time: Option<Duration>) -> Duration {
        self.now = time.unwrap_or(self.now + Duration::from_millis(40));
        self.now
    }
}

impl Inspector {
    /// Loads the model and the face networks.
    ///
    /// # Errors
    /// Those of [`zoo::find`] and [`crate::engine::Platform::load`], and [`crate::Error::Manifest`] if the model is no
    /// classifier.
    pub fn load(options: &InspectorOptions) -> Result<Self> {
        choose(&options.engine, |platform| Self::load_on(platform, &options.model))
    }

    fn load_on(platform: &Platform, model: &str) -> Result<Self> {
        let manifest = zoo::find(model)?;
        let settings = InspectSettings::default();
        let (tracker, fwa) = both(
            platform.device(),
            || FaceTracker::load_on(platform, tracker_options(&settings)),
            || precision::load::<Fwa>(&manifest, platform),
        );
        Ok(Self {
            device: platform.device().clone(),
            intake: Intake::default(),
            fwa: fwa?,
            tracker: tracker?,
            settings,
            records: BTreeMap::new(),
            frames: 0,
            clock: Clock::default(),
            totals: Totals::default(),
        })
    }

    /// Which backend runs the network, and why.
    pub fn report(&self) -> &BackendReport {
        self.fwa.report()
    }

    /// The model's own threshold.
    pub fn default_threshold(&self) -> f32 {
        self.fwa.threshold()
    }

    /// Takes other settings.
    pub fn set_settings(&mut self, settings: &InspectSettings) {
        self.tracker.set_options(tracker_options(settings));
        self.settings = settings.clone();
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds {
            fake: self.settings.threshold.unwrap_or_else(|| self.fwa.threshold()),
            real: self.fwa.uncertain_from(),
        }
    }

    /// Inspects a frame. `time` is its place in the stream; `regions` are faces that upstream found.
    ///
    /// # Errors
    /// [`crate::Error::Network`] if a network fails.
    pub fn process(
        &mut self,
        frame: &Frame<'_>,
        time: Option<Duration>,
        regions: Option<&[Rect]>,
    ) -> Result<Analysis> {
        let mut intake = std::mem::take(&mut self.intake);
        let analysis =
            intake.take(&self.device, frame).and_then(|frame| self.process_there(&frame, time, regions));
        self.intake = intake;
        if analysis.is_err() {
            // Nothing may still be read when the caller takes the frame back.
            let _ = self.device.synchronize();
        }
        analysis
    }

    /// [`process`](Self::process) for a frame on the device. Every result is waited for, so that nothing reads the frame
    /// any more when it returns.
    fn process_there(
        &mut self,
        frame: &Frame<'_>,
        time: Option<Duration>,
        regions: Option<&[Rect]>,
    ) -> Result<Analysis> {
        let mut times = StageTimes::default();
        let thresholds = self.thresholds();
        self.frames += 1;
        let now = self.clock.tick(time);
        let regions = match self.settings.faces {
            FaceSource::Detector => None,
            FaceSource::Auto => regions.filter(|regions| !regions.is_empty()),
            FaceSource::Metadata => Some(regions.unwrap_or_default()),
        };
        let tracks = match regions {
            Some(regions) => self.tracker.update_with_regions(frame, regions, time, &mut times)?,
            None => self.tracker.update(frame, time, &mut times)?,
        };
        let interval = u64::from(self.settings.interval.max(1));
        let (mut due, mut boxes) = (Vec::new(), Vec::new());
        for track in tracks.iter().filter(|track| track.missed == 0) {
            let record = self.records.entry(track.id).or_default();
            if record.seen.is_multiple_of(interval) || record.history.last().is_none() {
                due.push(track.id);
                boxes.push(track.landmarks.bounding_box());
            }
            record.seen += 1;
        }
        let crops = self.fwa.scores(frame, &boxes, self.settings.crops as usize, &mut times)?;
        for (id, score) in due.iter().zip(crops.iter().map(|crops| fwa::face_score(crops))) {
            if let Some(record) = self.records.get_mut(id) {
                record.history.push(now, score, self.settings.window);
            }
            self.totals.scores += 1;
            self.totals.sum += f64::from(score);
            self.totals.max = self.totals.max.max(score);
        }
        let faces = tracks
            .iter()
            .filter(|track| track.missed == 0)
            .filter_map(|track| {
                let history = &self.records.get(&track.id)?.history;
                let smoothed_score = history.smoothed()?;
                Some(FaceReport {
                    track_id: track.id,
                    rect: track.rect,
                    detection_confidence: track.confidence,
                    score: history.last()?,
                    smoothed_score,
                    label: thresholds.label(smoothed_score),
                    stale: !due.contains(&track.id),
                })
            })
            .collect();
        forget_oldest(&mut self.records, |id| tracks.iter().any(|track| track.id == id));
        Ok(Analysis { faces, crops, times })
    }

    /// Draws a box about each face of `analysis` into `frame`, coloured by its label (green real, red fake, yellow
    /// uncertain), and above it the label with the smoothed score in percent. Faces of which several crops were looked at are
    /// covered by a heat map of the crops' scores. All is drawn when this returns.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the frame lies in the memory of a GPU that is not the inspector's.
    pub fn draw_overlay(&self, analysis: &Analysis, frame: &mut FrameMut<'_>) -> Result<()> {
        match frame.memory() {
            Memory::Host => overlay::draw(&Device::Cpu, analysis, frame),
            Memory::Cuda => {
                let drawn = overlay::draw(&self.device, analysis, frame);
                self.device.synchronize()?;
                drawn
            }
        }
    }

    /// What is known so far of the whole stream.
    pub fn summary(&self) -> Summary {
        let thresholds = self.thresholds();
        let tracks = self.records.iter().filter_map(|(&track_id, record)| {
            let mean = record.history.mean()?;
            Some(TrackSummary {
                track_id,
                frames: record.history.frames(),
                mean,
                max: record.history.max(),
                label: thresholds.label(mean),
            })
        });
        let mean = (self.totals.scores > 0).then(|| (self.totals.sum / self.totals.scores as f64) as f32);
        Summary {
            frames: self.frames,
            tracks: tracks.collect(),
            mean,
            max: mean.map(|_| self.totals.max),
            label: mean.map(|mean| thresholds.label(mean)),
        }
    }

    /// Forgets what came before, after a seek; totals stay.
    pub fn flush(&mut self) {
        self.tracker.reset();
        self.clock = Clock::default();
        for record in self.records.values_mut() {
            record.history.flush();
        }
    }

    /// Forgets everything, for a new stream.
    pub fn reset(&mut self) {
        self.flush();
        self.records.clear();
        self.frames = 0;
        self.totals = Totals::default();
    }
}

/// Makes room in too many records by dropping the oldest that is not in use; ids grow, so the first are the oldest.
fn forget_oldest(records: &mut BTreeMap<u64, FaceRecord>, in_use: impl Fn(u64) -> bool) {
    while records.len() > MOST_TRACKS {
        let Some(oldest) = records.keys().copied().find(|id| !in_use(*id)) else { return };
        records.remove(&oldest);
    }
}

fn tracker_options(settings: &InspectSettings) -> TrackerOptions {
    TrackerOptions {
        max_faces: settings.max_faces as usize,
        min_face_size: settings.min_face_size as f32,
        ..TrackerOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_that_is_still_there_is_never_forgotten_for_new_ones() {
        let mut records = BTreeMap::new();
        for id in 0..3 * MOST_TRACKS as u64 {
            records.insert(id, FaceRecord::default());
            forget_oldest(&mut records, |id| id == 0);
        }
        assert_eq!(records.len(), MOST_TRACKS);
        assert!(records.contains_key(&0) && !records.contains_key(&1));
    }

    #[test]
    fn frames_without_a_time_are_counted_as_25_a_second() {
        let mut clock = Clock::default();
        assert_eq!(clock.tick(Some(Duration::from_secs(1))), Duration::from_secs(1));
        assert_eq!(clock.tick(None), Duration::from_millis(1040));
    }
}
