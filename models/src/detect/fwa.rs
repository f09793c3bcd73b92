//! The face-warping-artifact classifier.
//!
//! Li and Lyu, "Exposing DeepFake Videos By Detecting Face Warping Artifacts", 2019: a swapped face was warped to fit,
//! which leaves it at another resolution than what surrounds it. Their second network, DSP-FWA, differs from the first in
//! what it pools, which is the network's own business: here both are crops in, one or two logits out.

use std::sync::Arc;

use deepfake_kernels::{Affine, Device, Frame, Point, Rect, SampleSpec, Tensor};

use crate::{
    engine::{precision::Probe, BackendReport, Engine, Platform, Replayed},
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

/// A model of kind `fwa` or `dsp-fwa`, ready to run.
#[derive(Debug)]
pub struct Fwa {
    device: Device,
    engine: Arc<dyn Engine>,
    spec: SampleSpec,
    crop: Crop,
    output: String,
    fake_class: Option<usize>,
    threshold: f32,
    uncertain_from: f32,
    replayed: Replayed,
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
        let Self {
            device, engine, spec, crop, output, fake_class, replayed, maps, input, given, logits, ..
        } = self;
        let (crop, fake_class) = (&*crop, *fake_class);
        let classes = if fake_class.is_some() { 2 } else { 1 };
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
        replayed.run(device, || {
            times.measure(Stage::Sample, || device.sample(frame, maps, spec, input))?;
            let outputs = &mut [(output.as_str(), &mut *given)];
            times.measure_engine(Stage::Classify, || engine.run(device, &[("input", input)], outputs))
        })?;
        times.measure(Stage::Wait, || device.download([(&*given, &mut *logits)]))?;
        if logits.len() != given_batch * classes {
            return Err(Error::Network {
                name: output.clone(),
                reason: format!(
                    "gave {:?} where of {given_batch} crops {classes} logit(s) each were due",
                    logits.shape()
                ),
            });
        }
        let logits = logits.data()[..batch * classes].chunks_exact(crops * classes);
        scores.extend(faces.iter().zip(logits).map(|(face, logits)| {
            squares(face).zip(logits.chunks_exact(classes).map(|of| probability(of, fake_class))).collect()
        }));
        Ok(())
    }
}

