//! How long a server may be silent before its connection counts as dead.

use std::time::{Duration, Instant};

use super::error::Error;
use super::interval::Interval;

/// The shortest limit when the interval is learned: 10 s, twice the server's default interval.
const MIN_LIMIT: Duration = Duration::from_secs(10);

/// The longest interval that is learned, and the one assumed before the first repeat: 1 min, the longest in common
/// use. A server with a longer one needs `stale_after`.
const MAX_INTERVAL: Duration = Duration::from_mins(1);

/// How many intervals make a connection stale: the server may miss a repeat, and the next one may be late.
const INTERVALS: u32 = 3;

/// The limit for the first byte of a connection: 15 s. A server sends its map at once. A full server closes a waiting
/// client within 5 s, and one with TLS answers a plain client after 10 s. The limit doubles with each silent
/// connection up to 3 min, because a server without a map sends nothing either.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(15);

/// The longest limit that is not set by the user.
const MAX_LIMIT: Duration = MAX_INTERVAL.saturating_mul(INTERVALS);

/// How late a wait may end before this program counts as paused: 250 ms, more than the scheduler of a busy machine
/// takes.
const MAX_LATENESS: Duration = Duration::from_millis(250);

/// The shortest wait between two checks for a pause of this program: 1 s.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// Measures the silence of the server against its limit.
///
/// Only time that the reader spends waiting counts. Time between two calls does not count, nor does time in which this
/// program was stopped during a wait (SIGSTOP, a paused virtual machine): such a wait ends later than requested. So a
/// client that was paused neither considers the server silent nor learns a longer interval.
#[derive(Debug)]
pub(super) struct IdleTimeout {
    fixed: Option<Duration>,
    /// Whether there is a separate limit for the first byte.
    limits_first_byte: bool,
    interval: Interval,
    /// How many connections in a row became stale before they had repeated a payload: the interval may have grown.
    stale_in_a_row: u32,
    /// How many connections in a row ended without a byte.
    silent_in_a_row: u32,
    /// Whether this connection has repeated a payload.
    has_repeated: bool,
    /// When the connection becomes stale; `None` is never.
    stale_at: Option<Instant>,
    /// When the first byte is due; `None` is never.
    first_byte_by: Option<Instant>,
    /// When the last wait ended, while the reader is not waiting.
    paused_at: Option<Instant>,
    /// When the current wait should end at the latest.
    wait_until: Option<Instant>,
}

impl IdleTimeout {
    /// Returns a timeout with the limit `fixed`, or three intervals if that is `None`. If `limits_first_byte`, the
    /// first byte has a shorter limit.
    pub(super) fn new(fixed: Option<Duration>, limits_first_byte: bool) -> Self {
        Self {
            fixed,
            limits_first_byte,
            interval: Interval::default(),
            stale_in_a_row: 0,
            silent_in_a_row: 0,
            has_repeated: false,
            stale_at: None,
            first_byte_by: None,
            paused_at: None,
            wait_until: None,
        }
    }

    /// The permitted silence.
    fn limit(&self) -> Duration {
        let learned = || {
            let interval = self.interval.learned().unwrap_or(MAX_INTERVAL);
            let limit = interval.saturating_mul(INTERVALS).max(MIN_LIMIT);
            limit.saturating_mul(INTERVALS.saturating_pow(self.stale_in_a_row)).min(MAX_LIMIT)
        };
        self.fixed.unwrap_or_else(learned)
    }

    /// The limit for the first byte.
    fn first_byte_limit(&self) -> Duration {
        FIRST_BYTE_LIMIT.saturating_mul(2_u32.saturating_pow(self.silent_in_a_row)).min(MAX_LIMIT)
    }

    /// Starts another connection at `now`.
    pub(super) fn start_connection(&mut self, now: Instant) {
        self.interval.start_connection();
        self.has_repeated = false;
        self.stale_at = now.checked_add(self.limit());
        self.first_byte_by = if self.limits_first_byte { now.checked_add(self.first_byte_limit()) } else { None };
        self.paused_at = None;
    }

    /// Resumes the measurement at `now`, after [`pause`](Self::pause).
    pub(super) fn resume(&mut self, now: Instant) {
        if let Some(paused_at) = self.paused_at.take() {
            self.exclude(now.saturating_duration_since(paused_at));
        }
    }

    /// Pauses the measurement at `now`: the reader stops waiting.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_at = Some(now);
    }

    /// Starts a wait at `now`, and returns when it should end at the latest; `deadline` is the caller's own.
    pub(super) fn start_wait(
        &mut self,
        now: Instant,
        has_received: bool,
        deadline: Option<Instant>,
    ) -> Option<Instant> {
        let first_byte_by = self.first_byte_by.filter(|_| !has_received);
        let wake_at = now.checked_add(self.longest_wait());
        self.wait_until = [self.stale_at, first_byte_by, wake_at, deadline].into_iter().flatten().min();
        self.wait_until
    }

    /// Ends the wait at `now`. Returns true if and only if this program was not paused during the wait; a pause does
    /// not count as silence.
    pub(super) fn end_wait(&mut self, now: Instant) -> bool {
        let late = self.wait_until.map_or(Duration::ZERO, |until| now.saturating_duration_since(until));
        if late <= MAX_LATENESS {
            return true;
        }
        self.exclude(late);
        false
    }

    /// Records a frame read at `now`. It arrived then if `is_timely`, otherwise earlier.
    pub(super) fn frame_came(&mut self, payload: &[u8], is_timely: bool, now: Instant) {
        self.silent_in_a_row = 0;
        if self.fixed.is_none() && self.interval.frame_came(payload, is_timely, now) {
            self.has_repeated = true;
            if is_timely && std::mem::take(&mut self.stale_in_a_row) > 0 {
                self.interval.forget_older();
            }
        }
        self.stale_at = now.checked_add(self.limit());
    }

    /// Returns the reason to give up the connection at `now`; `None` to keep it.
    pub(super) fn check(&mut self, now: Instant, has_received: bool) -> Option<Error> {
        let is_over = |end: Option<Instant>| end.is_some_and(|end| end <= now);
        if !has_received && is_over(self.first_byte_by) {
            let after = self.first_byte_limit();
            self.silent_in_a_row = self.silent_in_a_row.saturating_add(1);
            return Some(Error::NoFirstByte { after });
        }
        if !is_over(self.stale_at) {
            return None;
        }
        let after = self.limit();
        // A connection that has repeated its payload has confirmed the interval: then only the server can be the
        // cause.
        if has_received && !self.has_repeated {
            self.stale_in_a_row = (self.stale_in_a_row + 1).min(INTERVALS);
        }
        Some(Error::Stale { after })
    }

    /// The longest wait without a check for a pause of this program. It is a little longer than the interval, so that
    /// no wait ends before the server's next repeat.
    fn longest_wait(&self) -> Duration {
        let expected = self.fixed.map(|fixed| fixed / INTERVALS).or_else(|| self.interval.learned());
        expected.map_or(MIN_WAIT, |interval| (interval + interval / 8).max(MIN_WAIT))
    }

    /// Excludes `time` from the silence.
    fn exclude(&mut self, time: Duration) {
        for end in [&mut self.stale_at, &mut self.first_byte_by] {
            *end = end.and_then(|end| end.checked_add(time));
        }
    }
}

#[cfg(test)]
mod tests;
