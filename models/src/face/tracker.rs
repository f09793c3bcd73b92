//! Follows faces from frame to frame.

use std::time::Duration;

use deepfake_kernels::{Device, Frame, Rect};

use super::{
    association::{associate, same_face},
    cut::CutDetector,
    filter::Strength,
    plausibility::{continues, is_face},
    schedule::{Schedule, Search, Situation},
    steady::Steady,
    suppression::merge,
    Face, FaceDetector, LandmarkNetwork, Landmarks, Region,
};
use crate::{
    engine::{both, choose, EngineOptions, Intake, Platform},
    Result, Stage, StageTimes,
};

/// Time between frames where their timestamps do not tell, in seconds.
const DEFAULT_INTERVAL: f32 = 1.0 / 30.0;
/// Longer gaps between frames are counted as this much, in seconds.
const LONGEST_INTERVAL: f32 = 1.0;
/// A face below the least size by this factor is not given up yet, so that one at the limit does not come and go.
const SIZE_TOLERANCE: f32 = 0.8;

/// What a [`FaceTracker`] follows.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackerOptions {
    /// Most faces to follow at a time; the largest are taken first.
    pub max_faces: usize,
    /// Least length of the longer side of a face's box, in pixels of the frame.
    pub min_face_size: f32,
    /// How much boxes and points are smoothed over time: 0 (not at all) to 1 (much).
    pub smoothing: f32,
    /// While there is room for more faces, both detectors run every this many frames.
    pub detection_interval: u32,
    /// Least presence for a new face, 0..1.
    pub start_presence: f32,
    /// Least presence for a face that is followed already, 0..1; below `start_presence`, so that a face does not
    /// come and go.
    pub stop_presence: f32,
    /// Frames that a face may be missed before its track ends.
    pub max_missed: u32,
}

impl Default for TrackerOptions {
    fn default() -> Self {
        Self {
            max_faces: 1,
            min_face_size: 32.0,
            smoothing: 0.3,
            detection_interval: 10,
            start_presence: 0.6,
            stop_presence: 0.4,
            max_missed: 12,
        }
    }
}

/// A face followed over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Never used twice by one tracker.
    pub id: u64,
    /// The smoothed box about the landmarks, in pixels of the frame; the last one while the face is missed.
    pub rect: Rect,
    /// How sure the landmark network was when the face was last seen, 0..1.
    pub confidence: f32,
    /// The smoothed landmarks; the last ones while the face is missed.
    pub landmarks: Landmarks,
    /// Frames since the face was seen; 0: it is seen in this one.
    pub missed: u32,
    /// Frames since the face was first seen.
    pub age: u32,
}

/// What a track needs from one frame to the next, beside what it shows.
#[derive(Debug)]
struct Memory {
    /// Where the landmark network looks for the face in the next frame: about the raw points of the last one.
    region: Region,
    steady: Steady,
    /// Seconds since the face was last seen.
    unseen: f32,
}

/// Follows faces as MediaPipe does: while a face is followed, the region in which its points are looked for comes
/// from its points in the last frame, and the detectors rest.
///
/// # When the detectors run
/// * As many faces as wanted are followed: never.
/// * In the first frame, also that of a new shot, if more than one face is wanted: both.
/// * A face was lost in this frame: the short range, then the full one if that brought nothing.
/// * No face is followed: the short range in every frame, and if it finds nothing the full one in every third.
/// * There is room for more faces: both every [`TrackerOptions::detection_interval`] frames.
/// * A face was lost not long ago: the short range in every frame.
///
/// # What counts as a face
/// A hit of the detector (or a region from upstream) counts only if the landmark network finds a face there
/// ([`TrackerOptions::start_presence`]). A face is lost when its presence falls below
/// [`TrackerOptions::stop_presence`], when its points make no face, when it jumps, or when another shot begins; in the
/// same frame it is looked for again. If it is found near where it was within [`TrackerOptions::max_missed`] frames, it
/// keeps its id. Faces of another shot get new ids.
///
/// # Memory
/// At most twice [`TrackerOptions::max_faces`] tracks are kept, those missed included.
#[derive(Debug)]
pub struct FaceTracker {
    device: Device,
    intake: Intake,
    detector: FaceDetector,
    network: LandmarkNetwork,
    options: TrackerOptions,
    tracks: Vec<Track>,
    /// One for each of `tracks`.
    memories: Vec<Memory>,
    schedule: Schedule,
    cuts: CutDetector,
    last_time: Option<Duration>,
    next_id: u64,
    buffers: Buffers,
}

