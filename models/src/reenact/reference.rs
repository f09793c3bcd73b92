//! Which driving frame relative motion starts from.

use std::time::Duration;

use deepfake_kernels::hull_area;

use super::settings::Reference;

/// Time with a face in which the best reference is searched for.
pub const SEARCH_WINDOW: Duration = Duration::from_secs(2);

/// Landmarks freed of position and size, so that only pose and expression are left: centred, and divided by the
/// square root of their hull's area. `None` where they have no extent.
pub fn normalise(points: &[[f32; 3]]) -> Option<Vec<[f32; 2]>> {
    let flat: Vec<[f32; 2]> = points.iter().map(|p| [p[0], p[1]]).collect();
    let size = hull_area(&flat).sqrt();
    if !size.is_finite() || size <= 0.0 {
        return None;
    }
    let count = flat.len() as f32;
    let mean = flat.iter().fold([0.0; 2], |m, p| [m[0] + p[0] / count, m[1] + p[1] / count]);
    Some(flat.iter().map(|p| [(p[0] - mean[0]) / size, (p[1] - mean[1]) / size]).collect())
}

/// Mean squared distance of two sets of normalised landmarks.
fn distance(a: &[[f32; 2]], b: &[[f32; 2]]) -> f32 {
    let sum: f32 = a.iter().zip(b).map(|(a, b)| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).sum();
    sum / a.len().max(1) as f32
}

/// Says which frames' key points are to be kept as the reference: the first, and better ones as the mode allows.
#[derive(Clone, Debug, Default)]
pub struct ReferenceKeeper {
    /// There is a reference.
    kept: bool,
    distance: Option<f32>,
    searched: Duration,
    /// The next frame is to be taken.
    calibrate: bool,
    /// The present one was named by the user.
    calibrated: bool,
}

impl ReferenceKeeper {
    /// Forgets the reference and starts over. A calibration that waits for its frame goes on waiting.
    pub fn reset(&mut self) {
        *self = Self { calibrate: self.calibrate, ..Self::default() };
    }

    /// The same video goes on elsewhere: what the user named stays.
    pub fn seek(&mut self) {
        if !self.calibrated {
            self.reset();
        }
    }

    /// Perhaps another person drives from now on. A best reference is searched for again; the first one stays the first,
    /// and what the user named stays, too.
    pub fn driver_changed(&mut self, mode: Reference) {
        if mode == Reference::Best && !self.calibrated {
            self.reset();
        }
    }

    /// Another portrait is compared with from now on.
    pub fn portrait_changed(&mut self) {
        self.distance = None;
    }

    /// Has the next frame with a face taken.
    pub fn calibrate(&mut self) {
        self.calibrate = true;
    }

    /// Whether there is a reference.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Whether the next frame offered may be taken.
    pub fn is_searching(&self, mode: Reference) -> bool {
        let by_itself = match mode {
            Reference::Manual => false,
            Reference::First => !self.kept,
            Reference::Best => !self.kept || self.searched <= SEARCH_WINDOW,
        };
        self.calibrate || (by_itself && !self.calibrated)
    }

    /// Offers a driving frame by its normalised landmarks, with the portrait's and the time since the last offer. Tells
    /// whether its key points are the reference from now on.
    pub fn offer(
        &mut self,
        mode: Reference,
        landmarks: Option<&[[f32; 2]]>,
        portrait: Option<&[[f32; 2]]>,
        elapsed: Duration,
    ) -> bool {
        let wanted = if std::mem::take(&mut self.calibrate) {
            // What the user names is not replaced by something that seems nearer.
            self.calibrated = true;
            true
        } else {
            match mode {
                _ if self.calibrated => false,
                Reference::Manual => false,
                Reference::First => !self.kept,
                Reference::Best => self.is_better(landmarks, portrait, elapsed),
            }
        };
        self.kept |= wanted;
        wanted
    }

