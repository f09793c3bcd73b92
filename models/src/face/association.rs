//! Which of the new boxes is which of the old ones.

use deepfake_kernels::Rect;

/// Overlap of two boxes, each half as large again so that a face which moved by its own width still meets its old
/// place: 0 (apart) to 1 (the same).
fn affinity(a: &Rect, b: &Rect) -> f32 {
    let grown =
        |r: &Rect| Rect::new(r.x - r.width / 4.0, r.y - r.height / 4.0, r.width * 1.5, r.height * 1.5);
    grown(a).intersection_over_union(&grown(b))
}

/// Least [`affinity`] of a pair.
const LEAST: f32 = 0.15;

/// Pairs `(old, new)` of boxes, closest pair first, every box in one pair at most. `pairs` is overwritten.
pub(super) fn associate(old: &[Rect], new: &[Rect], pairs: &mut Vec<(usize, usize)>) {
    pairs.clear();
    loop {
        let mut best = (LEAST, None);
        for (i, a) in old.iter().enumerate().filter(|(i, _)| pairs.iter().all(|p| p.0 != *i)) {
            for (j, b) in new.iter().enumerate().filter(|(j, _)| pairs.iter().all(|p| p.1 != *j)) {
                let value = affinity(a, b);
                if value > best.0 {
                    best = (value, Some((i, j)));
                }
            }
        }
        match best.1 {
            Some(pair) => pairs.push(pair),
            None => return,
        }
    }
}

/// Whether two boxes are about the same face: they overlap well, or one holds the middle of the other while both
/// are of similar size.
pub(super) fn same_face(a: &Rect, b: &Rect) -> bool {
    let holds = |r: &Rect, s: &Rect| {
        let p = s.center();
        (r.x..r.x + r.width).contains(&p.x) && (r.y..r.y + r.height).contains(&p.y)
    };
    let (small, large) = if a.area() < b.area() { (a, b) } else { (b, a) };
    a.intersection_over_union(b) > super::suppression::SAME_FACE
        || (small.area() > 0.25 * large.area() && holds(large, small) && holds(small, large))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(old: &[Rect], new: &[Rect]) -> Vec<(usize, usize)> {
        let mut pairs = vec![(7, 7)];
        associate(old, new, &mut pairs);
        pairs
    }

    fn square(x: f32) -> Rect {
        Rect::new(x, 0.0, 10.0, 10.0)
    }

    #[test]
    fn the_closest_pair_wins() {
        assert_eq!(pairs(&[square(0.0), square(6.0)], &[square(5.0)]), [(1, 0)]);
        assert_eq!(pairs(&[square(0.0), square(6.0)], &[square(5.0), square(1.0)]), [(0, 1), (1, 0)]);
    }

    #[test]
    fn faces_that_cross_keep_their_nearest_box() {
        let found = pairs(&[square(0.0), square(30.0)], &[square(28.0), square(3.0)]);
        assert_eq!(found, [(1, 0), (0, 1)]);
    }

    #[test]
    fn a_face_may_move_by_its_own_width_but_not_across_the_picture() {
        assert_eq!(pairs(&[square(0.0)], &[square(10.0)]), [(0, 0)]);
        assert!(pairs(&[square(0.0)], &[square(14.0)]).is_empty());
        assert!(pairs(&[square(0.0)], &[square(200.0)]).is_empty());
    }

    #[test]
    fn a_much_larger_face_at_the_same_place_is_another() {
        assert!(pairs(&[square(0.0)], &[Rect::new(-15.0, -15.0, 40.0, 40.0)]).is_empty());
    }

    #[test]
    fn boxes_of_one_face_are_told_from_neighbours() {
        assert!(same_face(&square(0.0), &square(4.0)));
        assert!(same_face(&square(0.0), &Rect::new(1.0, 1.0, 6.0, 5.0)));
        assert!(!same_face(&square(0.0), &square(8.0)));
        assert!(!same_face(&square(0.0), &Rect::new(4.0, 4.0, 2.0, 2.0)));
    }
}
