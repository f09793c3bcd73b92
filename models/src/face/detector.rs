//! Finds faces in a whole frame.

use std::sync::{Arc, Mutex, PoisonError};

use deepfake_kernels::{Affine, Border, Device, Frame, Point, SampleSpec, Tensor};

use super::{
    anchors::anchors,
    decode::{decode, ROW},
    suppression::{merge, suppress},
    Face,
};
use crate::{
    engine::{both, choose, Engine, EngineOptions, Intake, Platform, Replayed},
    manifest::Manifest,
    zoo, Error, Result, Stage, StageTimes,
};

/// Zoo name of the detector for faces that fill a good part of the frame.
pub const SHORT_RANGE_MODEL: &str = "blazeface-short";
/// Zoo name of the detector for smaller faces.
pub const FULL_RANGE_MODEL: &str = "blazeface-full";

/// Name of the networks' input.
const INPUT: &str = "input";

/// BlazeFace (Bazarevsky et al., 2019) in its two ranges. The whole frame goes in, letterboxed: the short range finds
/// the project's portrait down to a face of 1/9 of the frame's longer side, the full range down to 1/28. Heads
/// may be tilted by a quarter turn; full profiles are not found.
#[derive(Debug)]
pub struct FaceDetector {
    short: Network,
    full: Network,
}

impl FaceDetector {
    /// Loads both networks from the zoo.
    ///
    /// # Errors
    /// If one is missing, damaged or of another shape than its manifest says, or if the backend cannot run it.
    pub fn load(engine: &EngineOptions) -> Result<Self> {
        choose(engine, Self::load_on)
    }

    /// Like [`load`](Self::load), on a platform that is there already.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(platform: &Platform) -> Result<Self> {
        let load = |model: &str| Network::load(model, platform);
        let (short, full) = both(platform.device(), || load(SHORT_RANGE_MODEL), || load(FULL_RANGE_MODEL));
        Ok(Self { short: short?, full: full? })
    }

    /// Every face that one of the two networks finds, those of the short range first, each part ordered by
    /// confidence. Nothing confirms them yet; see [`LandmarkNetwork`](super::LandmarkNetwork).
    ///
    /// # Errors
    /// If a network fails.
    pub fn detect(&self, frame: &Frame<'_>, times: &mut StageTimes) -> Result<Vec<Face>> {
        let mut faces = Vec::new();
        self.detect_short(frame, &mut faces, times)?;
        let mut more = Vec::new();
        self.detect_full(frame, &mut more, times)?;
        merge(&mut faces, &more);
        Ok(faces)
    }

    /// Replaces `faces` by what the quicker network finds, the large faces, ordered by confidence.
    ///
    /// # Errors
    /// If the network fails.
    pub fn detect_short(
        &self,
        frame: &Frame<'_>,
        faces: &mut Vec<Face>,
        times: &mut StageTimes,
    ) -> Result<()> {
        self.short.detect(frame, faces, times)
    }

    /// Replaces `faces` by what the more thorough network finds, small faces as well, ordered by confidence.
    ///
    /// # Errors
    /// If the network fails.
    pub fn detect_full(
        &self,
        frame: &Frame<'_>,
        faces: &mut Vec<Face>,
        times: &mut StageTimes,
    ) -> Result<()> {
        self.full.detect(frame, faces, times)
    }
}

/// One of the two networks.
#[derive(Debug)]
struct Network {
    name: String,
    device: Device,
    engine: Arc<dyn Engine>,
    spec: SampleSpec,
    anchors: Vec<Point>,
    boxes: String,
    scores: String,
    threshold: f32,
    buffers: Mutex<Buffers>,
}

#[derive(Debug, Default)]
struct Buffers {
    intake: Intake,
    replayed: Replayed,
    input: Tensor,
    boxes: Tensor,
    scores: Tensor,
    /// The outputs where the processor can look at them.
    found: [Tensor; 2],
}

impl Network {
    fn load(model: &str, platform: &Platform) -> Result<Self> {
        Self::from_manifest(&zoo::find(model)?, platform)
    }

