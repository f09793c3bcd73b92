//! How long the stages of a frame take.

use std::time::{Duration, Instant};

/// A stage on the way of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Finding and tracking faces, landmarks included.
    Track,
    /// Pixels to network input.
    Sample,
    /// Key points of the driving frame.
    Keypoints,
    /// The generator.
    Generate,
    /// The classifier.
    Classify,
    /// Network output to pixels.
    Compose,
    /// Waiting for a GPU, which does the other stages' work while the processor goes on.
    Wait,
}

impl Stage {
    /// Every stage, in the order of a frame.
    pub const ALL: [Self; 7] = [
        Self::Track,
        Self::Sample,
        Self::Keypoints,
        Self::Generate,
        Self::Classify,
        Self::Compose,
        Self::Wait,
    ];

    /// Name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Sample => "sample",
            Self::Keypoints => "keypoints",
            Self::Generate => "generate",
            Self::Classify => "classify",
            Self::Compose => "compose",
            Self::Wait => "wait",
        }
    }
}

/// Sums of the time that the stages took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    total: [Duration; Stage::ALL.len()],
    /// Time inside the engines' calls alone; the rest is our own overhead.
    pub engine: Duration,
}

impl StageTimes {
    /// Runs `work` and adds the time it took to `stage`.
    pub fn measure<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.total[stage as usize] += start.elapsed();
        result
    }

    /// Adds `took` to `stage`.
    pub fn add_to(&mut self, stage: Stage, took: Duration) {
        self.total[stage as usize] += took;
    }

    /// Like [`measure`](Self::measure) for a stage that is nothing but an engine's call.
    pub fn measure_engine<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        self.total[stage as usize] += took;
        self.engine += took;
        result
    }

    /// Time spent in `stage` so far.
    pub fn total(&self, stage: Stage) -> Duration {
        self.total[stage as usize]
    }

    /// Adds the times of another.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.total.iter_mut().zip(other.total) {
            *sum += more;
        }
        self.engine += other.engine;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_indexed_in_order() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
        }
    }

    #[test]
    fn engine_time_counts_in_its_stage_too() {
        let mut times = StageTimes::default();
        times.measure_engine(Stage::Generate, || std::thread::sleep(Duration::from_millis(2)));
        assert!(times.engine >= Duration::from_millis(2));
        assert_eq!(times.total(Stage::Generate), times.engine);
        assert_eq!(times.total(Stage::Track), Duration::ZERO);
    }
}
