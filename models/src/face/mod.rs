//! Faces in a frame, their landmarks, and which is which over time.
//!
//! A frame's way: [`FaceDetector`] finds boxes (BlazeFace), [`LandmarkNetwork`] puts 468 points on each
//! (FaceMesh) and says whether it is a face after all, [`FaceTracker`] follows them from frame to frame so that the
//! detector rests most of the time.
//!
//! # Conventions
//! Boxes and points are in pixels of the frame (see [`deepfake_kernels`]). Left and right are the picture's, not
//! the person's, unless said otherwise. Angles are in radians; positive roll turns clockwise on the screen.

mod anchors;
mod association;
mod crop;
mod cut;
mod decode;
mod detector;
mod filter;
mod landmarks;
mod network;
mod plausibility;
mod schedule;
mod steady;
mod suppression;
mod tracker;

use deepfake_kernels::{Point, Rect};

pub use self::detector::{FaceDetector, FULL_RANGE_MODEL, SHORT_RANGE_MODEL};
pub use self::landmarks::{Landmarks, Pose, Region, POINTS};
pub use self::network::{LandmarkNetwork, LANDMARK_MODEL};
pub use self::tracker::{FaceTracker, Track, TrackerOptions};

/// A face as the detector sees it, in pixels of the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// From the brows to the chin, a little wider than the eyes; may reach outside the frame.
    pub rect: Rect,
    /// 0..1.
    pub confidence: f32,
    /// Left eye, right eye, tip of the nose, middle of the mouth, left ear, right ear; left and right as in the
    /// picture.
    pub keypoints: [Point; 6],
}

impl Face {
    /// Angle of the line through the eyes: 0 for an upright head, positive clockwise on the screen.
    pub fn roll(&self) -> f32 {
        let [left, right, ..] = self.keypoints;
        (right.y - left.y).atan2(right.x - left.x)
    }

    /// The upright square about the face, not enlarged.
    pub fn region(&self) -> Region {
        Region::about(self.rect, self.roll())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roll_is_clockwise_on_the_screen() {
        let mut keypoints = [Point::default(); 6];
        keypoints[1] = Point { x: 10.0, y: 10.0 };
        let face = Face { rect: Rect::new(0.0, 0.0, 20.0, 30.0), confidence: 1.0, keypoints };
        assert!((face.roll() - std::f32::consts::FRAC_PI_4).abs() < 1e-6);
        assert_eq!(face.region().side, 30.0);
    }
}
