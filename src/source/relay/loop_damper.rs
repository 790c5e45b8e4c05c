//! Damps loops: keeps relays in a ring from forwarding each other's maps forever.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How long a map is remembered: 1 s.
const MOMENT: Duration = Duration::from_secs(1);

/// The longest delay of a map that returns: 100 ms.
const LONGEST: Duration = Duration::from_millis(100);

/// How many maps are remembered: as many different maps may circulate in a ring.
const REMEMBERED: usize = 16;

/// Remembers the last maps, and delays a map that returns by a random time.
///
/// Relays in a ring that start with different maps forward them forever, all at the same speed. A random delay at each relay
/// lets one map catch up with the other, and a newer map replaces a delayed one, so that one map is left. In a tree the cost is
/// up to 100 ms a level for a map that alternates within a second; any other map passes at once.
#[derive(Debug)]
pub(super) struct LoopDamper {
    /// The hashes of the last different payloads, newest last, with the time when each was last received.
    recent: VecDeque<(u64, Instant)>,
    hasher: RandomState,
}

impl LoopDamper {
    pub(super) fn new() -> Self {
        Self { recent: VecDeque::with_capacity(REMEMBERED), hasher: RandomState::new() }
    }

    /// Records `payload`. Returns a delay if and only if the payload was received within the last second and is not the last
    /// one.
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
        (now.duration_since(at) < MOMENT).then(|| LONGEST.mul_f64(fastrand::f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_maps_and_repeats_are_not_delayed() {
        let mut loop_damper = LoopDamper::new();
        for number in 0..100_u8 {
            assert_eq!(loop_damper.delay(&[number]), None);
            assert_eq!(loop_damper.delay(&[number]), None);
        }
        assert!(loop_damper.recent.len() <= REMEMBERED);
    }

    #[test]
    fn a_map_that_returns_within_a_second_is_delayed() {
        let mut loop_damper = LoopDamper::new();
        for payload in [b"a", b"b", b"c"] {
            assert_eq!(loop_damper.delay(payload), None);
        }
        for payload in [b"a", b"b", b"c"] {
            assert!(loop_damper.delay(payload).is_some_and(|delay| delay < LONGEST));
        }
    }

    #[test]
    fn a_map_that_returns_after_a_second_is_not_delayed() {
        let mut loop_damper = LoopDamper::new();
        loop_damper.delay(b"a");
        loop_damper.delay(b"b");
        for (_, at) in &mut loop_damper.recent {
            *at -= MOMENT;
        }
        assert_eq!(loop_damper.delay(b"a"), None);
    }
}
