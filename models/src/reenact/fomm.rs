//! A First Order Motion Model: its three networks, and how the driver's key points move those of the portrait.

use std::{sync::Arc, time::Duration};

use deepfake_kernels::{Affine, Device, Frame, Keypoints, SampleSpec, Tensor, Transfer};

use super::{
    model::{check_picture, probe_maps, MotionModel, Start},
    settings::{Motion, ReenactSettings},
    smoother::Smoother,
};
use crate::{
    engine::{both, precision::Probe, BackendReport, Engine, Platform},
    manifest::{Crop, Manifest},
    Error, Result, Stage, StageTimes,
};

/// What is computed once for a portrait.
#[derive(Debug, Default)]
struct Encoded {
    features: Tensor,
    small: Tensor,
    /// Its key points.
    keypoints: Keypoints,
}

impl Encoded {
    /// Takes what `other` holds, which may hold anything afterwards. On a GPU the values are copied: where they lie stays
    /// the same, and with it the graph that reads them there.
    fn take_over(&mut self, device: &Device, other: &mut Self) -> Result<()> {
        if device.cuda().is_none() {
            std::mem::swap(self, other);
            return Ok(());
        }
        for (from, to) in other.tensors().into_iter().zip(self.tensors()) {
            device.copy(from, to)?;
        }
        Ok(())
    }

    fn tensors(&mut self) -> [&mut Tensor; 4] {
        let Keypoints { value, jacobian } = &mut self.keypoints;
        [&mut self.features, &mut self.small, value, jacobian]
    }
}

/// The networks.
#[derive(Debug)]
struct Networks {
    device: Device,
    keypoints: Arc<dyn Engine>,
    encoder: Arc<dyn Engine>,
    generator: Arc<dyn Engine>,
    spec: SampleSpec,
    points: usize,
}

impl Networks {
    fn encode(&self, image: &Tensor, encoded: &mut Encoded, times: &mut StageTimes) -> Result<()> {
        let Encoded { features, small, keypoints } = encoded;
        times.measure_engine(Stage::Generate, || {
            let outputs = &mut [("features", features), ("small", small)];
            self.encoder.run(&self.device, &[("source", image)], outputs)
        })?;
        self.locate(image, keypoints, times)
    }

    fn locate(&self, image: &Tensor, keypoints: &mut Keypoints, times: &mut StageTimes) -> Result<()> {
        let Keypoints { value, jacobian } = keypoints;
        times.measure_engine(Stage::Keypoints, || {
            let outputs = &mut [("value", &mut *value), ("jacobian", &mut *jacobian)];
            self.keypoints.run(&self.device, &[("image", image)], outputs)
        })?;
        if value.len() != self.points * 2 || jacobian.len() != self.points * 4 {
            return Err(Error::Network {
                name: "keypoints".into(),
                reason: format!(
                    "gave values of shape {:?} and jacobians of {:?} where the manifest says {} key points",
                    value.shape(),
                    jacobian.shape(),
                    self.points
                ),
            });
        }
        Ok(())
    }

    fn generate(
        &self,
        portrait: &Encoded,
        driving: &Keypoints,
        prediction: &mut Tensor,
        times: &mut StageTimes,
    ) -> Result<()> {
        times.measure_engine(Stage::Generate, || {
            self.generator.run(
                &self.device,
                &[
                    ("features", &portrait.features),
                    ("small", &portrait.small),
                    ("source_value", &portrait.keypoints.value),
                    ("source_jacobian", &portrait.keypoints.jacobian),
                    ("driving_value", &driving.value),
                    ("driving_jacobian", &driving.jacobian),
                ],
                &mut [("prediction", &mut *prediction)],
            )
        })?;
        check_picture(prediction, &self.spec, "generator")
    }
}

/// A model of kind `fomm`, ready to run.
#[derive(Debug)]
pub struct Fomm {
    networks: Networks,
    crop: Crop,
    portrait: Encoded,
    /// Where the next portrait is encoded, so that one that fails leaves this one alone.
    next: Encoded,
    smoother: Smoother,
    /// How far the smoother moves in this frame.
    amount: f32,
    /// The last driving picture.
    picture: Tensor,
    /// Its key points, as the network gave them.
    driving: Keypoints,
    /// What the smoother held before the last frame, where that may have to be taken back.
    before: Keypoints,
    /// The driver's key points that relative motion starts from.
    reference: Keypoints,
    /// The portrait's key points with the driver's motion.
    moved: Keypoints,
}

impl MotionModel for Fomm {
    fn report(&self) -> &BackendReport {
        self.networks.generator.report()
    }

    fn spec(&self) -> &SampleSpec {
        &self.networks.spec
    }

