//! Can what the landmark network followed be the same face as before?

use deepfake_kernels::{Frame, Rect};

use super::{Landmarks, Region};

/// Least overlap of a face's boxes in two frames that follow each other.
const LEAST_OVERLAP: f32 = 0.2;
/// Most by which a face's size may change from one frame to the next.
const MOST_GROWTH: f32 = 1.6;
/// Least part of a face's box that must lie within the frame: points outside are guesses.
const LEAST_VISIBLE: f32 = 0.4;
/// Sides below this, in pixels, hold no face.
const LEAST_SIDE: f32 = 8.0;
/// Bounds of width over height of a face's box that is turned upright; even a profile is wider than this.
const ASPECT: std::ops::Range<f32> = 0.35..1.8;

/// Whether the points can be a face at all: finite, of a size and shape that faces have, and mostly visible.
pub(super) fn is_face(landmarks: &Landmarks, frame: &Frame<'_>) -> bool {
    let finite = landmarks.presence.is_finite() && landmarks.points.iter().flatten().all(|v| v.is_finite());
    if !finite {
        return false;
    }
    let rect = landmarks.bounding_box();
    let aspect = landmarks.aspect();
    rect.width.max(rect.height) >= LEAST_SIDE
        && ASPECT.contains(&aspect)
        && visible(&rect, frame) >= LEAST_VISIBLE
}

/// Whether a face can have moved from one region to the other from one frame to the next.
pub(super) fn continues(from: &Region, to: &Region) -> bool {
    let square = |r: &Region| Rect::square(r.center, r.side);
    let growth = to.side / from.side.max(1e-3);
    square(from).intersection_over_union(&square(to)) >= LEAST_OVERLAP
        && (1.0 / MOST_GROWTH..=MOST_GROWTH).contains(&growth)
}

/// The part of `rect` that lies within `frame`, 0..1.
fn visible(rect: &Rect, frame: &Frame<'_>) -> f32 {
    let width = (rect.x + rect.width).min(frame.width() as f32) - rect.x.max(0.0);
    let height = (rect.y + rect.height).min(frame.height() as f32) - rect.y.max(0.0);
    width.max(0.0) * height.max(0.0) / rect.area().max(1e-3)
}

#[cfg(test)]
mod tests {
    use deepfake_kernels::{ColorSpace, PixelFormat, Plane, Point};

    use super::{super::POINTS, *};

    fn frame(bytes: &[u8]) -> Frame<'_> {
        let plane = Plane { data: bytes, stride: 100 };
        Frame::new(PixelFormat::I420, ColorSpace::default(), 100, 80, vec![plane; 3]).unwrap()
    }

    /// Points spread over a rectangle.
    fn spread(rect: Rect) -> Landmarks {
        let mut points = vec![[rect.center().x, rect.center().y, 0.0]; POINTS];
        points[0] = [rect.x, rect.y, 0.0];
        points[1] = [rect.x + rect.width, rect.y + rect.height, 0.0];
        Landmarks { points, presence: 1.0 }
    }

    #[test]
    fn a_face_is_finite_large_enough_and_mostly_within_the_frame() {
        let bytes = vec![0; 8000];
        let frame = frame(&bytes);
        assert!(is_face(&spread(Rect::new(20.0, 20.0, 30.0, 40.0)), &frame));
        assert!(is_face(&spread(Rect::new(-10.0, 20.0, 30.0, 40.0)), &frame));
        assert!(!is_face(&spread(Rect::new(-25.0, 20.0, 30.0, 40.0)), &frame));
        assert!(!is_face(&spread(Rect::new(20.0, 20.0, 4.0, 5.0)), &frame));
        assert!(!is_face(&spread(Rect::new(20.0, 20.0, 10.0, 50.0)), &frame));
        let mut broken = spread(Rect::new(20.0, 20.0, 30.0, 40.0));
        broken.points[7][2] = f32::NAN;
        assert!(!is_face(&broken, &frame));
    }

    #[test]
    fn a_face_moves_and_grows_within_limits() {
        let region = |x: f32, side: f32| Region { center: Point { x, y: 50.0 }, side, roll: 0.0 };
        assert!(continues(&region(50.0, 40.0), &region(65.0, 44.0)));
        assert!(!continues(&region(50.0, 40.0), &region(85.0, 40.0)));
        assert!(!continues(&region(50.0, 40.0), &region(50.0, 70.0)));
        assert!(!continues(&region(50.0, 40.0), &region(50.0, 20.0)));
    }
}
