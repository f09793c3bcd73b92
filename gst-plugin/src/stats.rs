//! The read-only property `stats`.

use std::{collections::VecDeque, time::Duration};

use deepfake_models::{Stage, StageTimes};

/// Frames whose times count.
const WINDOW: usize = 256;

/// Recent times of one kind, in milliseconds.
#[derive(Clone, Debug, Default)]
struct Recent(VecDeque<f64>);

impl Recent {
    fn record(&mut self, took: Duration) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(took.as_secs_f64() * 1000.0);
    }

    /// 0 if there is none.
    fn median(&self) -> f64 {
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            n if n % 2 == 1 => sorted[n / 2],
            n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        }
    }
}

/// Counters, and the median time that a frame spends in each stage.
#[derive(Debug)]
pub struct Stats {
    name: &'static str,
    counters: Vec<(&'static str, u64)>,
    stages: Vec<(Stage, Recent)>,
    engine: Recent,
    total: Recent,
}

impl Stats {
    /// Statistics as a structure `name` with `counters` and times of `stages`.
    pub fn new(name: &'static str, counters: &[&'static str], stages: &[Stage]) -> Self {
        Self {
            name,
            counters: counters.iter().map(|&c| (c, 0)).collect(),
            stages: stages.iter().map(|&s| (s, Recent::default())).collect(),
            engine: Recent::default(),
            total: Recent::default(),
        }
    }

    /// All back to zero.
    pub fn reset(&mut self) {
        for (_, count) in &mut self.counters {
            *count = 0;
        }
        for recent in self.stages.iter_mut().map(|(_, r)| r).chain([&mut self.engine, &mut self.total]) {
            recent.0.clear();
        }
    }

    /// Adds to a counter.
    pub fn count(&mut self, counter: &str, n: u64) {
        let known = self.counters.iter_mut().find(|(name, _)| *name == counter);
        debug_assert!(known.is_some(), "no counter {counter}");
        if let Some((_, count)) = known {
            *count += n;
        }
    }

    /// Notes the times of a frame.
    pub fn record(&mut self, times: &StageTimes, total: Duration) {
        for (stage, recent) in &mut self.stages {
            recent.record(times.total(*stage));
        }
        self.engine.record(times.engine);
        self.total.record(total);
    }

    /// The value of the property.
    pub fn structure(&self) -> gst::Structure {
        let mut builder = gst::Structure::builder(self.name);
        for (name, count) in &self.counters {
            builder = builder.field(*name, *count);
        }
        for (stage, recent) in &self.stages {
            builder = builder.field(stage.name(), recent.median());
        }
        builder.field("engine", self.engine.median()).field("total", self.total.median()).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_forgets_what_is_long_ago_and_ignores_outliers() {
        let mut recent = Recent::default();
        assert_eq!(recent.median(), 0.0);
        recent.record(Duration::from_secs(9));
        recent.record(Duration::from_millis(4));
        recent.record(Duration::from_millis(6));
        assert_eq!(recent.median(), 6.0);
        for _ in 0..WINDOW {
            recent.record(Duration::from_millis(2));
        }
        assert_eq!(recent.0.len(), WINDOW);
        assert_eq!(recent.median(), 2.0);
    }

    #[test]
    fn the_structure_holds_counters_and_milliseconds() {
        gst::init().unwrap();
        let mut stats = Stats::new("test", &["frames", "dropped"], &[Stage::Track]);
        stats.count("frames", 3);
        stats.record(&StageTimes::default(), Duration::from_millis(8));
        let structure = stats.structure();
        assert_eq!(structure.get::<u64>("frames").unwrap(), 3);
        assert_eq!(structure.get::<u64>("dropped").unwrap(), 0);
        assert_eq!(structure.get::<f64>("track").unwrap(), 0.0);
        assert_eq!(structure.get::<f64>("total").unwrap(), 8.0);
        stats.reset();
        assert_eq!(stats.structure().get::<u64>("frames").unwrap(), 0);
    }
}
