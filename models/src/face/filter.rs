//! Steady values out of trembling ones.

use std::f32::consts::TAU;

/// How much a filter smooths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Strength {
    /// Cut-off frequency of a value at rest, in Hz.
    pub(super) cutoff: f32,
    /// By how many Hz the cut-off rises with each unit a second.
    pub(super) response: f32,
}

impl Strength {
    /// From 0 (nothing is smoothed: `None`) to 1 (much).
    ///
    /// At rest the cut-off falls from 10 Hz to 0.5 Hz; a face that moves by its own size in a second is followed
    /// with 8 Hz more, so that smoothing does not turn into delay.
    pub(super) fn from_amount(amount: f32) -> Option<Self> {
        let amount = amount.clamp(0.0, 1.0);
        (amount > 0.0).then(|| Self { cutoff: 10.0 * 0.05f32.powf(amount), response: 8.0 })
    }
}

/// Cut-off of the speed estimate, in Hz: that of the paper.
const SPEED_CUTOFF: f32 = 1.0;

/// Weight of a new value in a low pass of `cutoff` Hz after `seconds`.
fn weight(cutoff: f32, seconds: f32) -> f32 {
    let step = TAU * cutoff * seconds;
    step / (step + 1.0)
}

/// A One-Euro filter (Casiez, Roussel, Vogel: "1 € Filter", CHI 2012) over a vector of values: a low pass whose
/// cut-off rises with speed. Time steps may vary.
#[derive(Clone, Debug, Default)]
pub(super) struct OneEuro {
    values: Vec<f32>,
    speeds: Vec<f32>,
}

impl OneEuro {
    /// Forgets the past; the next values pass as they are.
    pub(super) fn reset(&mut self) {
        self.values.clear();
    }

    /// Smooths `values` in place.
    ///
    /// `seconds` have passed since the last call; `unit` is what speeds are measured in (the face's size, so that
    /// near and far faces are smoothed alike). A vector of another length than the last one starts anew.
    pub(super) fn smooth(&mut self, values: &mut [f32], seconds: f32, unit: f32, strength: Strength) {
        if self.values.len() != values.len() {
            self.values.clear();
            self.values.extend_from_slice(values);
            self.speeds.clear();
            self.speeds.resize(values.len(), 0.0);
            return;
        }
        let by_time = 1.0 / (seconds.max(1e-3) * unit.max(1e-3));
        let speed_weight = weight(SPEED_CUTOFF, seconds);
        for ((value, past), speed) in values.iter_mut().zip(&mut self.values).zip(&mut self.speeds) {
            *speed += speed_weight * ((*value - *past) * by_time - *speed);
            let cutoff = strength.cutoff + strength.response * speed.abs();
            *past += weight(cutoff, seconds) * (*value - *past);
            *value = *past;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: f32 = 1.0 / 30.0;

    fn strength() -> Strength {
        Strength::from_amount(0.5).unwrap()
    }

    #[test]
    fn the_first_value_passes() {
        let mut filter = OneEuro::default();
        let mut values = [3.0, -4.0];
        filter.smooth(&mut values, FRAME, 100.0, strength());
        assert_eq!(values, [3.0, -4.0]);
        filter.reset();
        let mut values = [30.0, 40.0];
        filter.smooth(&mut values, FRAME, 100.0, strength());
        assert_eq!(values, [30.0, 40.0]);
    }

    #[test]
    fn trembling_at_rest_is_damped() {
        let mut filter = OneEuro::default();
        let mut largest = 0.0f32;
        for frame in 0..60 {
            let mut values = [if frame % 2 == 0 { 0.5 } else { -0.5 }];
            filter.smooth(&mut values, FRAME, 100.0, strength());
            if frame > 10 {
                largest = largest.max(values[0].abs());
            }
        }
        assert!(largest < 0.2, "{largest}");
    }

    #[test]
    fn fast_movement_is_followed_closely() {
        let mut filter = OneEuro::default();
        let mut behind = 0.0;
        for frame in 0..30 {
            // Two face sizes a second.
            let truth = 200.0 * FRAME * frame as f32;
            let mut values = [truth];
            filter.smooth(&mut values, FRAME, 100.0, strength());
            behind = truth - values[0];
        }
        assert!((0.0..4.0).contains(&behind), "{behind}");
    }

    #[test]
    fn a_dropped_frame_counts_as_the_time_it_took() {
        let after = |steps: &[f32]| {
            let mut filter = OneEuro::default();
            filter.smooth(&mut [0.0], FRAME, 100.0, strength());
            let mut value = [0.0];
            for seconds in steps {
                value = [1.0];
                filter.smooth(&mut value, *seconds, 100.0, strength());
            }
            value[0]
        };
        let two = after(&[FRAME, FRAME]);
        let one = after(&[2.0 * FRAME]);
        assert!(one > after(&[FRAME]) && (one - two).abs() < 0.15, "{one} {two}");
    }

    #[test]
    fn no_amount_is_no_filter_and_more_smooths_more() {
        assert_eq!(Strength::from_amount(0.0), None);
        assert!(Strength::from_amount(1.0).unwrap().cutoff < Strength::from_amount(0.3).unwrap().cutoff);
    }
}
