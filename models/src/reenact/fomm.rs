//! The three networks of a First Order Motion Model.

use std::sync::Arc;

use deepfake_kernels::{sample, Affine, Frame, SampleSpec, Tensor};

use super::motion::Keypoints;
use crate::{
    engine::{self, BackendReport, Engine, EngineOptions},
    manifest::{Crop, Kind, Manifest},
    Error, Result, Stage, StageTimes,
};

/// What is computed once for a portrait.
#[derive(Debug)]
pub struct Encoded {
    /// The crop that the network saw, planar RGB in 0..1, `[1, 3, height, width]`.
    pub image: Tensor,
    features: Tensor,
    small: Tensor,
    value: Tensor,
    jacobian: Tensor,
    /// Its key points.
    pub keypoints: Keypoints,
}

/// A model of kind `fomm`, ready to run.
#[derive(Debug)]
pub struct Fomm {
    keypoints: Arc<dyn Engine>,
    encoder: Arc<dyn Engine>,
    generator: Arc<dyn Engine>,
    spec: SampleSpec,
    input_shape: [usize; 4],
    points: usize,
    crop: Crop,
    // Kept from frame to frame, so that none is allocated anew.
    driving: Tensor,
    value: Tensor,
    jacobian: Tensor,
}

impl Fomm {
    /// Loads the networks of `manifest`.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it describes another kind of model, and those of [`engine::load`].
    pub fn load(manifest: &Manifest, options: &EngineOptions) -> Result<Self> {
        if manifest.model().kind != Kind::Fomm {
            return Err(Error::Manifest {
                path: manifest.path().to_owned(),
                reason: format!("a model of kind {:?} cannot animate a portrait", manifest.model().kind),
            });
        }
        let crop = manifest.crop()?;
        let points = manifest.fomm()?.keypoints;
        Ok(Self {
            keypoints: engine::load(manifest, "keypoints", options)?,
            encoder: engine::load(manifest, "encoder", options)?,
            generator: engine::load(manifest, "generator", options)?,
            spec: manifest.sample_spec(crop.border()),
            input_shape: manifest.input_shape(1),
            points,
            crop,
            driving: Tensor::zeros(&manifest.input_shape(1)),
            value: Tensor::zeros(&[1, points, 2]),
            jacobian: Tensor::zeros(&[1, points, 2, 2]),
        })
    }

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
    pub fn encode(&self, frame: &Frame<'_>, map: &Affine, times: &mut StageTimes) -> Result<Encoded> {
        let mut image = Tensor::zeros(&self.input_shape);
        times.measure(Stage::Sample, || sample(frame, map, &self.spec, image.data_mut()));
        let (mut features, mut small) = (Tensor::default(), Tensor::default());
        times.measure_engine(Stage::Generate, || {
            self.encoder.run(&[("source", &image)], &mut [("features", &mut features), ("small", &mut small)])
        })?;
        let (mut value, mut jacobian) = (Tensor::default(), Tensor::default());
        let keypoints = self.locate(&image, &mut value, &mut jacobian, times)?;
        Ok(Encoded { image, features, small, value, jacobian, keypoints })
    }

    /// Key points of the part of a driving `frame` that `map` takes the input to.
    ///
    /// # Errors
    /// [`Error::Network`] if the network fails.
    pub fn drive(&mut self, frame: &Frame<'_>, map: &Affine, times: &mut StageTimes) -> Result<Keypoints> {
        times.measure(Stage::Sample, || sample(frame, map, &self.spec, self.driving.data_mut()));
        let (mut value, mut jacobian) = (std::mem::take(&mut self.value), std::mem::take(&mut self.jacobian));
        let result = self.locate(&self.driving, &mut value, &mut jacobian, times);
        (self.value, self.jacobian) = (value, jacobian);
        result
    }

    fn locate(
        &self,
        image: &Tensor,
        value: &mut Tensor,
        jacobian: &mut Tensor,
        times: &mut StageTimes,
    ) -> Result<Keypoints> {
        times.measure_engine(Stage::Keypoints, || {
            self.keypoints.run(&[("image", image)], &mut [("value", value), ("jacobian", jacobian)])
        })?;
        if value.data().len() != self.points * 2 || jacobian.data().len() != self.points * 4 {
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
        Ok(Keypoints {
            value: value.data().chunks_exact(2).map(|v| [v[0], v[1]]).collect(),
            jacobian: jacobian.data().chunks_exact(4).map(|v| [v[0], v[1], v[2], v[3]]).collect(),
        })
    }

    /// Paints the portrait with the key points `driving` into `prediction`, planar RGB in 0..1.
    ///
    /// # Errors
    /// [`Error::Network`] if the network fails.
    pub fn generate(
        &mut self,
        portrait: &Encoded,
        driving: &Keypoints,
        prediction: &mut Tensor,
        times: &mut StageTimes,
    ) -> Result<()> {
        let value = self.value.reshape_for_write(&[1, self.points, 2]);
        value.copy_from_slice(driving.value.as_flattened());
        let jacobian = self.jacobian.reshape_for_write(&[1, self.points, 2, 2]);
        jacobian.copy_from_slice(driving.jacobian.as_flattened());
        times.measure_engine(Stage::Generate, || {
            self.generator.run(
                &[
                    ("features", &portrait.features),
                    ("small", &portrait.small),
                    ("source_value", &portrait.value),
                    ("source_jacobian", &portrait.jacobian),
                    ("driving_value", &self.value),
                    ("driving_jacobian", &self.jacobian),
                ],
                &mut [("prediction", prediction)],
            )
        })?;
        // Whoever paints the prediction relies on its size.
        if prediction.data().len() != self.input_shape.iter().product::<usize>() {
            return Err(Error::Network {
                name: "generator".into(),
                reason: format!(
                    "gave a picture of shape {:?}, not {:?}",
                    prediction.shape(),
                    self.input_shape
                ),
            });
        }
        Ok(())
    }
}