/// Used again in every frame.
#[derive(Debug, Default)]
struct Buffers {
    landmarks: Landmarks,
    faces: Vec<Face>,
    more: Vec<Face>,
    hits: Vec<Region>,
    hit_rects: Vec<Rect>,
    lost_rects: Vec<Rect>,
    lost: Vec<usize>,
    pairs: Vec<(usize, usize)>,
}

impl FaceTracker {
    /// Loads the networks from the zoo.
    ///
    /// # Errors
    /// If one is missing, damaged or of another shape than its manifest says, or if the backend cannot run it.
    pub fn load(engine: &EngineOptions, options: TrackerOptions) -> Result<Self> {
        choose(engine, |platform| Self::load_on(platform, options.clone()))
    }

    /// Like [`load`](Self::load), on a platform that is there already.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(platform: &Platform, options: TrackerOptions) -> Result<Self> {
        let (network, detector) = both(
            platform.device(),
            || LandmarkNetwork::load_on(platform),
            || FaceDetector::load_on(platform),
        );
        Ok(Self {
            device: platform.device().clone(),
            intake: Intake::default(),
            detector: detector?,
            network: network?,
            options,
            tracks: Vec::new(),
            memories: Vec::new(),
            schedule: Schedule::new(),
            cuts: CutDetector::new(),
            last_time: None,
            next_id: 0,
            buffers: Buffers::default(),
        })
    }

    /// The options in force.
    pub fn options(&self) -> &TrackerOptions {
        &self.options
    }

    /// Takes other options from the next frame on. Faces that are followed stay so, as far as `max_faces` allows.
    pub fn set_options(&mut self, options: TrackerOptions) {
        self.options = options;
        while let Some(youngest) = self.tracks.iter().rposition(|t| t.missed == 0) {
            if self.seen() <= self.options.max_faces {
                break;
            }
            self.remove(youngest);
        }
    }

    /// Forgets everything but the ids already given: after a seek, a flush, or a change of format.
    pub fn reset(&mut self) {
        self.tracks.clear();
        self.memories.clear();
        self.schedule = Schedule::new();
        self.cuts.reset();
        self.last_time = None;
    }

    /// The tracks as of the last frame, oldest first.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Follows the faces into `frame`, which is shown at `time` (`None`: a thirtieth of a second after the last one),
    /// and looks for new ones. Returns the tracks, oldest first, those included that are missed in this frame.
    ///
    /// # Errors
    /// If a network fails. The tracker may be used further.
    pub fn update(
        &mut self,
        frame: &Frame<'_>,
        time: Option<Duration>,
        times: &mut StageTimes,
    ) -> Result<&[Track]> {
        let mut intake = std::mem::take(&mut self.intake);
        let updated =
            intake.take(&self.device, frame).and_then(|frame| self.update_there(&frame, time, times));
        self.intake = intake;
        updated?;
        Ok(&self.tracks)
    }

    /// [`update`](Self::update) for a frame on the device.
    fn update_there(
        &mut self,
        frame: &Frame<'_>,
        time: Option<Duration>,
        times: &mut StageTimes,
    ) -> Result<()> {
        let broken = self.follow(frame, time, times)?;
        let situation = self.situation(broken);
        match self.schedule.next(situation, self.options.detection_interval.max(1)) {
            Search::Nothing => {}
            Search::Short => {
                self.search_short(frame, times)?;
            }
            Search::ShortElseFull => {
                if self.search_short(frame, times)? == 0 {
                    let mut faces = std::mem::take(&mut self.buffers.faces);
                    let searched = self.detector.detect_full(frame, &mut faces, times);
                    self.buffers.faces = faces;
                    searched?;
                    self.take_faces(frame, times)?;
                }
            }
            Search::Both => {
                let Buffers { faces, more, .. } = &mut self.buffers;
                self.detector.detect_short(frame, faces, times)?;
                self.detector.detect_full(frame, more, times)?;
                merge(faces, more);
                self.take_faces(frame, times)?;
            }
        }
        self.end_frame();
        Ok(())
    }

    /// Like [`update`](Self::update), but with the boxes of all faces in `frame`, as far as they are known upstream,
    /// instead of the detectors.
    ///
    /// # Errors
    /// If a network fails. The tracker may be used further.
    pub fn update_with_regions(
        &mut self,
        frame: &Frame<'_>,
        regions: &[Rect],
        time: Option<Duration>,
        times: &mut StageTimes,
    ) -> Result<&[Track]> {
        let mut intake = std::mem::take(&mut self.intake);
        let updated = intake
            .take(&self.device, frame)
            .and_then(|frame| self.update_with_regions_there(&frame, regions, time, times));
        self.intake = intake;
        updated?;
        Ok(&self.tracks)
    }

    fn update_with_regions_there(
        &mut self,
        frame: &Frame<'_>,
        regions: &[Rect],
        time: Option<Duration>,
        times: &mut StageTimes,
    ) -> Result<()> {
        self.follow(frame, time, times)?;
        self.buffers.hits.clear();
        self.buffers.hits.extend(
            regions
                .iter()
                .filter(|r| [r.x, r.y, r.width, r.height].iter().all(|v| v.is_finite()))
                .map(|r| Region::about(*r, 0.0)),
        );
        self.take_hits(frame, times)?;
        self.end_frame();
        Ok(())
    }

    fn situation(&self, broken: bool) -> Situation {
        let seen = self.tracks.iter().filter(|t| t.missed == 0).count();
        Situation { seen, missed: self.tracks.len() - seen, broken, most: self.options.max_faces }
    }

    /// Looks for every face seen in the last frame about where it was. Returns whether one was lost.
    fn follow(&mut self, frame: &Frame<'_>, time: Option<Duration>, times: &mut StageTimes) -> Result<bool> {
        let seconds = self.seconds_to(time);
        let mut broken = false;
        if times.measure(Stage::Track, || self.cuts.is_cut(&self.device, frame))? {
            self.tracks.clear();
            self.memories.clear();
            self.schedule = Schedule::new();
        }
        for (track, memory) in self.tracks.iter_mut().zip(&mut self.memories) {
            track.age = track.age.saturating_add(1);
            memory.unseen += seconds;
            track.missed = track.missed.saturating_add(1);
        }
        for index in 0..self.tracks.len() {
            if self.tracks[index].missed > 1 {
                continue;
            }
            let landmarks = &mut self.buffers.landmarks;
            let region = self.memories[index].region;
            self.network.locate_into(frame, region, landmarks, times)?;
            let found = landmarks.presence >= self.options.stop_presence
                && is_face(landmarks, frame)
                && continues(&region, &landmarks.region())
                && large_enough(landmarks, self.options.min_face_size * SIZE_TOLERANCE);
            if found {
                self.see(index);
            } else {
                broken = true;
            }
        }
        self.drop_doubles();
        Ok(broken)
    }

    /// Seconds from the last frame to the one at `time`.
    fn seconds_to(&mut self, time: Option<Duration>) -> f32 {
        let last = std::mem::replace(&mut self.last_time, time);
        let passed = last.zip(time).and_then(|(last, now)| now.checked_sub(last)).filter(|d| !d.is_zero());
        passed.map_or(DEFAULT_INTERVAL, |d| d.as_secs_f32().min(LONGEST_INTERVAL))
    }

    /// Runs the quick detector and takes what it finds; returns how many faces that brought.
    fn search_short(&mut self, frame: &Frame<'_>, times: &mut StageTimes) -> Result<usize> {
        self.detector.detect_short(frame, &mut self.buffers.faces, times)?;
        self.take_faces(frame, times)
    }

    /// Takes `buffers.faces` as hits.
    fn take_faces(&mut self, frame: &Frame<'_>, times: &mut StageTimes) -> Result<usize> {
        let Buffers { faces, hits, .. } = &mut self.buffers;
        hits.clear();
        hits.extend(faces.iter().map(Face::region));
        self.take_hits(frame, times)
    }

    /// Looks at every hit that is not about a face followed already: a face that was missed is seen again, another one
    /// is new. Returns how many faces that brought.
    fn take_hits(&mut self, frame: &Frame<'_>, times: &mut StageTimes) -> Result<usize> {
        // Boxes of the detectors are somewhat smaller or larger than those of the landmarks, which decide in the end.
        let least = self.options.min_face_size * SIZE_TOLERANCE * SIZE_TOLERANCE;
        let tracks = &self.tracks;
        let Buffers { hits, hit_rects, lost, lost_rects, pairs, .. } = &mut self.buffers;
        hits.retain(|hit| {
            let rect = Rect::square(hit.center, hit.side);
            hit.side >= least && !tracks.iter().any(|t| t.missed == 0 && same_face(&t.rect, &rect))
        });
        hits.sort_by(|a, b| b.side.total_cmp(&a.side));
        hit_rects.clear();
        hit_rects.extend(hits.iter().map(|hit| Rect::square(hit.center, hit.side)));
        lost.clear();
        lost.extend((0..tracks.len()).filter(|&i| tracks[i].missed > 0));
        lost_rects.clear();
        lost_rects.extend(lost.iter().map(|&i| {
            let rect = &tracks[i].rect;
            Rect::square(rect.center(), rect.width.max(rect.height))
        }));
        associate(lost_rects, hit_rects, pairs);
        let mut brought = 0;
        for index in 0..self.buffers.hits.len() {
            if self.seen() >= self.options.max_faces {
                break;
            }
            let Buffers { landmarks, hits, pairs, lost, .. } = &mut self.buffers;
            let known = pairs.iter().find(|p| p.1 == index).map(|p| lost[p.0]);
            self.network.locate_refined_into(frame, hits[index], landmarks, times)?;
            let rect = landmarks.bounding_box();
            let found = landmarks.presence >= self.options.start_presence
                && is_face(landmarks, frame)
                && large_enough(landmarks, self.options.min_face_size)
                && !self.tracks.iter().any(|t| t.missed == 0 && same_face(&t.rect, &rect));
            if !found {
                continue;
            }
            let track = known.unwrap_or_else(|| self.add_track());
            self.see(track);
            brought += 1;
        }
        Ok(brought)
    }

    fn seen(&self) -> usize {
        self.tracks.iter().filter(|t| t.missed == 0).count()
    }

    /// Adds a track that has seen nothing yet and returns its index.
    fn add_track(&mut self) -> usize {
        self.tracks.push(Track {
            id: self.next_id,
            rect: Rect::default(),
            confidence: 0.0,
            landmarks: Landmarks::default(),
            missed: 0,
            age: 0,
        });
        self.memories.push(Memory {
            region: Region { center: Rect::default().center(), side: 0.0, roll: 0.0 },
            steady: Steady::default(),
            unseen: 0.0,
        });
        self.next_id += 1;
        self.tracks.len() - 1
    }

    /// Gives `buffers.landmarks` to a track.
    fn see(&mut self, index: usize) {
        let raw = &self.buffers.landmarks;
        let (track, memory) = (&mut self.tracks[index], &mut self.memories[index]);
        let region = raw.region();
        if !continues(&memory.region, &region) {
            // What it did meanwhile is unknown, so there is nothing to smooth.
            memory.steady.reset();
        }
        memory.region = region;
        let strength = Strength::from_amount(self.options.smoothing);
        memory.steady.smooth(raw, memory.unseen, strength, &mut track.landmarks, &mut track.rect);
        memory.unseen = 0.0;
        track.confidence = raw.presence;
        track.missed = 0;
    }

    /// Of two tracks that ended up on one face the younger one goes.
    fn drop_doubles(&mut self) {
        let mut index = 0;
        while index < self.tracks.len() {
            let this = &self.tracks[index];
            let double = this.missed == 0
                && self.tracks[..index].iter().any(|t| t.missed == 0 && same_face(&t.rect, &this.rect));
            if double {
                self.remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// Ends tracks that were missed for too long, and of too many those missed for longest.
    fn end_frame(&mut self) {
        while let Some(index) = (0..self.tracks.len()).max_by_key(|&i| self.tracks[i].missed) {
            let too_many = self.tracks.len() > 2 * self.options.max_faces;
            if self.tracks[index].missed <= self.options.max_missed && !too_many {
                break;
            }
            self.remove(index);
        }
    }

    fn remove(&mut self, index: usize) {
        self.tracks.remove(index);
        self.memories.remove(index);
    }
}

fn large_enough(landmarks: &Landmarks, least: f32) -> bool {
    let rect = landmarks.bounding_box();
    rect.width.max(rect.height) >= least
}
