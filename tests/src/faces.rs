//! What FaceMesh reads off the frames of a clip.

use deepfake_kernels::Rect;
use deepfake_models::{
    engine::EngineOptions,
    face::{FaceTracker, TrackerOptions},
    StageTimes,
};

use crate::Picture;

/// Pose, expression and place of the face in one frame.
#[derive(Clone, Copy, Debug)]
pub struct FaceMeasure {
    /// Radians.
    pub yaw: f32,
    /// Radians.
    pub pitch: f32,
    /// Relative to the size of the face.
    pub mouth_opening: f32,
    /// Bounding box of the landmarks in pixels.
    pub rect: Rect,
}

/// Measures the face of each picture; `None` where none is seen.
///
/// # Panics
/// If the face networks cannot be loaded or run.
pub fn measure_faces(pictures: &[Picture]) -> Vec<Option<FaceMeasure>> {
    let options = TrackerOptions { max_faces: 1, min_face_size: 16.0, ..TrackerOptions::default() };
    let mut tracker = FaceTracker::load(&EngineOptions::default(), options).expect("the face networks load");
    let mut times = StageTimes::default();
    pictures
        .iter()
        .map(|picture| {
            let tracks =
                tracker.update(&picture.frame(), picture.time, &mut times).expect("the networks run");
            let track = tracks.iter().find(|track| track.missed == 0)?;
            let pose = track.landmarks.pose();
            Some(FaceMeasure {
                yaw: pose.yaw,
                pitch: pose.pitch,
                mouth_opening: track.landmarks.mouth_opening(),
                rect: track.landmarks.bounding_box(),
            })
        })
        .collect()
}
