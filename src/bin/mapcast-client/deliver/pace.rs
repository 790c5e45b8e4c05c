//! How often something is begun: not more than once a second, and less often while it fails.

use std::time::{Duration, Instant};

/// The least time between two beginnings, and the first step of the wait after a failure.
const STEP: Duration = Duration::from_secs(1);

/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(30);

/// When the next beginning may be.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The last beginning; `None` before the first.
    began: Option<Instant>,
    /// The wait after the last failure; `None` after a success.
    delay: Option<Duration>,
}

impl Pace {
    /// Records a beginning.
    pub(super) fn began(&mut self) {
        self.began = Some(Instant::now());
    }

    /// Records that what was begun failed. Returns how long to wait before it is tried again: 1 s, doubling to 30 s.
    pub(super) fn failed(&mut self) -> Duration {
        let delay = self.delay.map_or(STEP, |delay| (delay * 2).min(LONGEST));
        self.delay = Some(delay);
        delay
    }

    /// Records that what was begun succeeded.
    pub(super) fn succeeded(&mut self) {
        self.delay = None;
    }

    /// Returns when something new may be begun at the earliest; `None` is at once.
    pub(super) fn next(&self) -> Option<Instant> {
        self.began?.checked_add(STEP)
    }

    /// Returns when what failed is tried again; `None` if nothing did.
    pub(super) fn retry(&self) -> Option<Instant> {
        self.began?.checked_add(self.delay?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_after_a_failure_doubles_and_begins_again_after_a_success() {
        let mut pace = Pace::default();
        assert_eq!((pace.next(), pace.retry()), (None, None));
        pace.began();
        let delays: Vec<u64> = (0..7).map(|_| pace.failed().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pace.retry().unwrap() - pace.next().unwrap(), Duration::from_secs(29));
        pace.succeeded();
        assert_eq!(pace.retry(), None);
        assert_eq!(pace.failed(), STEP);
    }
}
