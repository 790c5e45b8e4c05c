//! Maps that come back: what keeps relays in a ring from chasing each other's maps.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::client::random_fraction;

/// How long a map counts as having been here a moment ago: 1 s.
const MOMENT: Duration = Duration::from_secs(1);

/// The longest that one which comes back is held: 100 ms.
const LONGEST: Duration = Duration::from_millis(100);

/// How many maps are remembered: as many may chase each other through a ring.
const REMEMBERED: usize = 16;

/// Remembers what came last, and holds back for a random moment what comes again.
///
/// Relays in a ring that begin with different maps hand them on for ever, each map as fast as the other. A random pause
/// at each relay lets one catch up with the other, and as a newer map replaces one that is held, one of them is left. On
/// a tree it costs a map that changes to and fro within a second up to 100 ms a level; any other map passes at once.
#[derive(Debug)]
pub(super) struct LoopDamper {
    /// Hashes of the last payloads that differed from the one before, newest last, and when each was here last.
    recent: VecDeque<(u64, Instant)>,
    hasher: RandomState,
}

impl LoopDamper {
    pub(super) fn new() -> Self {
        Self { recent: VecDeque::with_capacity(REMEMBERED), hasher: RandomState::new() }
    }

    /// Takes note of `payload`. Returns how long to hold it if and only if it is to be held: it was here a moment ago, and
    /// is not what came last.
    pub(super) fn delay(&mut self, payload: &[u8]) -> Option<Duration> {
        let (hash, now) = (self.hasher.hash_one(payload), Instant::now());
        if let Some((last, at)) = self.recent.back_mut()
            && *last == hash
        {
            *at = now;
            return None;
        }
        let before = self.recent.iter().position(|(recent, _)| *recent == hash);
        let was_here = before.and_then(|index| self.recent.remove(index));
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((hash, now));
        let (_, at) = was_here?;
        (now.duration_since(at) < MOMENT).then(|| LONGEST.mul_f64(random_fraction()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_maps_and_repeats_pass_at_once() {
        let mut loop_damper = LoopDamper::new();
        for number in 0..100_u8 {
            assert_eq!(loop_damper.delay(&[number]), None);
            assert_eq!(loop_damper.delay(&[number]), None);
        }
        assert!(loop_damper.recent.len() <= REMEMBERED);
    }

    #[test]
    fn a_map_that_comes_back_is_held_for_a_moment() {
        let mut loop_damper = LoopDamper::new();
        for payload in [b"a", b"b", b"c"] {
            assert_eq!(loop_damper.delay(payload), None);
        }
        for payload in [b"a", b"b", b"c"] {
            assert!(loop_damper.delay(payload).is_some_and(|delay| delay < LONGEST));
        }
    }

    #[test]
    fn a_map_that_comes_back_after_a_while_passes_at_once() {
        let mut loop_damper = LoopDamper::new();
        loop_damper.delay(b"a");
        loop_damper.delay(b"b");
        for (_, at) in &mut loop_damper.recent {
            *at -= MOMENT;
        }
        assert_eq!(loop_damper.delay(b"a"), None);
    }
}
