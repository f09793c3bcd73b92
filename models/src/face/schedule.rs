//! When the detector has to run.

/// What is asked of the detector in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// It rests.
    Nothing,
    /// The quick network.
    Short,
    /// The quick network, and the thorough one if that brings no face.
    ShortElseFull,
    /// Both networks.
    Both,
}

/// What the tracker knows once it has followed the faces of the last frame into this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// Faces followed.
    pub(super) seen: usize,
    /// Faces lost in this frame or, not long ago, in one before.
    pub(super) missed: usize,
    /// Whether a face was lost in this very frame.
    pub(super) broken: bool,
    /// Most faces to follow.
    pub(super) most: usize,
}

/// While no face is followed, the thorough network may run in one of so many frames.
const EMPTY_INTERVAL: u32 = 3;

/// Counts frames between runs of the networks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    since_full: u32,
    since_both: u32,
    first: bool,
}

impl Schedule {
    /// Before the first frame of a shot.
    pub(super) fn new() -> Self {
        Self { since_full: u32::MAX, since_both: u32::MAX, first: true }
    }

    /// What to run in the next frame. The first line that fits counts:
    ///
    /// * as many faces as wanted are followed: nothing;
    /// * it is the first one and more than one face is wanted: both networks;
    /// * a face was lost just now: the quick network, then the thorough one if need be;
    /// * no face is followed: the quick network in every frame, in every third the thorough one as well;
    /// * there is room for more faces: both networks every `interval` frames;
    /// * a face was lost not long ago: the quick network in every frame.
    pub(super) fn next(&mut self, situation: Situation, interval: u32) -> Search {
        self.since_full = self.since_full.saturating_add(1);
        self.since_both = self.since_both.saturating_add(1);
        let first = std::mem::replace(&mut self.first, false);
        let search = if situation.seen >= situation.most {
            Search::Nothing
        } else if first && situation.most > 1 {
            Search::Both
        } else if situation.broken {
            Search::ShortElseFull
        } else if situation.seen == 0 {
            if self.since_full >= EMPTY_INTERVAL.min(interval) {
                Search::ShortElseFull
            } else {
                Search::Short
            }
        } else if self.since_both >= interval {
            Search::Both
        } else if situation.missed > 0 {
            Search::Short
        } else {
            Search::Nothing
        };
        match search {
            Search::Nothing | Search::Short => {}
            Search::ShortElseFull => self.since_full = 0,
            Search::Both => (self.since_full, self.since_both) = (0, 0),
        }
        search
    }
}

#[cfg(test)]
mod tests {
    use super::{Search::*, *};

    fn situation(seen: usize, missed: usize, most: usize) -> Situation {
        Situation { seen, missed, broken: false, most }
    }

    fn run(schedule: &mut Schedule, situation: Situation, frames: usize) -> Vec<Search> {
        (0..frames).map(|_| schedule.next(situation, 10)).collect()
    }

    #[test]
    fn an_empty_picture_is_searched_quickly_and_sometimes_thoroughly() {
        let found = run(&mut Schedule::new(), situation(0, 0, 1), 7);
        assert_eq!(found, [ShortElseFull, Short, Short, ShortElseFull, Short, Short, ShortElseFull]);
    }

    #[test]
    fn the_first_frame_is_searched_for_all_faces_at_once() {
        let found = run(&mut Schedule::new(), situation(0, 0, 4), 5);
        assert_eq!(found, [Both, Short, Short, ShortElseFull, Short]);
    }

    #[test]
    fn the_detector_rests_while_all_wanted_faces_are_followed() {
        assert_eq!(run(&mut Schedule::new(), situation(1, 0, 1), 30), [Nothing; 30]);
        assert_eq!(run(&mut Schedule::new(), situation(0, 0, 0), 3), [Nothing; 3]);
    }

    #[test]
    fn with_room_for_more_both_networks_look_every_interval() {
        let found = run(&mut Schedule::new(), situation(1, 0, 4), 21);
        for (frame, search) in found.into_iter().enumerate() {
            assert_eq!(search, if frame % 10 == 0 { Both } else { Nothing }, "frame {frame}");
        }
    }

    #[test]
    fn a_loss_is_searched_at_once() {
        let mut schedule = Schedule::new();
        run(&mut schedule, situation(2, 0, 4), 3);
        let lost = Situation { broken: true, ..situation(1, 1, 4) };
        assert_eq!(schedule.next(lost, 10), ShortElseFull);
        assert_eq!(run(&mut schedule, situation(1, 1, 4), 2), [Short, Short]);
    }
}
