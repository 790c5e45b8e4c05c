//! Limits the log lines of frequent events to one per period.

use std::time::{Duration, Instant};

/// The default period of log lines of one kind: 1 s.
pub(crate) const LOG_PERIOD: Duration = Duration::from_secs(1);

/// Passes one event per period and counts the suppressed ones. A full descriptor table must not fill the disk with log lines.
#[derive(Debug)]
pub(crate) struct Throttle {
    period: Duration,
    /// When the last event passed.
    passed: Option<Instant>,
    /// Events suppressed since then.
    suppressed: u64,
}

impl Throttle {
    /// Returns a throttle that passes the first event, and then one per `period`.
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, passed: None, suppressed: 0 }
    }

    /// When the suppressed events are due to be reported; `None` if there are none.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.suppressed == 0 { None } else { self.passed?.checked_add(self.period) }
    }

    /// Returns the number of suppressed events and resets it, if and only if they are due, or `is_end`: no other event will
    /// follow. Must be called regularly, so that the last events are reported too.
    pub(crate) fn release(&mut self, is_end: bool) -> Option<u64> {
        let now = Instant::now();
        self.due().filter(|due| is_end || *due <= now)?;
        self.passed = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }

    /// True if and only if exactly one event is suppressed: the thread that calls [`release`](Self::release) must be woken.
    pub(crate) fn has_first(&self) -> bool {
        self.suppressed == 1
    }

    /// Counts an event. Returns the number of events suppressed before it if it passes; `None` if it is suppressed.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.passed.is_some_and(|passed| now.duration_since(passed) < self.period) {
            self.suppressed += 1;
            return None;
        }
        self.passed = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Returns ` (and 17 more like this)`, for a log line that represents several events; an empty string if `suppressed` is 0.
pub(crate) fn more(suppressed: u64) -> String {
    if suppressed == 0 { String::new() } else { format!(" (and {suppressed} more like this)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_passes_and_the_next_are_counted() {
        let mut throttle = Throttle::new(Duration::from_hours(1));
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!((throttle.pass(), throttle.pass()), (None, None));
        assert_eq!(throttle.suppressed, 2);
    }

    #[test]
    fn the_last_suppressed_events_are_released_once_when_due() {
        let mut throttle = Throttle::new(Duration::from_mins(1));
        assert_eq!((throttle.pass(), throttle.due()), (Some(0), None));
        assert_eq!((throttle.pass(), throttle.has_first(), throttle.release(false)), (None, true, None));
        throttle.passed = throttle.passed.and_then(|passed| passed.checked_sub(throttle.period));
        assert!(throttle.due().is_some_and(|due| due <= Instant::now()));
        assert_eq!((throttle.release(false), throttle.release(false), throttle.due()), (Some(1), None, None));
        assert_eq!((throttle.pass(), throttle.release(true), throttle.release(true)), (None, Some(1), None));
    }

    #[test]
    fn the_first_event_after_a_period_returns_the_suppressed_count() {
        let mut throttle = Throttle { period: Duration::ZERO, passed: None, suppressed: 7 };
        assert_eq!(throttle.pass(), Some(7));
        assert_eq!(throttle.pass(), Some(0));
    }
}
