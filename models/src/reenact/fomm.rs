//! The three networks of a First Order Motion Model.

use std::sync::Arc;

use deepfake_kernels::{Affine, Device, Frame, Keypoints, Point, Rect, SampleSpec, Tensor};

use crate::{
    engine::{both, precision::Probe, BackendReport, Engine, Platform},
    manifest::{Crop, Kind, Manifest},
    Error, Result, Stage, StageTimes,
};

/// What is computed once for a portrait.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The crop that the network saw, planar RGB in 0..1, `[1, 3, height, width]`.
    pub image: Tensor,
    features: Tensor,
    small: Tensor,
    /// Its key points.
    pub keypoints: Keypoints,
}

impl Encoded {
    /// Takes what `other` holds, which may hold anything afterwards. On a GPU the values are copied: where they lie stays
    /// the same, and with it the graph that reads them there.
    pub fn take_over(&mut self, device: &Device, other: &mut Self) -> Result<()> {
        if device.cuda().is_none() {
            std::mem::swap(self, other);
            return Ok(());
        }
        for (from, to) in other.tensors().into_iter().zip(self.tensors()) {
            device.copy(from, to)?;
        }
        Ok(())
    }

    fn tensors(&mut self) -> [&mut Tensor; 5] {
        let Keypoints { value, jacobian } = &mut self.keypoints;
        [&mut self.image, &mut self.features, &mut self.small, value, jacobian]
    }
}

/// A model of kind `fomm`, ready to run.
#[derive(Debug)]
pub struct Fomm {
    device: Device,
    keypoints: Arc<dyn Engine>,
    encoder: Arc<dyn Engine>,
    generator: Arc<dyn Engine>,
    spec: SampleSpec,
    points: usize,
    crop: Crop,
    // Kept from frame to frame, so that none is allocated anew.
    driving: Tensor,
}

impl Fomm {
    /// What runs the networks.
    pub fn report(&self) -> &BackendReport {
        self.generator.report()
    }

    /// Width and height of input and output, in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.spec.width, self.spec.height)
    }

    /// The square about a face that the networks want.
    pub fn crop(&self) -> &Crop {
        &self.crop
    }

    /// Encodes the part of `frame` that `map` takes the input to.
    ///
    /// # Errors
    /// [`Error::Network`] if a network fails.
    pub fn encode(
        &self,
        frame: &Frame<'_>,
        map: &Affine,
        encoded: &mut Encoded,
        times: &mut StageTimes,
    ) -> Result<()> {
        let Encoded { image, features, small, keypoints } = encoded;
        times.measure(Stage::Sample, || self.device.sample(frame, &[*map], &self.spec, image))?;
        times.measure_engine(Stage::Generate, || {
            let outputs = &mut [("features", features), ("small", small)];
            self.encoder.run(&self.device, &[("source", image)], outputs)
        })?;
        self.locate(image, keypoints, times)
    }

    /// Key points of the part of a driving `frame` that `map` takes the input to.
    ///
    /// # Errors
    /// [`Error::Network`] if the network fails.
    pub fn drive(
        &mut self,
        frame: &Frame<'_>,
        map: &Affine,
        keypoints: &mut Keypoints,
        times: &mut StageTimes,
    ) -> Result<()> {
        times.measure(Stage::Sample, || self.device.sample(frame, &[*map], &self.spec, &mut self.driving))?;
        self.locate(&self.driving, keypoints, times)
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

    /// Paints the portrait with the key points `driving` into `prediction`, planar RGB in 0..1.
    ///
    /// # Errors
    /// [`Error::Network`] if the network fails.
    pub fn generate(
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
                &mut [("prediction", prediction)],
            )
        })?;
        // Whoever paints the prediction relies on its shape.
        let wanted = [1, 3, self.spec.height, self.spec.width];
        if prediction.shape() != wanted {
            return Err(Error::Network {
                name: "generator".into(),
                reason: format!("gave a picture of shape {:?}, not {wanted:?}", prediction.shape()),
            });
        }
        Ok(())
    }
}

impl Probe for Fomm {
    /// Loads the networks of `manifest`.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it describes another kind of model, and those of [`Platform::load`].
    fn load(manifest: &Manifest, platform: &Platform) -> Result<Self> {
        if manifest.model().kind != Kind::Fomm {
            return Err(Error::Manifest {
                path: manifest.path().to_owned(),
                reason: format!("a model of kind {:?} cannot animate a portrait", manifest.model().kind),
            });
        }
        let crop = manifest.crop()?;
        let points = manifest.fomm()?.keypoints;
        let device = platform.device();
        let load = |role: &str| platform.load(manifest, role, 1);
        let (generator, (keypoints, encoder)) =
            both(device, || load("generator"), || both(device, || load("keypoints"), || load("encoder")));
        Ok(Self {
            device: platform.device().clone(),
            keypoints: keypoints?,
            encoder: encoder?,
            generator: generator?,
            spec: manifest.sample_spec(crop.border()),
            points,
            crop,
            driving: Tensor::default(),
        })
    }

    /// The picture animated by itself, turned and moved.
    fn probe(&mut self, picture: &Frame<'_>) -> Result<Tensor> {
        let mut times = StageTimes::default();
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        let whole = Affine::from_rect(Rect::new(0.0, 0.0, width, height), self.spec.width, self.spec.height);
        let beside = Point { x: 0.53 * width, y: 0.48 * height };
        let turned = Affine::from_rotated_square(beside, width, 0.1, self.spec.width);
        let mut encoded = Encoded::default();
        self.encode(picture, &whole, &mut encoded, &mut times)?;
        let (mut driving, mut prediction) = (Keypoints::default(), Tensor::default());
        self.drive(picture, &turned, &mut driving, &mut times)?;
        self.generate(&encoded, &driving, &mut prediction, &mut times)?;
        Ok(prediction)
    }
}
