//! The pause between tries of what the system has refused for lack of something.

use std::time::{Duration, Instant};

/// The first pause: 10 ms, doubling to 1 s. NATS does the same; a loop without it burns a core for as long as the lack lasts.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The pauses of one kind of try, each twice as long as the one before.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// When the first of these tries failed; `None` while they succeed.
    since: Option<Instant>,
    pause: Duration,
    resume_at: Option<Instant>,
}

impl Backoff {
    /// Begins a pause, because a try has failed.
    pub(super) fn record_failure(&mut self) {
        let now = Instant::now();
        self.since.get_or_insert(now);
        self.pause = (self.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
        self.resume_at = now.checked_add(self.pause);
    }

    /// A try has succeeded: no pause is left, and the next one is short.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// When the first of the tries failed that have failed in a row; `None` if the last one succeeded.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// When the next try may be made; `None` if it may be made now.
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
}