    fn crop(&self) -> &Crop {
        &self.crop
    }

    fn most_portraits(&self) -> usize {
        1
    }

    fn encode(&mut self, pictures: &[Tensor], times: &mut StageTimes) -> Result<()> {
        self.networks.encode(&pictures[0], &mut self.next, times)
    }

    fn adopt(&mut self) -> Result<()> {
        self.portrait.take_over(&self.networks.device, &mut self.next)
    }

    fn step(&mut self, settings: &ReenactSettings, elapsed: Duration) {
        self.amount = self.smoother.amount(settings.smoothing, elapsed);
    }

    fn reset(&mut self) {
        self.smoother.reset();
    }

    fn drive(&mut self, frame: &Frame<'_>, map: &Affine, keep: bool, times: &mut StageTimes) -> Result<()> {
        let Networks { device, spec, .. } = &self.networks;
        if keep {
            copy(device, &self.smoother.state, &mut self.before)?;
        }
        times.measure(Stage::Sample, || device.sample(frame, &[*map], spec, &mut self.picture))?;
        self.networks.locate(&self.picture, &mut self.driving, times)?;
        // The driver's motion is smoothed, not its sum with the portrait, which may move by itself.
        Ok(device.smooth(&mut self.smoother.state, &self.driving, self.amount)?)
    }

    fn take_back(&mut self) -> Result<()> {
        copy(&self.networks.device, &self.before, &mut self.smoother.state)
    }

    fn keep_reference(&mut self) -> Result<()> {
        copy(&self.networks.device, &self.smoother.state, &mut self.reference)
    }

    fn generate(
        &mut self,
        settings: &ReenactSettings,
        start: Start,
        prediction: &mut Tensor,
        times: &mut StageTimes,
    ) -> Result<()> {
        let how = Transfer {
            relative: settings.motion == Motion::Relative,
            adapt_scale: settings.adapt_scale,
            amount: settings.motion_scale,
        };
        let driving = &self.smoother.state;
        // Absolute motion knows no reference.
        let from = if start == Start::Kept && how.relative { &self.reference } else { driving };
        let source = &self.portrait.keypoints;
        self.networks.device.transfer(source, driving, from, &how, &mut self.moved)?;
        self.networks.generate(&self.portrait, &self.moved, prediction, times)
    }

    fn keypoints(&self) -> Option<&Tensor> {
        Some(&self.moved.value)
    }
}

impl Probe for Fomm {
    /// Loads the networks of `manifest`, which is of kind `fomm`.
    ///
    /// # Errors
    /// [`Error::Manifest`] if a section is missing, and those of [`Platform::load`].
    fn load(manifest: &Manifest, platform: &Platform) -> Result<Self> {
        let crop = manifest.crop()?;
        let points = manifest.fomm()?.keypoints;
        let device = platform.device();
        let load = |role: &str| platform.load(manifest, role, 1);
        let (generator, (keypoints, encoder)) =
            both(device, || load("generator"), || both(device, || load("keypoints"), || load("encoder")));
        Ok(Self {
            networks: Networks {
                device: platform.device().clone(),
                keypoints: keypoints?,
                encoder: encoder?,
                generator: generator?,
                spec: manifest.sample_spec(crop.border()),
                points,
            },
            crop,
            portrait: Encoded::default(),
            next: Encoded::default(),
            smoother: Smoother::default(),
            amount: 1.0,
            picture: Tensor::default(),
            driving: Keypoints::default(),
            before: Keypoints::default(),
            reference: Keypoints::default(),
            moved: Keypoints::default(),
        })
    }

    /// The picture animated by itself, turned and moved.
    fn probe(&mut self, picture: &Frame<'_>) -> Result<Tensor> {
        let mut times = StageTimes::default();
        let Networks { device, spec, .. } = &self.networks;
        let (whole, turned) = probe_maps(picture, spec);
        let mut image = Tensor::default();
        device.sample(picture, &[whole], spec, &mut image)?;
        let mut encoded = Encoded::default();
        self.networks.encode(&image, &mut encoded, &mut times)?;
        let (mut driving, mut prediction) = (Keypoints::default(), Tensor::default());
        device.sample(picture, &[turned], spec, &mut image)?;
        self.networks.locate(&image, &mut driving, &mut times)?;
        self.networks.generate(&encoded, &driving, &mut prediction, &mut times)?;
        Ok(prediction)
    }
}

fn copy(device: &Device, from: &Keypoints, to: &mut Keypoints) -> Result<()> {
    device.copy(&from.value, &mut to.value)?;
    Ok(device.copy(&from.jacobian, &mut to.jacobian)?)
}
