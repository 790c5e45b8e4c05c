//! The repeat interval of a server, learned from its frames.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How many gaps are kept: 5. Their median is right even if two are wrong: a frame may be delayed, or a missed map may
/// make a change look like a repeat.
const MAX_GAPS: usize = 5;

/// The interval at which a server repeats its map, as learned from its frames.
///
/// Only repeats count: a payload that equals the previous one on the same connection. The gap before a change has no
/// meaning. Gaps are measured from arrival to arrival. The arrival of a frame is known only if the reader was waiting
/// for it; a frame that was already there arrived earlier. So a pause of the reader's own program is not learned.
#[derive(Debug, Default)]
pub(super) struct Interval {
    hasher: RandomState,
    /// The last gaps, newest last.
    gaps: VecDeque<Duration>,
    /// The lowest upper bound from frames with an unknown arrival.
    bound: Option<Duration>,
    /// The hash of the last payload of this connection; the payload itself may take a megabyte.
    payload: Option<u64>,
    /// The last known arrival of this payload, and the number of repeats since.
    known: Option<(Instant, u32)>,
}

impl Interval {
    /// Returns the median of the last gaps; without any, an upper bound; `None` if there is none either.
    pub(super) fn learned(&self) -> Option<Duration> {
        let mut gaps: Vec<Duration> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied().or(self.bound)
    }

    /// Starts another connection: the time between two connections is not a gap. What was learned stays.
    pub(super) fn start_connection(&mut self) {
        (self.payload, self.known) = (None, None);
    }

    /// Records a frame read at `now`. It arrived then if `is_timely`, otherwise at an unknown earlier time. An empty
    /// payload means "nothing changed", and is a repeat. Returns true if and only if it is a repeat.
    pub(super) fn frame_came(&mut self, payload: &[u8], is_timely: bool, now: Instant) -> bool {
        let hash = if payload.is_empty() { self.payload } else { Some(self.hasher.hash_one(payload)) };
        let is_repeat = hash.is_some() && hash == self.payload;
        self.payload = hash;
        if !is_repeat {
            self.known = is_timely.then_some((now, 0));
            return false;
        }
        if let Some((arrival, repeats)) = &mut self.known {
            *repeats += 1;
            let gap = now.saturating_duration_since(*arrival) / *repeats;
            if is_timely {
                self.gaps.push_back(gap);
                self.gaps.drain(..self.gaps.len().saturating_sub(MAX_GAPS));
            } else {
                self.bound = Some(self.bound.map_or(gap, |bound| bound.min(gap)));
            }
        }
        if is_timely {
            self.known = Some((now, 0));
        }
        true
    }

    /// Forgets every gap except the newest: the server's interval has changed.
    pub(super) fn forget_older(&mut self) {
        self.bound = None;
        self.gaps.drain(..self.gaps.len().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Frames of one connection: the payload, the seconds until it is read, and whether the reader waited for it.
    fn after(frames: &[(&str, u64, bool)]) -> Interval {
        let mut interval = Interval::default();
        let mut now = Instant::now();
        for (payload, seconds, is_timely) in frames {
            now += SECOND * u32::try_from(*seconds).unwrap();
            interval.frame_came(payload.as_bytes(), *is_timely, now);
        }
        interval
    }

    #[test]
    fn the_gap_before_a_repeat_is_learned() {
        assert_eq!(after(&[]).learned(), None);
        assert_eq!(after(&[("a", 0, true)]).learned(), None);
        assert_eq!(after(&[("a", 0, true), ("a", 7, true)]).learned(), Some(7 * SECOND));
        assert_eq!(after(&[("a", 0, true), ("", 7, true)]).learned(), Some(7 * SECOND));
        assert_eq!(after(&[("", 0, true), ("", 7, true)]).learned(), None, "nothing to be equal to");
    }

    #[test]
    fn the_gap_before_a_change_is_not_learned() {
        assert_eq!(after(&[("a", 0, true), ("b", 1, true), ("a", 1, true)]).learned(), None);
        let frames = [("a", 0, true), ("b", 1, true), ("b", 60, true), ("c", 2, true)];
        assert_eq!(after(&frames).learned(), Some(60 * SECOND));
    }

    #[test]
    fn an_unusual_gap_is_ignored_a_new_interval_is_learned() {
        let frames = |gaps: &[u64]| {
            let frames: Vec<_> = [&0].into_iter().chain(gaps).map(|gap| ("a", *gap, true)).collect();
            after(&frames).learned().unwrap().as_secs()
        };
        assert_eq!(frames(&[5, 5, 5, 40]), 5);
        assert_eq!(frames(&[60, 60, 60, 1, 1]), 60);
        assert_eq!(frames(&[60, 60, 60, 60, 60, 5, 5, 5]), 5);
        assert_eq!(frames(&[5, 5, 5, 5, 5, 60, 60, 60]), 60);
    }

    #[test]
    fn a_pause_of_the_reader_is_averaged_out() {
        // A frame every 5 s; the reader is busy from 10 s to 52 s, finds eight frames, and waits for the next one.
        let mut frames = vec![("a", 0, true), ("a", 5, true), ("a", 5, true), ("a", 42, false)];
        frames.extend([("a", 0, false); 7]);
        frames.push(("a", 3, true));
        let interval = after(&frames);
        assert_eq!(interval.gaps, [5 * SECOND; 3]);
    }

    #[test]
    fn a_reader_that_is_always_late_has_an_upper_bound() {
        // A frame every 5 s, and 8 s to process each.
        let mut frames = vec![("a", 0, true)];
        frames.extend([("a", 8, false); 10]);
        assert_eq!(after(&frames).learned(), Some(8 * SECOND));
        let unknown = [("a", 0, false), ("a", 8, false)];
        assert_eq!(after(&unknown).learned(), None);
    }

    #[test]
    fn the_time_between_two_connections_is_not_a_gap() {
        let mut interval = after(&[("a", 0, true), ("a", 5, true)]);
        interval.start_connection();
        let now = Instant::now() + 1000 * SECOND;
        assert!(!interval.frame_came(b"a", true, now));
        assert!(interval.frame_came(b"a", true, now + 6 * SECOND));
        assert_eq!(interval.gaps, [5 * SECOND, 6 * SECOND]);
        interval.forget_older();
        assert_eq!(interval.gaps, [6 * SECOND]);
    }
}
