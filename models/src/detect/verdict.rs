//! From scores of single frames to a verdict on a face over time.

use std::{collections::VecDeque, time::Duration};

/// What a face is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// No traces of manipulation were found.
    Real,
    /// Traces of manipulation were found.
    Fake,
    /// Neither with confidence.
    Uncertain,
}

impl Label {
    /// Name in messages and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Fake => "fake",
            Self::Uncertain => "uncertain",
        }
    }
}

/// Where the labels part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// From here on a score means fake.
    pub fake: f32,
    /// Below the lower of the two a score means real.
    pub real: f32,
}

impl Thresholds {
    /// The label of a score in 0..1.
    pub fn label(&self, score: f32) -> Label {
        if score >= self.fake {
            Label::Fake
        } else if score < self.real.min(self.fake) {
            Label::Real
        } else {
            Label::Uncertain
        }
    }
}

/// Scores of one face within a window of time, and over all of it.
#[derive(Clone, Debug, Default)]
pub struct ScoreHistory {
    recent: VecDeque<(Duration, f32)>,
    frames: u64,
    sum: f64,
    max: f32,
}

/// A window holds this many scores at most, whatever the frame rate.
const MOST_SCORES: usize = 1024;

impl ScoreHistory {
    /// Takes the score of the frame at `time` and forgets those older than `window`.
    pub fn push(&mut self, time: Duration, score: f32, window: Duration) {
        self.frames += 1;
        self.sum += f64::from(score);
        self.max = self.max.max(score);
        self.recent.push_back((time, score));
        while self.recent.len() > MOST_SCORES
            || self.recent.front().is_some_and(|(oldest, _)| *oldest + window < time)
        {
            self.recent.pop_front();
        }
    }

    /// Mean of the scores in the window; `None` without any.
    ///
    /// A mean rather than the highest third of the paper's video score: that one is for whole videos and would call a
    /// live face fake for seconds after one bad frame.
    pub fn smoothed(&self) -> Option<f32> {
        let count = self.recent.len();
        (count > 0).then(|| self.recent.iter().map(|(_, score)| score).sum::<f32>() / count as f32)
    }

    /// The newest score.
    pub fn last(&self) -> Option<f32> {
        self.recent.back().map(|(_, score)| *score)
    }

    /// Number of scores taken.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Mean of all scores taken; `None` without any.
    pub fn mean(&self) -> Option<f32> {
        (self.frames > 0).then(|| (self.sum / self.frames as f64) as f32)
    }

    /// Highest score taken; 0 without any.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// Forgets the window, not the totals: after a seek time starts elsewhere.
    pub fn flush(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn labels_part_at_the_thresholds() {
        let thresholds = Thresholds { fake: 0.5, real: 0.3 };
        assert_eq!(thresholds.label(0.5), Label::Fake);
        assert_eq!(thresholds.label(0.49), Label::Uncertain);
        assert_eq!(thresholds.label(0.3), Label::Uncertain);
        assert_eq!(thresholds.label(0.29), Label::Real);
        let lowered = Thresholds { fake: 0.2, real: 0.3 };
        assert_eq!(lowered.label(0.25), Label::Fake);
        assert_eq!(lowered.label(0.19), Label::Real);
    }

    #[test]
    fn only_scores_in_the_window_count_for_the_smoothed_one() {
        let mut history = ScoreHistory::default();
        history.push(ms(0), 1.0, ms(1000));
        history.push(ms(900), 0.0, ms(1000));
        assert_eq!(history.smoothed(), Some(0.5));
        history.push(ms(1500), 0.5, ms(1000));
        assert_eq!(history.smoothed(), Some(0.25));
        assert_eq!((history.frames(), history.mean(), history.max()), (3, Some(0.5), 1.0));
    }

    #[test]
    fn a_window_of_nothing_keeps_the_newest_score() {
        let mut history = ScoreHistory::default();
        history.push(ms(0), 0.2, ms(0));
        history.push(ms(40), 0.8, ms(0));
        assert_eq!(history.smoothed(), Some(0.8));
    }

    #[test]
    fn memory_is_bounded_where_time_stands_still() {
        let mut history = ScoreHistory::default();
        for _ in 0..3 * MOST_SCORES {
            history.push(ms(0), 0.5, ms(1000));
        }
        assert_eq!(history.recent.len(), MOST_SCORES);
    }

    #[test]
    fn a_flush_keeps_the_totals() {
        let mut history = ScoreHistory::default();
        history.push(ms(5000), 0.4, ms(1000));
        history.flush();
        assert_eq!(history.smoothed(), None);
        assert_eq!(history.mean(), Some(0.4));
    }
}
