//! Delays between attempts to connect.

use std::time::Duration;

/// The first step: 1 s.
const FIRST: Duration = Duration::from_secs(1);

/// The longest step: 5 s. However long a server was away, all of its clients are back within that time, half of them
/// within a third of it. 10,000 clients then make 4,000 attempts a second, half of what one server accepts
/// (`docs/performance.md`).
const LONGEST: Duration = Duration::from_secs(5);

/// Delays between attempts to connect: a random time below a step that doubles from 1 s to 5 s. The whole step is
/// random ("full jitter"), so that thousands of clients of the same server do not reconnect at once.
#[derive(Debug, PartialEq)]
pub(crate) struct Backoff {
    step: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { step: FIRST }
    }

    /// Returns the delay before the next attempt, and doubles the step.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay = self.step.mul_f64(fastrand::f64());
        self.step = (self.step * 2).min(LONGEST);
        delay
    }

    /// Returns to the first step.
    pub(crate) fn reset(&mut self) {
        self.step = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_doubles_from_one_second_to_five() {
        let mut backoff = Backoff::new();
        let next_step = |_| {
            let step = backoff.step;
            assert!(backoff.next_delay() < step);
            step.as_secs()
        };
        assert_eq!([0; 5].map(next_step), [1, 2, 4, 5, 5]);
    }

    /// Returns when each of 10,000 clients is back after a server was away for `absence`, measured from its return.
    /// Attempts take no time.
    fn returns_after(absence: Duration) -> Vec<Duration> {
        let back = |_| {
            let (mut backoff, mut at) = (Backoff::new(), Duration::ZERO);
            while at < absence {
                at += backoff.next_delay();
            }
            at.saturating_sub(absence)
        };
        let mut returns: Vec<Duration> = (0..10_000).map(back).collect();
        returns.sort_unstable();
        returns
    }

    #[test]
    fn after_any_outage_all_are_back_within_5_s_not_at_once() {
        for absence in [2, 8, 15, 600].map(Duration::from_secs) {
            let returns = returns_after(absence);
            let (half, last) = (returns[5000], returns[9_999]);
            assert!(
                half < Duration::from_millis(2500) && last < Duration::from_secs(5),
                "{absence:?}: {half:?}, {last:?}"
            );
            // At most half of what one server accepts in a second, with room for chance.
            let within = returns.partition_point(|back| *back < FIRST);
            assert!(within < 7500, "{absence:?}: {within} in the first second");
        }
    }

    #[test]
    fn reset_returns_to_the_first_step() {
        let mut backoff = Backoff::new();
        backoff.next_delay();
        backoff.reset();
        assert_eq!(backoff.step, FIRST);
    }

    #[test]
    fn the_delay_is_uniform_over_the_step() {
        let mut delays: Vec<Duration> = (0..1000).map(|_| Backoff::new().next_delay()).collect();
        delays.sort();
        assert!(delays[0] < FIRST / 20 && delays[999] < FIRST && delays[999] > FIRST * 19 / 20, "{delays:?}");
        // The median of 1,000 even chances is off by a tenth once in 10^10 runs.
        assert!(delays[500] > FIRST * 2 / 5 && delays[500] < FIRST * 3 / 5, "{:?}", delays[500]);
    }
}
