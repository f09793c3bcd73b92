//! The face-warping-artifact classifier.
//!
//! Li and Lyu, "Exposing DeepFake Videos By Detecting Face Warping Artifacts", 2019: a swapped face was warped to fit,
//! which leaves it at another resolution than what surrounds it.

use std::sync::Arc;

use deepfake_kernels::{Affine, Device, Frame, Graph, Point, Rect, SampleSpec, Tensor};

use crate::{
    engine::{precision::Probe, BackendReport, Engine, Platform},
    manifest::{Crop, Kind, Manifest},
    Error, Result, Stage, StageTimes,
};

/// Most faces of a frame that are looked at in one run of the network.
const MOST_FACES: usize = 8;
/// Most crops of a face that are looked at.
pub const MOST_CROPS: usize = 10;

/// How the crops of a face differ: shift to the right and down in longer sides of the face's box, and factor of size.
/// The first is the crop as it was trained; the others lie within what training varied.
const JITTER: [[f32; 3]; MOST_CROPS] = [
    [0.0, 0.0, 1.0],
    [0.035, 0.0, 1.06],
    [-0.035, 0.0, 0.94],
    [0.0, 0.035, 0.94],
    [0.0, -0.035, 1.06],
    [0.025, 0.025, 1.0],
    [-0.025, -0.025, 1.0],
    [0.025, -0.025, 1.1],
    [-0.025, 0.025, 1.1],
    [0.0, 0.0, 0.92],
];

/// A model of kind `fwa`, ready to run.
#[derive(Debug)]
pub struct Fwa {
    device: Device,
    engine: Arc<dyn Engine>,
    spec: SampleSpec,
    crop: Crop,
    output: String,
    threshold: f32,
    uncertain_from: f32,
    graph: Graph,
    maps: Vec<Affine>,
    input: Tensor,
    given: Tensor,
    logits: Tensor,
}

impl Fwa {
    /// What runs the network.
    pub fn report(&self) -> &BackendReport {
        self.engine.report()
    }

    /// Score from which on a face is called fake, by the manifest.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Score below which a face is called real, by the manifest.
    pub fn uncertain_from(&self) -> f32 {
        self.uncertain_from
    }

    /// Of each of the faces whose landmarks lie in `faces` that many crops and their scores, 0 (real) to 1 (fake), all in
    /// one run (of more than eight faces: eight in a run).
    ///
    /// # Errors
    /// [`Error::Network`] if the network fails or gives another number of scores.
    pub fn scores(
        &mut self,
        frame: &Frame<'_>,
        faces: &[Rect],
        crops: usize,
        times: &mut StageTimes,
    ) -> Result<Vec<Vec<(Rect, f32)>>> {
        let mut scores = Vec::with_capacity(faces.len());
        for faces in faces.chunks(MOST_FACES) {
            self.score(frame, faces, crops.clamp(1, MOST_CROPS), times, &mut scores)?;
        }
        Ok(scores)
    }

    fn score(
        &mut self,
        frame: &Frame<'_>,
        faces: &[Rect],
        crops: usize,
        times: &mut StageTimes,
        scores: &mut Vec<Vec<(Rect, f32)>>,
    ) -> Result<()> {
        let batch = faces.len() * crops;
        let Self { device, engine, spec, crop, output, graph, maps, input, given, logits, .. } = self;
        let crop = &*crop;
        let squares = |face: &Rect| {
            let face = *face;
            JITTER[..crops].iter().map(move |jitter| crop_square(crop, face, *jitter))
        };
        maps.clear();
        let all = faces.iter().flat_map(squares);
        maps.extend(all.map(|square| Affine::from_rect(square, spec.width, spec.height)));
        if device.cuda().is_some() {
            // A GPU prepares itself for every number of pictures that comes up, which takes a while: better a few numbers,
            // and pictures that nobody looks at.
            maps.resize(padded(batch), *maps.last().unwrap_or(&Affine::IDENTITY));
        }
        let given_batch = maps.len();
        device.replay::<Error>(graph, || {
            times.measure(Stage::Sample, || device.sample(frame, maps, spec, input))?;
            let outputs = &mut [(output.as_str(), &mut *given)];
            times.measure_engine(Stage::Classify, || engine.run(device, &[("input", input)], outputs))
        })?;
        times.measure(Stage::Wait, || device.download([(&*given, &mut *logits)]))?;
        if logits.len() != given_batch {
            return Err(Error::Network {
                name: output.clone(),
                reason: format!(
                    "gave {:?} where one logit each of {given_batch} crops was due",
                    logits.shape()
                ),
            });
        }
        let logits = logits.data()[..batch].chunks_exact(crops);
        scores.extend(
            faces.iter().zip(logits).map(|(face, logits)| {
                squares(face).zip(logits.iter().map(|&logit| sigmoid(logit))).collect()
            }),
        );
        Ok(())
    }
}

