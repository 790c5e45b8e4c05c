//! At most one log line a period for an event that may come a million times.

use std::time::{Duration, Instant};

/// At most one log line of a kind in this time, unless a kind has a period of its own.
pub(crate) const LOG_PERIOD: Duration = Duration::from_secs(1);

/// Lets one event a period through and counts the ones that it holds back. A full disk is no way to report a full
/// descriptor table.
#[derive(Debug)]
pub(crate) struct Throttle {
    period: Duration,
    /// When the last event was let through.
    passed: Option<Instant>,
    /// Events held back since then.
    held: u64,
}

impl Throttle {
    /// Returns a throttle that lets the first event through, and then one every `period`.
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, passed: None, held: 0 }
    }

    /// When the events that are held back should be told, if no other one comes; `None` if there are none.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.held == 0 { None } else { self.passed?.checked_add(self.period) }
    }

    /// Returns how many events were held back, and forgets them, if and only if they are due or no other event will follow:
    /// `is_end`. To be called until then, so that the last events are told too.
    pub(crate) fn release(&mut self, is_end: bool) -> Option<u64> {
        let now = Instant::now();
        self.due().filter(|due| is_end || *due <= now)?;
        self.passed = Some(now);
        Some(std::mem::take(&mut self.held))
    }

    /// True if and only if exactly one event is held back: whoever releases them has to know now.
    pub(crate) fn has_first(&self) -> bool {
        self.held == 1
    }

    /// Counts an event. Returns how many were held back before it if and only if this one is let through.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.passed.is_some_and(|passed| now.duration_since(passed) < self.period) {
            self.held += 1;
            return None;
        }
        self.passed = Some(now);
        Some(std::mem::take(&mut self.held))
    }
}

/// ` (and 17 more like this)`, for a log line that stands for several; nothing if `held` is 0.
pub(crate) fn more(held: u64) -> String {
    if held == 0 { String::new() } else { format!(" (and {held} more like this)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_passes_and_the_next_are_counted() {
        let mut throttle = Throttle::new(Duration::from_hours(1));
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!((throttle.pass(), throttle.pass()), (None, None));
        assert_eq!(throttle.held, 2);
    }

    #[test]
    fn the_last_of_many_events_are_told_when_the_period_is_over_and_once() {
        let mut throttle = Throttle::new(Duration::from_mins(1));
        assert_eq!((throttle.pass(), throttle.due()), (Some(0), None));
        assert_eq!((throttle.pass(), throttle.has_first(), throttle.release(false)), (None, true, None));
        throttle.passed = throttle.passed.and_then(|passed| passed.checked_sub(throttle.period));
        assert!(throttle.due().is_some_and(|due| due <= Instant::now()));
        assert_eq!((throttle.release(false), throttle.release(false), throttle.due()), (Some(1), None, None));
        assert_eq!((throttle.pass(), throttle.release(true), throttle.release(true)), (None, Some(1), None));
    }

    #[test]
    fn the_event_after_a_period_tells_how_many_were_held_back() {
        let mut throttle = Throttle { period: Duration::ZERO, passed: None, held: 7 };
        assert_eq!(throttle.pass(), Some(7));
        assert_eq!(throttle.pass(), Some(0));
    }
}
