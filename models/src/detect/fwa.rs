//! The face-warping-artifact classifier.
//!
//! Li and Lyu, "Exposing DeepFake Videos By Detecting Face Warping Artifacts", 2019: a swapped face was warped to fit,
//! which leaves it at another resolution than what surrounds it.

use std::sync::Arc;

use deepfake_kernels::{sample, Affine, Frame, Point, Rect, SampleSpec, Tensor};

use crate::{
    engine::{self, BackendReport, Engine, EngineOptions},
    manifest::{Crop, Kind, Manifest},
    Error, Result, Stage, StageTimes,
};

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
    engine: Arc<dyn Engine>,
    spec: SampleSpec,
    /// Of one picture.
    input_shape: [usize; 4],
    crop: Crop,
    output: String,
    threshold: f32,
    uncertain_from: f32,
    input: Tensor,
    logits: Tensor,
}

impl Fwa {
    /// Loads the network of `manifest`.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it describes another kind of model, and those of [`engine::load`].
    pub fn load(manifest: &Manifest, options: &EngineOptions) -> Result<Self> {
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
            engine: engine::load(manifest, "network", options)?,
            spec: manifest.sample_spec(crop.border()),
            input_shape: manifest.input_shape(1),
            crop,
            output: fwa.output.clone(),
            threshold: fwa.threshold,
            uncertain_from: fwa.uncertain[0],
            input: Tensor::default(),
            logits: Tensor::default(),
        })
    }

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

    /// Scores of the faces whose landmarks lie in `faces`, 0 (real) to 1 (fake), all in one run. Each face's is the
    /// mean of the higher half of its `crops` (the paper's top 5 of 10).
    ///
    /// # Errors
    /// [`Error::Network`] if the network fails or gives another number of scores.
    pub fn scores(
        &mut self,
        frame: &Frame<'_>,
        faces: &[Rect],
        crops: usize,
        times: &mut StageTimes,
    ) -> Result<Vec<f32>> {
        let crops = crops.clamp(1, MOST_CROPS);
        let batch = faces.len() * crops;
        if batch == 0 {
            return Ok(Vec::new());
        }
        let (width, height) = (self.spec.width, self.spec.height);
        let mut shape = self.input_shape;
        shape[0] = batch;
        let input = self.input.reshape_for_write(&shape);
        times.measure(Stage::Sample, || {
            let maps = faces
                .iter()
                .flat_map(|face| JITTER[..crops].iter().map(|jitter| crop_square(&self.crop, *face, *jitter)))
                .map(|square| Affine::from_rect(square, width, height));
            for (map, picture) in maps.zip(input.chunks_exact_mut(3 * width * height)) {
                sample(frame, &map, &self.spec, picture);
            }
        });
        times.measure_engine(Stage::Classify, || {
            self.engine.run(&[("input", &self.input)], &mut [(&self.output, &mut self.logits)])
        })?;
        if self.logits.data().len() != batch {
            return Err(Error::Network {
                name: self.output.clone(),
                reason: format!(
                    "gave {:?} where one logit each of {batch} faces was due",
                    self.logits.shape()
                ),
            });
        }
        Ok(self.logits.data().chunks_exact(crops).map(mean_of_higher_half).collect())
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

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn mean_of_higher_half(logits: &[f32]) -> f32 {
    let mut scores: Vec<f32> = logits.iter().map(|&l| sigmoid(l)).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let half = scores.len().div_ceil(2);
    scores[..half].iter().sum::<f32>() / half as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_of_several_crops_is_the_mean_of_the_higher_half() {
        assert_eq!(mean_of_higher_half(&[0.0]), 0.5);
        let score = mean_of_higher_half(&[-100.0, 100.0, 0.0]);
        assert!((score - 0.75).abs() < 1e-6, "{score}");
    }

    #[test]
    fn the_first_crop_is_the_one_trained() {
        assert_eq!(JITTER[0], [0.0, 0.0, 1.0]);
    }
}