    fn from_manifest(manifest: &Manifest, platform: &Platform) -> Result<Self> {
        let detector = manifest.detector()?;
        let exact = platform.with_precision(platform.options().precision.without_half());
        let spec = manifest.sample_spec(Border::Constant([0.0; 3]));
        let replayed = Replayed::new(&manifest.model().name, platform);
        Ok(Self {
            name: manifest.model().name.clone(),
            device: platform.device().clone(),
            engine: exact.load(manifest, "network", 1)?,
            anchors: anchors(spec.width, spec.height, &detector.strides),
            boxes: detector.boxes.clone(),
            scores: detector.scores.clone(),
            threshold: detector.score_threshold,
            buffers: Mutex::new(Buffers { replayed, ..Buffers::default() }),
            spec,
        })
    }

    fn detect(&self, frame: &Frame<'_>, faces: &mut Vec<Face>, times: &mut StageTimes) -> Result<()> {
        // A panic elsewhere leaves only numbers behind that the next run overwrites.
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffers { intake, replayed, input, boxes: given_boxes, scores: given_scores, found } =
            &mut *buffers;
        let frame = intake.take(&self.device, frame)?;
        let map = letterbox(frame.width(), frame.height(), &self.spec);
        replayed.run(&self.device, || {
            times.measure(Stage::Track, || self.device.sample(&frame, &[map], &self.spec, input))?;
            let outputs = &mut [(self.boxes.as_str(), &mut *given_boxes), (&self.scores, &mut *given_scores)];
            times.measure_engine(Stage::Track, || self.engine.run(&self.device, &[(INPUT, input)], outputs))
        })?;
        let [boxes, scores] = found;
        times.measure(Stage::Track, || {
            self.device.download([(&*given_boxes, &mut *boxes), (&*given_scores, &mut *scores)])
        })?;
        if boxes.data().len() != ROW * self.anchors.len() || scores.data().len() != self.anchors.len() {
            return Err(Error::Network {
                name: self.name.clone(),
                reason: format!(
                    "{} anchors need outputs of {} and {} values, not {:?} and {:?}",
                    self.anchors.len(),
                    ROW * self.anchors.len(),
                    self.anchors.len(),
                    boxes.shape(),
                    scores.shape()
                ),
            });
        }
        times.measure(Stage::Track, || {
            faces.clear();
            decode(boxes.data(), scores.data(), &self.anchors, self.threshold, &map, faces);
            suppress(faces);
        });
        Ok(())
    }
}

/// Takes the network's input to the frame: the whole frame as large as it fits, in the middle.
fn letterbox(width: usize, height: usize, spec: &SampleSpec) -> Affine {
    let (width, height) = (width as f32, height as f32);
    let (input_width, input_height) = (spec.width as f32, spec.height as f32);
    let scale = (width / input_width).max(height / input_height);
    let (x, y) = ((width - scale * input_width) / 2.0, (height - scale * input_height) / 2.0);
    Affine { m: [scale, 0.0, x, 0.0, scale, y] }
}

#[cfg(test)]
mod tests {
    use deepfake_kernels::{Channels, Layout};

    use super::*;

    fn spec(side: usize) -> SampleSpec {
        SampleSpec {
            width: side,
            height: side,
            layout: Layout::Nhwc,
            channels: Channels::Rgb,
            mean: [0.5; 3],
            std: [0.5; 3],
            border: Border::Constant([0.0; 3]),
        }
    }

    #[test]
    fn a_wide_frame_fills_the_width_and_is_centred() {
        let map = letterbox(640, 360, &spec(128));
        assert_eq!(map.apply(Point { x: 0.0, y: 28.0 }), Point { x: 0.0, y: 0.0 });
        assert_eq!(map.apply(Point { x: 128.0, y: 100.0 }), Point { x: 640.0, y: 360.0 });
    }

    #[test]
    fn a_tall_frame_fills_the_height() {
        let map = letterbox(96, 192, &spec(192));
        assert_eq!(map.apply(Point { x: 48.0, y: 0.0 }), Point { x: 0.0, y: 0.0 });
        assert_eq!(map.apply(Point { x: 144.0, y: 192.0 }), Point { x: 96.0, y: 192.0 });
    }
}
