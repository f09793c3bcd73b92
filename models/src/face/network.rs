//! Puts the points on a face.

use std::sync::{Arc, Mutex, PoisonError};

use deepfake_kernels::{Affine, Border, Device, Frame, Point, Rect, SampleSpec, Tensor};

use super::{crop::Cropper, decode::sigmoid, Face, Landmarks, Region, POINTS};
use crate::{
    engine::{choose, Engine, EngineOptions, Intake, Platform, Replayed},
    manifest::Manifest,
    zoo, Error, Result, Stage, StageTimes,
};

/// Zoo name of the landmark network.
pub const LANDMARK_MODEL: &str = "facemesh";

/// Name of the network's input.
const INPUT: &str = "input_1";

/// FaceMesh (Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019): 468
/// points, and whether there is a face at all, from an upright square about it.
#[derive(Debug)]
pub struct LandmarkNetwork {
    name: String,
    device: Device,
    engine: Arc<dyn Engine>,
    spec: SampleSpec,
    output: String,
    presence: String,
    crop_scale: f32,
    buffers: Mutex<Buffers>,
}

#[derive(Debug, Default)]
struct Buffers {
    intake: Intake,
    replayed: Replayed,
    cropper: Cropper,
    input: Tensor,
    points: Tensor,
    presence: Tensor,
    /// The outputs where the processor can look at them.
    found: [Tensor; 2],
}

impl LandmarkNetwork {
    /// Loads the network from the zoo.
    ///
    /// # Errors
    /// If it is missing, damaged or of another shape than its manifest says, or if the backend cannot run it.
    pub fn load(engine: &EngineOptions) -> Result<Self> {
        choose(engine, Self::load_on)
    }

    /// Like [`load`](Self::load), on a platform that is there already.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(platform: &Platform) -> Result<Self> {
        Self::from_manifest(&zoo::find(LANDMARK_MODEL)?, platform)
    }

    fn from_manifest(manifest: &Manifest, platform: &Platform) -> Result<Self> {
        let landmarks = manifest.landmarks()?;
        let name = manifest.model().name.clone();
        let exact = platform.with_precision(platform.options().precision.without_half());
        let spec = manifest.sample_spec(Border::Replicate);
        if landmarks.points != POINTS || spec.width != spec.height {
            return Err(Error::Network {
                name,
                reason: format!(
                    "landmarks are read from {POINTS} points on a square, not {} on {}x{}",
                    landmarks.points, spec.width, spec.height
                ),
            });
        }
        let replayed = Replayed::new(&name, platform);
        Ok(Self {
            name,
            device: platform.device().clone(),
            engine: exact.load(manifest, "network", 1)?,
            spec,
            output: landmarks.output.clone(),
            presence: landmarks.presence.clone(),
            crop_scale: landmarks.crop_scale,
            buffers: Mutex::new(Buffers { replayed, ..Buffers::default() }),
        })
    }

    /// The points of the face in `region` (its box, not enlarged; as from a detector), whose head is tilted by
    /// `roll` radians, clockwise on the screen.
    ///
    /// Where there is no face the points mean nothing and `presence` is low.
    ///
    /// # Errors
    /// If the network fails.
    pub fn locate(
        &self,
        frame: &Frame<'_>,
        region: Rect,
        roll: f32,
        times: &mut StageTimes,
    ) -> Result<Landmarks> {
        let mut landmarks = Landmarks::default();
        self.locate_into(frame, Region::about(region, roll), &mut landmarks, times)?;
        Ok(landmarks)
    }

    /// The points of a face that the detector found: located, and once more from the region of the points, as the
    /// detector's box is coarse.
    ///
    /// # Errors
    /// If the network fails.
    pub fn locate_face(&self, frame: &Frame<'_>, face: &Face, times: &mut StageTimes) -> Result<Landmarks> {
        let mut landmarks = Landmarks::default();
        self.locate_refined_into(frame, face.region(), &mut landmarks, times)?;
        Ok(landmarks)
    }

    /// Like [`locate_face`](Self::locate_face), from a region and into `landmarks`, whose memory is used again.
    /// Without a face in the region the second step is left out.
    pub(super) fn locate_refined_into(
        &self,
        frame: &Frame<'_>,
        region: Region,
        landmarks: &mut Landmarks,
        times: &mut StageTimes,
    ) -> Result<()> {
        /// Points of a region with less than this are no better than the region itself.
        const HOPELESS: f32 = 0.1;
        self.locate_into(frame, region, landmarks, times)?;
        if landmarks.presence < HOPELESS {
            return Ok(());
        }
        self.locate_into(frame, landmarks.region(), landmarks, times)
    }

    /// The points of the face in `region`, into `landmarks`, whose memory is used again.
    pub(super) fn locate_into(
        &self,
        frame: &Frame<'_>,
        region: Region,
        landmarks: &mut Landmarks,
        times: &mut StageTimes,
    ) -> Result<()> {
        // A panic elsewhere leaves only numbers behind that the next run overwrites.
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffers {
            intake,
            replayed,
            cropper,
            input,
            points: given_points,
            presence: given_presence,
            found,
        } = &mut *buffers;
        let frame = intake.take(&self.device, frame)?;
        let square = region.scaled(self.crop_scale);
        let map = Cropper::map(square, &self.spec);
        replayed.run(&self.device, || {
            times.measure(Stage::Track, || cropper.cut(&self.device, &frame, square, &self.spec, input))?;
            let outputs =
                &mut [(self.output.as_str(), &mut *given_points), (&self.presence, &mut *given_presence)];
            times.measure_engine(Stage::Track, || self.engine.run(&self.device, &[(INPUT, input)], outputs))
        })?;
        let [points, presence] = found;
        times.measure(Stage::Track, || {
            self.device.download([(&*given_points, &mut *points), (&*given_presence, &mut *presence)])
        })?;
        if points.data().len() != 3 * POINTS || presence.data().len() != 1 {
            return Err(Error::Network {
                name: self.name.clone(),
                reason: format!(
                    "outputs of {} and 1 values are needed, not {:?} and {:?}",
                    3 * POINTS,
                    points.shape(),
                    presence.shape()
                ),
            });
        }
        let scale = square.side / self.spec.width as f32;
        project(points.data(), &map, scale, &mut landmarks.points);
        landmarks.presence = sigmoid(presence.data()[0]);
        Ok(())
    }
}

/// Points in pixels of the network's input (x, y, z in turn) to pixels of the frame.
fn project(values: &[f32], map: &Affine, scale: f32, points: &mut Vec<[f32; 3]>) {
    points.clear();
    points.extend(values.chunks_exact(3).map(|v| {
        let at = map.apply(Point { x: v[0], y: v[1] });
        [at.x, at.y, v[2] * scale]
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_follow_the_turned_square_and_depth_its_scale() {
        let center = Point { x: 50.0, y: 40.0 };
        let map = Affine::from_rotated_square(center, 384.0, std::f32::consts::FRAC_PI_2, 192);
        let mut points = vec![[9.0; 3]];
        project(&[96.0, 96.0, 5.0, 106.0, 96.0, -1.0], &map, 2.0, &mut points);
        let near = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
        assert_eq!(points.len(), 2);
        assert!(near(points[0], [50.0, 40.0, 10.0]), "{points:?}");
        // To the right in a square turned by a quarter is down in the frame.
        assert!(near(points[1], [50.0, 60.0, -2.0]), "{points:?}");
    }
}
