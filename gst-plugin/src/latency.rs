//! What an element adds to the pipeline's latency.

use std::{collections::VecDeque, time::Duration};

use gst::prelude::*;

/// Frames that count; about two seconds of video.
const WINDOW: usize = 64;
/// One frame in twenty may take longer than what is reported.
const PERCENTILE: f64 = 0.95;
/// Relative change from which on the pipeline is told.
const DRIFT: f64 = 0.25;
/// Less is scheduling noise, not worth a new distribution of latency.
const NOISE: Duration = Duration::from_millis(1);

/// Processing time as the pipeline knows it. It changes only by [`record`](Self::record), so that every query between
/// two messages gets the same answer.
#[derive(Debug, Default)]
pub struct Latency {
    samples: VecDeque<Duration>,
    reported: Duration,
}

impl Latency {
    /// Notes how long a frame took; `true` if the pipeline must be told by a message.
    #[must_use]
    pub fn record(&mut self, took: Duration) -> bool {
        if self.samples.len() == WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(took);
        let now = self.percentile();
        // A few quick frames (nothing to do without a face) do not make slow ones impossible.
        let settled = self.samples.len() == WINDOW;
        let change = now.as_secs_f64() - self.reported.as_secs_f64();
        let large = change.abs() > (DRIFT * self.reported.as_secs_f64()).max(NOISE.as_secs_f64());
        let tell = large && (change > 0.0 || settled);
        if tell {
            self.reported = now;
        }
        tell
    }

    /// What the pipeline was told last.
    pub fn reported(&self) -> gst::ClockTime {
        gst::ClockTime::try_from(self.reported).unwrap_or(gst::ClockTime::MAX)
    }

    fn percentile(&self) -> Duration {
        let mut sorted: Vec<_> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (PERCENTILE * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Answers a latency query by what is upstream of `sink` and by `own`.
pub fn answer(sink: &gst::Pad, query: &mut gst::query::Latency, own: gst::ClockTime) -> bool {
    let mut upstream = gst::query::Latency::new();
    if !sink.peer_query(&mut upstream) {
        return false;
    }
    let (live, min, max) = upstream.result();
    query.set(live, min.saturating_add(own), max.map(|max| max.saturating_add(own)));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn growth_is_told_at_once_and_small_changes_never() {
        let mut latency = Latency::default();
        assert!(latency.record(ms(40)));
        assert!(!latency.record(ms(45)), "12 % more");
        assert!(latency.record(ms(60)), "50 % more");
        assert_eq!(latency.reported(), gst::ClockTime::from_mseconds(60));
    }

    #[test]
    fn a_fall_is_told_once_the_window_is_full_of_it() {
        let mut latency = Latency::default();
        assert!(latency.record(ms(100)));
        let told: Vec<usize> = (1..200).filter(|_| latency.record(ms(10))).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(latency.reported(), gst::ClockTime::from_mseconds(10));
    }

    #[test]
    fn one_slow_frame_among_many_is_not_told() {
        let mut latency = Latency::default();
        assert!((0..64).filter(|_| latency.record(ms(20))).count() == 1);
        assert!(!latency.record(ms(500)));
        assert_eq!(latency.reported(), gst::ClockTime::from_mseconds(20));
    }

    #[test]
    fn noise_below_a_millisecond_is_not_told() {
        let mut latency = Latency::default();
        assert!(!latency.record(Duration::from_micros(300)));
        assert_eq!(latency.reported(), gst::ClockTime::ZERO);
    }
}