impl Probe for Fwa {
    /// Loads the network of `manifest`.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it describes another kind of model, and those of [`Platform::load`].
    fn load(manifest: &Manifest, platform: &Platform) -> Result<Self> {
        if manifest.model().kind != Kind::Fwa {
            return Err(Error::Manifest {
                path: manifest.path().to_owned(),
                reason: format!(
                    "a model of kind {:?} cannot tell real faces from fakes",
                    manifest.model().kind
                ),
            });
        }
        let (crop, fwa) = (manifest.crop()?, manifest.fwa()?);
        Ok(Self {
            device: platform.device().clone(),
            engine: platform.load(manifest, "network", MOST_CROPS * MOST_FACES)?,
            spec: manifest.sample_spec(crop.border()),
            crop,
            output: fwa.output.clone(),
            threshold: fwa.threshold,
            uncertain_from: fwa.uncertain[0],
            graph: Graph::default(),
            maps: Vec::new(),
            input: Tensor::default(),
            given: Tensor::default(),
            logits: Tensor::default(),
        })
    }

    /// The logits of some crops of the picture.
    fn probe(&mut self, picture: &Frame<'_>) -> Result<Tensor> {
        let side = picture.width() as f32 / 2.0;
        let face = Rect::new(side / 2.0, side / 2.0, side, side);
        self.score(picture, &[face], 3, &mut StageTimes::default(), &mut Vec::new())?;
        Ok(std::mem::take(&mut self.given))
    }
}

/// The square of a face that goes in, varied by a row of [`JITTER`].
fn crop_square(crop: &Crop, face: Rect, [dx, dy, grow]: [f32; 3]) -> Rect {
    let size = face.width.max(face.height);
    let center = Point {
        x: face.center().x + (crop.shift[0] + dx) * size,
        y: face.center().y + (crop.shift[1] + dy) * size,
    };
    Rect::square(center, crop.scale * grow * size)
}

/// The number of pictures that a GPU is given instead of `batch`.
fn padded(batch: usize) -> usize {
    if batch <= 8 {
        batch.next_power_of_two()
    } else {
        batch.next_multiple_of(MOST_CROPS)
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// The score of a face: the mean of the higher half of its crops' (the paper's top 5 of 10).
pub fn face_score(crops: &[(Rect, f32)]) -> f32 {
    let mut scores: Vec<f32> = crops.iter().map(|(_, score)| *score).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let half = scores.len().div_ceil(2);
    scores[..half].iter().sum::<f32>() / half.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_of_several_crops_is_the_mean_of_the_higher_half() {
        let crops = |scores: &[f32]| scores.iter().map(|&score| (Rect::default(), score)).collect::<Vec<_>>();
        assert_eq!(face_score(&crops(&[0.5])), 0.5);
        let score = face_score(&crops(&[0.0, 1.0, 0.5]));
        assert!((score - 0.75).abs() < 1e-6, "{score}");
    }

    #[test]
    fn a_gpu_sees_few_numbers_of_pictures() {
        let numbers: std::collections::BTreeSet<usize> = (1..=MOST_CROPS * MOST_FACES).map(padded).collect();
        assert_eq!(numbers.into_iter().collect::<Vec<_>>(), [1, 2, 4, 8, 10, 20, 30, 40, 50, 60, 70, 80]);
        assert!((1..=MOST_CROPS * MOST_FACES).all(|batch| (batch..=80).contains(&padded(batch))));
    }

    #[test]
    fn the_first_crop_is_the_one_trained() {
        assert_eq!(JITTER[0], [0.0, 0.0, 1.0]);
    }
}
