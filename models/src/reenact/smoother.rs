//! Smoothing of key points over time.

use std::time::Duration;

use deepfake_kernels::Keypoints;

/// Exponential smoothing of key points, independent of the frame rate.
#[derive(Debug, Default)]
pub struct Smoother {
    /// The smoothed key points, moved by [`deepfake_kernels::Device::smooth`].
    pub state: Keypoints,
    started: bool,
}

impl Smoother {
    /// Forgets the past, so that the next key points are taken as they are.
    pub fn reset(&mut self) {
        self.started = false;
    }

    /// How far to move the state towards new key points. `smoothing` is the share of the old that a 25th of a second leaves;
    /// `elapsed` is the time since the last call.
    pub fn amount(&mut self, smoothing: f32, elapsed: Duration) -> f32 {
        if !std::mem::replace(&mut self.started, true) {
            return 1.0;
        }
        1.0 - smoothing.clamp(0.0, 1.0).powf(elapsed.as_secs_f32() * 25.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a value gets that starts at 0 and is drawn to 1 for 200 ms in that many steps.
    fn drawn(smoothing: f32, steps: u32) -> f32 {
        let mut smoother = Smoother::default();
        assert_eq!(smoother.amount(smoothing, Duration::ZERO), 1.0, "the first is taken as it is");
        (0..steps).fold(0.0, |value, _| {
            value + (1.0 - value) * smoother.amount(smoothing, Duration::from_millis(200) / steps)
        })
    }

    #[test]
    fn smoothing_does_not_depend_on_the_frame_rate() {
        assert!((drawn(0.5, 1) - drawn(0.5, 10)).abs() < 1e-5);
        assert!((drawn(0.5, 5) - (1.0 - 0.5f32.powi(5))).abs() < 1e-5);
    }

    #[test]
    fn no_smoothing_follows_at_once_and_full_smoothing_never() {
        assert_eq!(drawn(0.0, 5), 1.0);
        assert_eq!(drawn(1.0, 5), 0.0);
    }

    #[test]
    fn after_a_reset_nothing_is_smoothed() {
        let mut smoother = Smoother::default();
        smoother.amount(0.5, Duration::ZERO);
        smoother.reset();
        assert_eq!(smoother.amount(0.5, Duration::from_millis(1)), 1.0);
    }
}