impl Probe for Fwa {
    /// Loads the network of `manifest`.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it describes another kind of model, and those of [`Platform::load`].
    fn load(manifest: &Manifest, platform: &Platform) -> Result<Self> {
        if !matches!(manifest.model().kind, Kind::Fwa | Kind::DspFwa) {
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
            fake_class: fwa.fake_class,
            threshold: fwa.threshold,
            uncertain_from: fwa.uncertain[0],
            replayed: Replayed::new(&manifest.model().name, platform),
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

/// That a crop with these logits is of a fake: of one the sigmoid, of two the softmax of the class.
fn probability(logits: &[f32], fake_class: Option<usize>) -> f32 {
    match (logits, fake_class) {
        ([logit], _) => sigmoid(*logit),
        ([fake, real], Some(0)) | ([real, fake], _) => sigmoid(fake - real),
        _ => f32::NAN,
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
    use std::{fs, path::Path};

    use deepfake_kernels::{ColorSpace, PixelFormat, Plane};

    use super::*;
    use crate::{engine::EngineOptions, zoo};

    #[test]
    fn the_score_of_several_crops_is_the_mean_of_the_higher_half() {
        let crops = |scores: &[f32]| scores.iter().map(|&score| (Rect::default(), score)).collect::<Vec<_>>();
        assert_eq!(face_score(&crops(&[0.5])), 0.5);
        let score = face_score(&crops(&[0.0, 1.0, 0.5]));
        assert!((score - 0.75).abs() < 1e-6, "{score}");
    }

    #[test]
    fn two_logits_become_the_softmax_of_the_class_of_fakes() {
        let softmax = |a: f32, b: f32| a.exp() / (a.exp() + b.exp());
        assert!((probability(&[1.5, -0.25], Some(0)) - softmax(1.5, -0.25)).abs() < 1e-6);
        assert!((probability(&[1.5, -0.25], Some(1)) - softmax(-0.25, 1.5)).abs() < 1e-6);
        assert!((probability(&[1.5], None) - sigmoid(1.5)).abs() < 1e-6);
        assert_eq!(probability(&[900.0, -900.0], Some(0)), 1.0, "no overflow to something that is no number");
    }

    /// Red and blue of the left and of the right half of the picture that [`halves`] makes; green is 120.
    const COLOURS: [[u8; 2]; 2] = [[200, 40], [40, 200]];
    /// The committed random networks, of kinds `dsp-fwa` and `fwa` with two logits, and what Python makes of a picture of one
    /// of the colours alone (`test_resnet.py`).
    const PUBLISHED: [(&str, [f32; 2]); 2] =
        [("dsp-fwa-tiny", [0.62285, 0.14628]), ("fwa-tiny", [0.39420, 0.00050])];

    /// 400 x 200 pixels of RGB.
    fn halves() -> Vec<u8> {
        (0..400 * 200)
            .flat_map(|pixel| {
                let [red, blue] = COLOURS[pixel % 400 / 200];
                [red, 120, blue]
            })
            .collect()
    }

    /// Scores by one of the committed networks.
    fn scores_by(model: &str, faces: &[Rect], crops: usize) -> Vec<Vec<(Rect, f32)>> {
        let path = format!("{}/tests/data/{model}/manifest.toml", env!("CARGO_MANIFEST_DIR"));
        let platform = Platform::on_cpu(&EngineOptions::default(), "a test".into());
        let mut fwa = Fwa::load(&zoo::find(&path).unwrap(), &platform).unwrap();
        assert_eq!((fwa.threshold(), fwa.uncertain_from()), (0.5, 0.5));
        let pixels = halves();
        let plane = Plane { data: &pixels, stride: 3 * 400 };
        let frame = Frame::new(PixelFormat::Rgb, ColorSpace::default(), 400, 200, vec![plane]).unwrap();
        fwa.scores(&frame, faces, crops, &mut StageTimes::default()).unwrap()
    }

    #[test]
    fn the_published_networks_give_every_crop_of_every_face_the_score_that_python_gives() {
        let faces = [Rect::new(60.0, 60.0, 80.0, 80.0), Rect::new(260.0, 60.0, 80.0, 80.0)];
        for (model, expected) in PUBLISHED {
            let scores = scores_by(model, &faces, MOST_CROPS);
            assert_eq!(scores.len(), faces.len());
            for (crops, expected) in scores.iter().zip(expected) {
                assert_eq!(crops.len(), MOST_CROPS);
                for (rect, score) in crops {
                    assert!((score - expected).abs() < 1e-3, "{model} {rect:?}: {score}, not {expected}");
                }
                assert!((face_score(crops) - expected).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn the_crops_of_dsp_fwa_differ_and_the_five_highest_count() {
        let scores = scores_by("dsp-fwa-tiny", &[Rect::new(160.0, 60.0, 80.0, 80.0)], MOST_CROPS);
        let mut crops: Vec<f32> = scores[0].iter().map(|(_, score)| *score).collect();
        crops.sort_by(f32::total_cmp);
        assert!(crops[9] - crops[0] > 1e-3, "{crops:?}");
        let expected = crops[5..].iter().sum::<f32>() / 5.0;
        assert!((face_score(&scores[0]) - expected).abs() < 1e-6, "{crops:?}");
    }

    #[test]
    fn a_network_with_another_number_of_outputs_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dsp-fwa-tiny");
        fs::copy(from.join("dsp-fwa.onnx"), folder.path().join("dsp-fwa.onnx")).unwrap();
        let text = fs::read_to_string(from.join("manifest.toml")).unwrap();
        let text = text.replace("kind = \"dsp-fwa\"", "kind = \"fwa\"").replace("fake_class = 0\n", "");
        let path = folder.path().join("manifest.toml");
        fs::write(&path, text).unwrap();
        let platform = Platform::on_cpu(&EngineOptions::default(), "a test".into());
        let mut fwa = Fwa::load(&Manifest::read(&path).unwrap(), &platform).unwrap();
        let pixels = halves();
        let plane = Plane { data: &pixels, stride: 3 * 400 };
        let frame = Frame::new(PixelFormat::Rgb, ColorSpace::default(), 400, 200, vec![plane]).unwrap();
        let face = [Rect::new(60.0, 60.0, 80.0, 80.0)];
        let error = fwa.scores(&frame, &face, 1, &mut StageTimes::default()).unwrap_err();
        assert!(error.to_string().contains("1 logit(s)"), "{error}");
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
