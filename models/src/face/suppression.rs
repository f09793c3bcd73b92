//! Many boxes about one face become one.

use deepfake_kernels::{Point, Rect};

use super::Face;

/// Boxes that overlap more than this (intersection over union) are about the same face. MediaPipe's value.
pub(super) const SAME_FACE: f32 = 0.3;

/// Replaces every group of overlapping faces by their mean, weighted with the confidence; the group's confidence
/// is that of its best member (weighted non-maximum suppression; Bazarevsky et al., 2019). A mean trembles less
/// over time than the single best box. The result is ordered by confidence, best first.
pub(super) fn suppress(faces: &mut Vec<Face>) {
    faces.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let mut kept = 0;
    // faces[..kept] are results; from there on what no result has claimed yet, in order.
    while kept < faces.len() {
        let best = faces[kept].clone();
        let mut mean = Mean::default();
        let mut next = kept + 1;
        mean.add(&best);
        for index in kept + 1..faces.len() {
            if faces[index].rect.intersection_over_union(&best.rect) > SAME_FACE {
                mean.add(&faces[index]);
            } else {
                faces.swap(next, index);
                next += 1;
            }
        }
        faces.truncate(next);
        faces[kept] = mean.face(best.confidence);
        kept += 1;
    }
}

/// Appends the faces of `more` that none of `faces` overlaps.
pub(super) fn merge(faces: &mut Vec<Face>, more: &[Face]) {
    for face in more {
        if faces.iter().all(|f| f.rect.intersection_over_union(&face.rect) <= SAME_FACE) {
            faces.push(face.clone());
        }
    }
}

#[derive(Default)]
struct Mean {
    weight: f32,
    rect: Rect,
    keypoints: [Point; 6],
}

impl Mean {
    fn add(&mut self, face: &Face) {
        let weight = face.confidence;
        self.weight += weight;
        self.rect.x += weight * face.rect.x;
        self.rect.y += weight * face.rect.y;
        self.rect.width += weight * face.rect.width;
        self.rect.height += weight * face.rect.height;
        for (sum, point) in self.keypoints.iter_mut().zip(&face.keypoints) {
            sum.x += weight * point.x;
            sum.y += weight * point.y;
        }
    }

    fn face(&self, confidence: f32) -> Face {
        let by = 1.0 / self.weight;
        Face {
            rect: Rect::new(self.rect.x * by, self.rect.y * by, self.rect.width * by, self.rect.height * by),
            confidence,
            keypoints: self.keypoints.map(|p| Point { x: p.x * by, y: p.y * by }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, confidence: f32) -> Face {
        Face { rect: Rect::new(x, 0.0, 10.0, 10.0), confidence, keypoints: [Point { x: x + 5.0, y: 5.0 }; 6] }
    }

    #[test]
    fn overlapping_boxes_become_their_weighted_mean() {
        let mut faces = vec![face(0.0, 0.6), face(2.0, 0.9)];
        suppress(&mut faces);
        assert_eq!(faces.len(), 1);
        assert!((faces[0].rect.x - 1.2).abs() < 1e-5);
        assert!((faces[0].keypoints[3].x - 6.2).abs() < 1e-5);
        assert_eq!(faces[0].rect.width, 10.0);
        assert_eq!(faces[0].confidence, 0.9);
    }

    #[test]
    fn faces_apart_stay_apart_and_are_ordered() {
        let mut faces =
            vec![face(0.0, 0.6), face(50.0, 0.7), face(1.0, 0.5), face(100.0, 0.9), face(51.0, 0.6)];
        suppress(&mut faces);
        let confidences: Vec<f32> = faces.iter().map(|f| f.confidence).collect();
        assert_eq!(confidences, [0.9, 0.7, 0.6]);
        assert!((faces[1].rect.x - (0.7 * 50.0 + 0.6 * 51.0) / 1.3).abs() < 1e-4);
    }

    #[test]
    fn nothing_stays_nothing() {
        let mut faces = Vec::new();
        suppress(&mut faces);
        assert!(faces.is_empty());
    }

    #[test]
    fn merging_keeps_the_first_of_two_views_of_a_face() {
        let mut faces = vec![face(0.0, 0.6)];
        merge(&mut faces, &[face(1.0, 0.9), face(40.0, 0.8)]);
        assert_eq!(faces.len(), 2);
        assert_eq!((faces[0].rect.x, faces[1].rect.x), (0.0, 40.0));
    }
}
