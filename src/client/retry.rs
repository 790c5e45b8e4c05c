//! When to try again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// The first step: 1 s.
const FIRST: Duration = Duration::from_secs(1);

/// The longest step: 30 s. The mean wait is then 15 s, what a person who restarts a server still bears.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits between attempts to connect: somewhere between nothing and a step that doubles from 1 s to 30 s. The whole step
/// is left to chance ("full jitter"), so that thousands of clients who lost the same server do not come back at once.
#[derive(Debug, PartialEq)]
pub(crate) struct Backoff {
    step: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { step: FIRST }
    }

    /// Returns how long to wait before the next attempt, and doubles the step.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.delay(random_fraction())
    }

    /// Begins again with the first step: the connection has proved to be good.
    pub(crate) fn reset(&mut self) {
        self.step = FIRST;
    }

    /// As [`next_delay`](Self::next_delay), with the chance given: a `fraction` from 0 up to but not including 1.
    fn delay(&mut self, fraction: f64) -> Duration {
        let delay = self.step.mul_f64(fraction);
        self.step = (self.step * 2).min(LONGEST);
        delay
    }
}

/// Returns a number from 0 up to but not including 1. The standard library's hash keys differ from process to process
/// and from call to call: all the chance that is needed.
pub(crate) fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    // A u32 is exact in an f64, so that the quotient stays below 1.
    f64::from((bits >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_doubles_from_one_second_to_thirty() {
        let mut backoff = Backoff::new();
        let halves: Vec<u128> = (0..7).map(|_| backoff.delay(0.5).as_millis()).collect();
        assert_eq!(halves, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
    }

    #[test]
    fn a_good_frame_begins_again() {
        let mut backoff = Backoff::new();
        assert_ne!(backoff.delay(0.5), backoff.delay(0.5));
        backoff.reset();
        assert_eq!(backoff.delay(0.5), Duration::from_millis(500));
    }

    #[test]
    fn the_whole_step_is_left_to_chance() {
        let mut delays: Vec<Duration> = (0..1000).map(|_| Backoff::new().next_delay()).collect();
        delays.sort();
        assert!(delays[0] < FIRST / 20 && delays[999] < FIRST && delays[999] > FIRST * 19 / 20, "{delays:?}");
        // The median of 1,000 even chances is off by a tenth once in 10^10 runs.
        assert!(delays[500] > FIRST * 2 / 5 && delays[500] < FIRST * 3 / 5, "{:?}", delays[500]);
    }
}
