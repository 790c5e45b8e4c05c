//! A limit on how often a program is started: once a second, and less often while it fails.

use std::time::{Duration, Instant};

/// The shortest time between two starts, and the first delay after a failure.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The longest delay after a failure.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// When the next start is allowed.
#[derive(Debug, Default)]
pub(super) struct StartLimiter {
    /// The last start; `None` before the first.
    started_at: Option<Instant>,
    /// The delay after the last failure; `None` after a success.
    delay: Option<Duration>,
}

impl StartLimiter {
    /// Records a start.
    pub(super) fn record_start(&mut self) {
        self.started_at = Some(Instant::now());
    }

    /// Records a failed start. Returns the delay before the next attempt: 1 s, doubling to 30 s.
    pub(super) fn record_failure(&mut self) -> Duration {
        let delay = self.delay.map_or(MIN_INTERVAL, |delay| (delay * 2).min(MAX_DELAY));
        self.delay = Some(delay);
        delay
    }

    /// Records a successful start.
    pub(super) fn record_success(&mut self) {
        self.delay = None;
    }

    /// Returns the earliest time for another start; `None` is at once.
    pub(super) fn next_start(&self) -> Option<Instant> {
        self.started_at?.checked_add(MIN_INTERVAL)
    }

    /// Returns when to retry a failed start; `None` if none has failed.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.started_at?.checked_add(self.delay?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_and_a_success_resets_it() {
        let mut limiter = StartLimiter::default();
        assert_eq!((limiter.next_start(), limiter.next_retry()), (None, None));
        limiter.record_start();
        let delays: Vec<u64> = (0..7).map(|_| limiter.record_failure().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(limiter.next_retry().unwrap() - limiter.next_start().unwrap(), Duration::from_secs(29));
        limiter.record_success();
        assert_eq!(limiter.next_retry(), None);
        assert_eq!(limiter.record_failure(), MIN_INTERVAL);
    }
}
