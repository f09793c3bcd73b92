//! What the points on a face say about it.

use deepfake_kernels::{Point, Rect};

/// Points on a face.
pub const POINTS: usize = 468;

// Indices in MediaPipe's canonical face model (`canonical_face_model_uv_visualization.png`); left and right are the
// picture's.
const TOP: usize = 10;
const CHIN: usize = 152;
const LEFT_CHEEK: usize = 234;
const RIGHT_CHEEK: usize = 454;
const LEFT_EYE_OUTER: usize = 33;
const LEFT_EYE_INNER: usize = 133;
const LEFT_EYE_UPPER: usize = 159;
const LEFT_EYE_LOWER: usize = 145;
const RIGHT_EYE_OUTER: usize = 263;
const RIGHT_EYE_INNER: usize = 362;
const RIGHT_EYE_UPPER: usize = 386;
const RIGHT_EYE_LOWER: usize = 374;
const LIP_UPPER: usize = 13;
const LIP_LOWER: usize = 14;

/// A square about a face, turned with the head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Its middle, in pixels of the frame.
    pub center: Point,
    /// Its side, in pixels of the frame.
    pub side: f32,
    /// How far it is turned, in radians, clockwise on the screen.
    pub roll: f32,
}

impl Region {
    /// The square whose side is the longer one of `rect`, turned by `roll` about its middle.
    pub fn about(rect: Rect, roll: f32) -> Self {
        Self { center: rect.center(), side: rect.width.max(rect.height), roll }
    }

    /// The same with a side `factor` times as long.
    pub fn scaled(self, factor: f32) -> Self {
        Self { side: self.side * factor, ..self }
    }
}

/// Where a head looks, in radians; all 0 when it faces the camera upright.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pose {
    /// Positive: turned to the picture's right.
    pub yaw: f32,
    /// Positive: looking down.
    pub pitch: f32,
    /// Positive: tilted clockwise on the screen.
    pub roll: f32,
}

/// The points on a face, in pixels of the frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Landmarks {
    /// [`POINTS`] points: x, y, and z in the same scale (away from the camera; 0 lies about the head's middle).
    pub points: Vec<[f32; 3]>,
    /// How sure the network is that there is a face, 0..1.
    pub presence: f32,
}

impl Landmarks {
    /// The smallest upright rectangle about the points.
    pub fn bounding_box(&self) -> Rect {
        Rect::bounding(self.points.iter().map(|p| Point { x: p[0], y: p[1] })).unwrap_or_default()
    }

    /// The smallest square about the points that is turned with the head.
    ///
    /// Unlike the square about [`bounding_box`](Self::bounding_box) it does not grow as the head tilts.
    pub fn region(&self) -> Region {
        let roll = self.roll();
        let rect = self.upright_box(roll);
        let middle = rect.center();
        let (sin, cos) = roll.sin_cos();
        let center = Point { x: cos * middle.x - sin * middle.y, y: sin * middle.x + cos * middle.y };
        Region { center, side: rect.width.max(rect.height), roll }
    }

    /// Width over height of the face, as if the head was not tilted.
    pub(super) fn aspect(&self) -> f32 {
        let rect = self.upright_box(self.roll());
        ratio(rect.width, rect.height)
    }

    /// The smallest rectangle about the points, in axes that are turned by `roll` about the frame's origin.
    fn upright_box(&self, roll: f32) -> Rect {
        let (sin, cos) = roll.sin_cos();
        let turned =
            self.points.iter().map(|p| Point { x: cos * p[0] + sin * p[1], y: cos * p[1] - sin * p[0] });
        Rect::bounding(turned).unwrap_or_default()
    }

    /// Angle of the line through the outer corners of the eyes, clockwise on the screen.
    pub fn roll(&self) -> f32 {
        let [x, y, _] = self.between(LEFT_EYE_OUTER, RIGHT_EYE_OUTER);
        y.atan2(x)
    }

    /// Where the head looks, from the axes between cheeks and between forehead and chin.
    ///
    /// FaceMesh learned depth from synthetic heads, so that large angles come out too small; good for comparing
    /// poses, not for measuring them.
    pub fn pose(&self) -> Pose {
        let [x, y, z] = self.between(LEFT_CHEEK, RIGHT_CHEEK);
        let roll = y.atan2(x);
        let flat = x.hypot(y);
        let yaw = z.atan2(flat);
        // Two axes at right angles to the one between the cheeks: within the picture, and towards its depth.
        let down = [-roll.sin(), roll.cos(), 0.0];
        let away = [-yaw.sin() * roll.cos(), -yaw.sin() * roll.sin(), yaw.cos()];
        let height = self.between(TOP, CHIN);
        Pose { yaw, pitch: dot(height, away).atan2(dot(height, down)), roll }
    }

    /// Distance of the lips over that of the outer eye corners: 0 closed, about 0.5 wide open.
    pub fn mouth_opening(&self) -> f32 {
        ratio(self.distance(LIP_UPPER, LIP_LOWER), self.distance(LEFT_EYE_OUTER, RIGHT_EYE_OUTER))
    }

