//! Rows of an anchor detector's output to faces.

use deepfake_kernels::{Affine, Point, Rect};

use super::Face;

/// Values a row: centre x and y, width, height, then x and y of six key points.
pub(super) const ROW: usize = 16;

/// Logit of a probability.
fn logit(probability: f32) -> f32 {
    (probability / (1.0 - probability)).ln()
}

/// Probability of a logit.
pub(super) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Appends to `faces` every row whose score is at least `threshold`.
///
/// * `boxes`: `[anchors, 16]`, input pixels; centre and key points relative to the row's anchor.
/// * `scores`: `[anchors]`, logits.
/// * `to_frame`: takes the input's pixels to the frame's; must not rotate.
///
/// Rows that are not finite or have no area are skipped: they can only come from a damaged network.
pub(super) fn decode(
    boxes: &[f32],
    scores: &[f32],
    anchors: &[Point],
    threshold: f32,
    to_frame: &Affine,
    faces: &mut Vec<Face>,
) {
    let least = logit(threshold);
    for ((row, &score), anchor) in boxes.chunks_exact(ROW).zip(scores).zip(anchors) {
        // A score that is not a number fails this, too.
        if !(score >= least && row.iter().all(|v| v.is_finite()) && row[2] > 0.0 && row[3] > 0.0) {
            continue;
        }
        let at = |x: f32, y: f32| to_frame.apply(Point { x: anchor.x + x, y: anchor.y + y });
        let low = at(row[0] - row[2] / 2.0, row[1] - row[3] / 2.0);
        let high = at(row[0] + row[2] / 2.0, row[1] + row[3] / 2.0);
        faces.push(Face {
            rect: Rect::new(low.x, low.y, high.x - low.x, high.y - low.y),
            confidence: sigmoid(score),
            keypoints: std::array::from_fn(|k| at(row[4 + 2 * k], row[5 + 2 * k])),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANCHOR: Point = Point { x: 60.0, y: 36.0 };

    fn row() -> [f32; ROW] {
        let mut row = [0.0; ROW];
        row[..6].copy_from_slice(&[4.0, -6.0, 20.0, 10.0, 1.0, 2.0]);
        row
    }

    fn decoded(row: &[f32], score: f32, to_frame: &Affine) -> Vec<Face> {
        let mut faces = Vec::new();
        decode(row, &[score], &[ANCHOR], 0.5, to_frame, &mut faces);
        faces
    }

    #[test]
    fn a_row_is_relative_to_its_anchor_and_ends_up_in_the_frame() {
        let double = Affine { m: [2.0, 0.0, 100.0, 0.0, 2.0, -5.0] };
        let faces = decoded(&row(), 2.0, &double);
        assert_eq!(faces.len(), 1);
        assert_eq!(faces[0].rect, Rect::new(2.0 * 54.0 + 100.0, 2.0 * 25.0 - 5.0, 40.0, 20.0));
        assert_eq!(faces[0].keypoints[0], Point { x: 222.0, y: 71.0 });
        assert_eq!(faces[0].keypoints[5], Point { x: 220.0, y: 67.0 });
        assert!((faces[0].confidence - 0.880_797).abs() < 1e-5);
    }

    #[test]
    fn rows_below_the_threshold_are_left_out() {
        assert!(decoded(&row(), -0.01, &Affine::IDENTITY).is_empty());
        assert_eq!(decoded(&row(), 0.0, &Affine::IDENTITY).len(), 1);
    }

    #[test]
    fn rows_that_are_no_boxes_are_left_out() {
        assert!(decoded(&row(), f32::NAN, &Affine::IDENTITY).is_empty());
        let mut flat = row();
        flat[3] = 0.0;
        assert!(decoded(&flat, 2.0, &Affine::IDENTITY).is_empty());
        let mut infinite = row();
        infinite[9] = f32::INFINITY;
        assert!(decoded(&infinite, 2.0, &Affine::IDENTITY).is_empty());
    }

    #[test]
    fn sigmoid_survives_extreme_logits() {
        assert_eq!(sigmoid(-1000.0), 0.0);
        assert_eq!(sigmoid(1000.0), 1.0);
    }
}