    fn is_better(
        &mut self,
        landmarks: Option<&[[f32; 2]]>,
        portrait: Option<&[[f32; 2]]>,
        elapsed: Duration,
    ) -> bool {
        if self.kept {
            self.searched += elapsed;
            if self.searched > SEARCH_WINDOW {
                return false;
            }
        }
        let new = landmarks.zip(portrait).map(|(a, b)| distance(a, b));
        let better = match (new, self.distance) {
            (Some(new), Some(best)) => new < best,
            // The first, or the first to be compared with this portrait.
            (Some(_), None) => true,
            // Without landmarks on either side there is nothing to compare: the first one stays.
            (None, _) => !self.kept,
        };
        if better {
            self.distance = new;
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(40);

    fn face(nose: f32) -> Vec<[f32; 2]> {
        normalise(&[[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [10.0, 10.0, 0.0], [0.0, 10.0, 0.0], [nose, 5.0, 0.0]])
            .unwrap()
    }

    #[test]
    fn normalised_landmarks_ignore_position_and_size() {
        let a = [[0.0, 0.0, 1.0], [4.0, 0.0, 0.0], [4.0, 4.0, 0.0], [1.0, 2.0, 0.0]];
        let b = a.map(|p| [p[0] * 3.0 + 7.0, p[1] * 3.0 - 2.0, p[2]]);
        assert!(distance(&normalise(&a).unwrap(), &normalise(&b).unwrap()) < 1e-10);
        assert!(normalise(&[[1.0, 1.0, 1.0]; 4]).is_none());
    }

    #[test]
    fn first_keeps_the_first() {
        let mut keeper = ReferenceKeeper::default();
        assert!(keeper.offer(Reference::First, None, None, FRAME));
        assert!(!keeper.offer(Reference::First, None, None, FRAME));
        assert!(keeper.is_kept());
    }

    #[test]
    fn best_takes_what_is_nearer_the_portrait() {
        let mut keeper = ReferenceKeeper::default();
        let portrait = face(5.0);
        let mut offer = |nose| keeper.offer(Reference::Best, Some(&face(nose)), Some(&portrait), FRAME);
        assert!(offer(8.0), "something is better than nothing");
        assert!(!offer(9.0), "further away");
        assert!(offer(5.5), "nearer");
    }

    #[test]
    fn best_stops_searching_after_its_window() {
        let mut keeper = ReferenceKeeper::default();
        let portrait = face(5.0);
        keeper.offer(Reference::Best, Some(&face(8.0)), Some(&portrait), FRAME);
        assert!(!keeper.offer(Reference::Best, Some(&face(5.0)), Some(&portrait), SEARCH_WINDOW + FRAME));
    }

    #[test]
    fn what_is_not_searched_for_is_not_taken() {
        for mode in [Reference::First, Reference::Best, Reference::Manual] {
            let mut keeper = ReferenceKeeper::default();
            for frame in 0..100 {
                if frame == 70 {
                    keeper.calibrate();
                }
                let searching = keeper.is_searching(mode);
                // Ever nearer the portrait, so that the best is always the last.
                let face = face(9.0 - frame as f32 * 0.03);
                let taken = keeper.offer(mode, Some(&face), Some(&self::face(5.0)), FRAME);
                assert!(searching || !taken, "{mode:?}, frame {frame}");
            }
            assert!(!keeper.is_searching(mode), "{mode:?}");
        }
    }

    #[test]
    fn manual_waits_for_calibration_and_keeps_it() {
        let mut keeper = ReferenceKeeper::default();
        assert!(!keeper.offer(Reference::Manual, None, None, FRAME));
        assert!(!keeper.is_kept());
        keeper.calibrate();
        assert!(keeper.offer(Reference::Manual, None, None, FRAME));
        assert!(!keeper.offer(Reference::Manual, None, None, FRAME));
    }

    #[test]
    fn a_seek_and_another_driver_keep_what_the_user_named() {
        let mut keeper = ReferenceKeeper::default();
        keeper.calibrate();
        keeper.offer(Reference::Best, None, None, FRAME);
        keeper.seek();
        keeper.driver_changed(Reference::Best);
        assert!(keeper.is_kept());
        keeper.reset();
        assert!(!keeper.is_kept());
    }

    #[test]
    fn another_driver_starts_the_search_for_the_best_anew_but_not_the_first() {
        for (mode, kept) in [(Reference::Best, false), (Reference::First, true)] {
            let mut keeper = ReferenceKeeper::default();
            keeper.offer(mode, None, None, FRAME);
            keeper.driver_changed(mode);
            assert_eq!(keeper.is_kept(), kept, "{mode:?}");
            keeper.seek();
            assert!(!keeper.is_kept());
        }
    }

    #[test]
    fn a_calibration_that_waits_outlasts_a_reset() {
        let mut keeper = ReferenceKeeper::default();
        keeper.calibrate();
        keeper.reset();
        assert!(keeper.offer(Reference::Manual, None, None, FRAME));
    }

    #[test]
    fn another_portrait_is_compared_with_afresh() {
        let mut keeper = ReferenceKeeper::default();
        let portrait = face(5.0);
        keeper.offer(Reference::Best, Some(&face(5.0)), Some(&portrait), FRAME);
        keeper.portrait_changed();
        let other = face(9.0);
        assert!(keeper.offer(Reference::Best, Some(&face(7.0)), Some(&other), FRAME));
    }

    #[test]
    fn calibration_outlasts_the_search_for_the_best() {
        let mut keeper = ReferenceKeeper::default();
        let portrait = face(5.0);
        keeper.calibrate();
        assert!(keeper.offer(Reference::Best, Some(&face(9.0)), Some(&portrait), FRAME));
        assert!(!keeper.offer(Reference::Best, Some(&face(5.0)), Some(&portrait), FRAME));
    }
}
