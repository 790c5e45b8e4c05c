//! How long a server may be silent before its connection counts as dead.

use std::time::{Duration, Instant};

use super::error::Error;
use super::interval::Interval;

/// The least idle_timeout that is allowed when the interval is learned: 10 s, twice the server's default interval.
const MIN_LIMIT: Duration = Duration::from_secs(10);

/// The longest interval that is learned, and the one that is assumed before the first repeat: 1 min, the longest that people
/// use. A server with a longer one needs `stale_after`.
const MAX_INTERVAL: Duration = Duration::from_mins(1);

/// How many intervals make a connection stale: the server may miss a repeat, and the next one may be late.
const INTERVALS: u32 = 3;

/// How long a connection may bring no byte at all before the first retry: 15 s. A server sends its map at once. One that is full
/// keeps a client waiting for up to 5 s before it closes, and one with TLS answers a client without it after 10 s. The limit
/// doubles with each such connection up to 3 min, because a server that has no map yet sends nothing either.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(15);

/// The longest limit that is not set by the user.
const MAX_LIMIT: Duration = MAX_INTERVAL.saturating_mul(INTERVALS);

/// How late a wait may end before this program counts as having been paused: 250 ms, more than a busy machine's scheduler
/// takes.
const MAX_LATENESS: Duration = Duration::from_millis(250);

/// The shortest wait that is cut off to look for a pause of this program: 1 s.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// How long the server may be silent, and how long it has been.
///
/// Only time that the reader spends waiting counts. The time between two calls does not, nor does the time in which this
/// program was stopped while it waited (SIGSTOP, a paused virtual machine): a wait that ends later than it was asked to shows
/// that. So after a pause of its own a client neither takes the server for silent nor believes in a longer interval.
#[derive(Debug)]
pub(super) struct IdleTimeout {
    fixed: Option<Duration>,
    /// Whether a connection without a byte ends before the idle_timeout is over.
    limits_first_byte: bool,
    interval: Interval,
    /// How many connections in a row became stale before they had repeated a payload: the interval may have grown.
    stale_in_a_row: u32,
    /// How many connections in a row ended because no byte came.
    silent_in_a_row: u32,
    /// Whether this connection has repeated a payload.
    has_repeated: bool,
    /// When it is stale; `None` is never.
    stale_at: Option<Instant>,
    /// When it should have brought a byte; `None` is never.
    first_byte_by: Option<Instant>,
    /// When the last wait ended, while the reader is elsewhere.
    paused_at: Option<Instant>,
    /// When the present wait should end at the latest.
    wait_until: Option<Instant>,
}

impl IdleTimeout {
    /// Returns the idle_timeout that allows `fixed`, or three intervals if that is `None`. If `limits_first_byte`, a connection may
    /// bring no byte for a shorter time than that.
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

    /// How long a idle_timeout is allowed.
    fn limit(&self) -> Duration {
        let learned = || {
            let interval = self.interval.learned().unwrap_or(MAX_INTERVAL);
            let limit = interval.saturating_mul(INTERVALS).max(MIN_LIMIT);
            limit.saturating_mul(INTERVALS.saturating_pow(self.stale_in_a_row)).min(MAX_LIMIT)
        };
        self.fixed.unwrap_or_else(learned)
    }

    /// How long a connection may bring no byte.
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

    /// The reader is back at `now`, after [`pause`](Self::pause).
    pub(super) fn resume(&mut self, now: Instant) {
        if let Some(paused_at) = self.paused_at.take() {
            self.exclude(now.saturating_duration_since(paused_at));
        }
    }

    /// The reader does something else from `now` on.
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

    /// Ends the wait at `now`. Returns true if and only if it was not interrupted by a pause of this program; such a pause is
    /// not counted as idle_timeout.
    pub(super) fn end_wait(&mut self, now: Instant) -> bool {
        let late = self.wait_until.map_or(Duration::ZERO, |until| now.saturating_duration_since(until));
        if late <= MAX_LATENESS {
            return true;
        }
        self.exclude(late);
        false
    }

    /// Records a frame that was read at `now`, which arrived then if `is_timely` and before it otherwise.
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

    /// Returns why the connection should be given up at `now`; `None` if it should not.
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
        // A connection that has repeated its payload has confirmed the interval: then only the server can be the cause.
        if has_received && !self.has_repeated {
            self.stale_in_a_row = (self.stale_in_a_row + 1).min(INTERVALS);
        }
        Some(Error::Stale { after })
    }

    /// The longest wait in which a pause of this program may pass unnoticed. It is a little longer than the interval, so that
    /// no wait ends before the server's next repeat.
    fn longest_wait(&self) -> Duration {
        let expected = self.fixed.map(|fixed| fixed / INTERVALS).or_else(|| self.interval.learned());
        expected.map_or(MIN_WAIT, |interval| (interval + interval / 8).max(MIN_WAIT))
    }

    /// Does not count `time` as idle_timeout.
    fn exclude(&mut self, time: Duration) {
        for end in [&mut self.stale_at, &mut self.first_byte_by] {
            *end = end.and_then(|end| end.checked_add(time));
        }
    }
}

#[cfg(test)]
mod tests;