    /// Distance of the lids over the width of the eye, mean of both eyes: about 0.1 closed, 0.3 open.
    pub fn eye_opening(&self) -> f32 {
        let left = ratio(
            self.distance(LEFT_EYE_UPPER, LEFT_EYE_LOWER),
            self.distance(LEFT_EYE_OUTER, LEFT_EYE_INNER),
        );
        let right = ratio(
            self.distance(RIGHT_EYE_UPPER, RIGHT_EYE_LOWER),
            self.distance(RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
        );
        (left + right) / 2.0
    }

    /// From one point to another; nothing where there are no points.
    fn between(&self, from: usize, to: usize) -> [f32; 3] {
        match (self.points.get(from), self.points.get(to)) {
            (Some(a), Some(b)) => [b[0] - a[0], b[1] - a[1], b[2] - a[2]],
            _ => [0.0; 3],
        }
    }

    fn distance(&self, from: usize, to: usize) -> f32 {
        let vector = self.between(from, to);
        dot(vector, vector).sqrt()
    }
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn ratio(length: f32, unit: f32) -> f32 {
    if unit > 0.0 {
        length / unit
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flat cross of the points that the measures use, facing the camera.
    fn frontal() -> Landmarks {
        let mut points = vec![[0.0; 3]; POINTS];
        for (index, point) in [
            (TOP, [0.0, -90.0, 0.0]),
            (CHIN, [0.0, 90.0, 0.0]),
            (LEFT_CHEEK, [-70.0, 0.0, 0.0]),
            (RIGHT_CHEEK, [70.0, 0.0, 0.0]),
            (LEFT_EYE_OUTER, [-50.0, -30.0, 0.0]),
            (LEFT_EYE_INNER, [-20.0, -30.0, 0.0]),
            (LEFT_EYE_UPPER, [-35.0, -33.0, 0.0]),
            (LEFT_EYE_LOWER, [-35.0, -24.0, 0.0]),
            (RIGHT_EYE_OUTER, [50.0, -30.0, 0.0]),
            (RIGHT_EYE_INNER, [20.0, -30.0, 0.0]),
            (RIGHT_EYE_UPPER, [35.0, -33.0, 0.0]),
            (RIGHT_EYE_LOWER, [35.0, -24.0, 0.0]),
            (LIP_UPPER, [0.0, 45.0, 0.0]),
            (LIP_LOWER, [0.0, 65.0, 0.0]),
        ] {
            points[index] = point;
        }
        Landmarks { points, presence: 1.0 }
    }

    /// First pitch, then yaw, then roll.
    fn turned(pose: Pose) -> Landmarks {
        let mut landmarks = frontal();
        for point in &mut landmarks.points {
            let [x, y, z] = *point;
            let (sin, cos) = pose.pitch.sin_cos();
            let (y, z) = (cos * y - sin * z, sin * y + cos * z);
            let (sin, cos) = pose.yaw.sin_cos();
            let (x, z) = (cos * x - sin * z, sin * x + cos * z);
            let (sin, cos) = pose.roll.sin_cos();
            *point = [cos * x - sin * y + 300.0, sin * x + cos * y + 200.0, z];
        }
        landmarks
    }

    #[test]
    fn a_turned_head_has_the_angles_it_was_turned_by() {
        for pose in [
            Pose::default(),
            Pose { yaw: 0.5, pitch: 0.0, roll: 0.0 },
            Pose { yaw: 0.0, pitch: -0.4, roll: 0.0 },
            Pose { yaw: 0.0, pitch: 0.0, roll: 0.7 },
            Pose { yaw: -0.3, pitch: 0.2, roll: -0.5 },
        ] {
            let found = turned(pose).pose();
            assert!((found.yaw - pose.yaw).abs() < 1e-4, "{pose:?} {found:?}");
            assert!((found.pitch - pose.pitch).abs() < 1e-4, "{pose:?} {found:?}");
            assert!((found.roll - pose.roll).abs() < 1e-4, "{pose:?} {found:?}");
        }
    }

    #[test]
    fn chin_away_from_the_camera_is_looking_down() {
        let mut landmarks = frontal();
        landmarks.points[CHIN][2] = 20.0;
        assert!(landmarks.pose().pitch > 0.1);
    }

    #[test]
    fn the_region_turns_with_the_head_and_keeps_its_size() {
        let upright = frontal().region();
        assert_eq!((upright.side, upright.roll), (180.0, 0.0));
        let tilted = turned(Pose { roll: 0.6, ..Pose::default() }).region();
        assert!((tilted.side - 180.0).abs() < 1e-2 && (tilted.roll - 0.6).abs() < 1e-4);
        assert!((tilted.center.x - 300.0).abs() < 1e-2 && (tilted.center.y - 200.0).abs() < 1e-2);
    }

    #[test]
    fn openings_do_not_depend_on_pose_and_size() {
        let plain = frontal();
        assert!((plain.mouth_opening() - 0.2).abs() < 1e-5);
        assert!((plain.eye_opening() - 0.3).abs() < 1e-5);
        let mut other = turned(Pose { yaw: 0.4, pitch: 0.2, roll: 1.0 });
        other.points.iter_mut().flatten().for_each(|v| *v *= 3.0);
        assert!((other.mouth_opening() - 0.2).abs() < 1e-4);
        assert!((other.eye_opening() - 0.3).abs() < 1e-4);
    }

    #[test]
    fn no_points_measure_zero() {
        let none = Landmarks::default();
        assert_eq!(none.bounding_box(), Rect::default());
        assert_eq!(none.mouth_opening(), 0.0);
        assert_eq!(none.pose(), Pose::default());
    }
}
