//! A face's box and points without their trembling.

use deepfake_kernels::Rect;

use super::{
    filter::{OneEuro, Strength},
    Landmarks,
};

/// Filters of one face.
#[derive(Clone, Debug, Default)]
pub(super) struct Steady {
    points: OneEuro,
    rect: OneEuro,
}

impl Steady {
    /// Forgets the past.
    pub(super) fn reset(&mut self) {
        self.points.reset();
        self.rect.reset();
    }

    /// Writes to `landmarks` and `rect` the smoothed points of `raw` and the smoothed box about them, `seconds`
    /// after the last call. The box, which crops are cut by, is smoothed on top of its points: the mouth moves its
    /// lower edge.
    pub(super) fn smooth(
        &mut self,
        raw: &Landmarks,
        seconds: f32,
        strength: Option<Strength>,
        landmarks: &mut Landmarks,
        rect: &mut Rect,
    ) {
        landmarks.presence = raw.presence;
        landmarks.points.clone_from(&raw.points);
        let raw_rect = raw.bounding_box();
        let Some(strength) = strength else {
            self.reset();
            *rect = raw_rect;
            return;
        };
        let size = raw_rect.width.max(raw_rect.height);
        self.points.smooth(landmarks.points.as_flattened_mut(), seconds, size, strength);
        let smooth = landmarks.bounding_box();
        let center = smooth.center();
        let mut values = [center.x, center.y, smooth.width, smooth.height];
        self.rect.smooth(&mut values, seconds, size, strength);
        let [x, y, width, height] = values;
        *rect = Rect::new(x - width / 2.0, y - height / 2.0, width, height);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32) -> Landmarks {
        Landmarks { points: vec![[x, 0.0, 1.0], [x + 100.0, 100.0, 1.0]], presence: 0.9 }
    }

    #[test]
    fn without_strength_everything_passes() {
        let (mut steady, mut landmarks, mut rect) =
            (Steady::default(), Landmarks::default(), Rect::default());
        for x in [0.0, 7.0] {
            steady.smooth(&square(x), 0.04, None, &mut landmarks, &mut rect);
            assert_eq!(landmarks, square(x));
            assert_eq!(rect, Rect::new(x, 0.0, 100.0, 100.0));
        }
    }

    #[test]
    fn the_box_is_calmer_than_its_points_and_both_than_the_truth() {
        let (mut steady, mut landmarks, mut rect) =
            (Steady::default(), Landmarks::default(), Rect::default());
        let strength = Strength::from_amount(0.5);
        steady.smooth(&square(0.0), 0.04, strength, &mut landmarks, &mut rect);
        steady.smooth(&square(2.0), 0.04, strength, &mut landmarks, &mut rect);
        assert!(0.0 < rect.x && rect.x < landmarks.points[0][0] && landmarks.points[0][0] < 2.0);
        assert!((rect.width - 100.0).abs() < 1e-3);
        steady.reset();
        steady.smooth(&square(50.0), 0.04, strength, &mut landmarks, &mut rect);
        assert_eq!(rect.x, 50.0);
    }
}
