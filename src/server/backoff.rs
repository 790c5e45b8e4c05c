//! Exponential backoff after the system refuses a resource.

use std::time::{Duration, Instant};

/// The first pause: 10 ms, doubling to 1 s, as in NATS. Without a pause, the loop would use a whole core during a shortage.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The pauses between attempts of one kind, each twice as long as the one before.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// When the current series of failures started; `None` after a success.
    since: Option<Instant>,
    pause: Duration,
    resume_at: Option<Instant>,
    /// When the last failure was; a success does not forget it.
    failed_at: Option<Instant>,
}

impl Backoff {
    /// Records a failure and starts the next pause.
    pub(super) fn record_failure(&mut self) {
        let now = Instant::now();
        self.since.get_or_insert(now);
        self.failed_at = Some(now);
        self.pause = (self.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
        self.resume_at = now.checked_add(self.pause);
    }

    /// Records a success: ends the pause and makes the next one short.
    pub(super) fn reset(&mut self) {
        *self = Self { failed_at: self.failed_at, ..Self::default() };
    }

    /// When the current series of failures started; `None` if the last attempt succeeded.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// True if and only if no attempt has failed for `quiet`, whatever has succeeded since.
    pub(super) fn is_quiet(&self, quiet: Duration) -> bool {
        self.failed_at.is_none_or(|at| at.elapsed() >= quiet)
    }

    /// When the pause ends; `None` if there is no pause now.
    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.resume_at.filter(|at| *at > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_to_a_second_and_is_short_after_a_success() {
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            backoff.record_failure();
            pauses.push(backoff.pause.as_millis());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert!(backoff.resume_at().is_some() && backoff.since().is_some());
        backoff.reset();
        assert!(backoff.resume_at().is_none() && backoff.since().is_none());
        backoff.record_failure();
        assert_eq!(backoff.pause, MIN_PAUSE);
    }

    #[test]
    fn a_success_does_not_forget_the_last_failure() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_quiet(Duration::MAX));
        backoff.record_failure();
        backoff.reset();
        assert!(!backoff.is_quiet(Duration::from_hours(1)) && backoff.is_quiet(Duration::ZERO));
    }
}
