//! How long a server may say nothing before its connection counts as dead.

use std::time::{Duration, Instant};

/// The least silence that is allowed when it is learned: 10 s, twice the server's default interval.
const LEAST: Duration = Duration::from_secs(10);

/// What the interval may be as long as no gap has been seen: a minute, the longest that people use. A server with a
/// longer one wants `stale_after` set.
const ASSUMED_GAP: Duration = Duration::from_mins(1);

/// How many intervals make a client stale: it may miss a repeat, and the next one may be late.
const GAPS: u32 = 3;

/// The silence that is allowed: a fixed one, or what the gaps between frames have taught.
#[derive(Debug)]
pub(super) struct Silence {
    fixed: Option<Duration>,
    longest_gap: Option<Duration>,
    /// When the last frame of this connection came.
    last_frame: Option<Instant>,
}

impl Silence {
    /// Returns the silence that allows `fixed`, or three times the longest gap if that is `None`.
    pub(super) fn new(fixed: Option<Duration>) -> Self {
        Self { fixed, longest_gap: None, last_frame: None }
    }

    /// How long a silence is allowed.
    pub(super) fn limit(&self) -> Duration {
        let learned = || self.longest_gap.unwrap_or(ASSUMED_GAP).saturating_mul(GAPS).max(LEAST);
        self.fixed.unwrap_or_else(learned)
    }

    /// Takes note of a frame that came at `now`.
    pub(super) fn frame_came(&mut self, now: Instant) {
        if let Some(last) = self.last_frame.replace(now) {
            self.learn(now.saturating_duration_since(last));
        }
    }

    /// Takes note that the silence was as long as it may be.
    ///
    /// It counts as a gap, up to a minute: a server whose changes came fast at first has taught too short a limit, and
    /// would otherwise be left again and again while it keeps its interval.
    pub(super) fn was_too_long(&mut self) {
        self.learn(self.limit().min(ASSUMED_GAP));
    }

    /// Takes note of another connection: what lies between two of them is no gap.
    pub(super) fn connection_began(&mut self) {
        self.last_frame = None;
    }

    fn learn(&mut self, gap: Duration) {
        self.longest_gap = self.longest_gap.max(Some(gap));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after_gaps(gaps: &[u64]) -> Silence {
        let mut silence = Silence::new(None);
        let mut now = Instant::now();
        silence.frame_came(now);
        for seconds in gaps {
            now += SECOND * u32::try_from(*seconds).unwrap();
            silence.frame_came(now);
        }
        silence
    }

    #[test]
    fn before_a_gap_was_seen_a_minutes_interval_is_assumed() {
        assert_eq!(Silence::new(None).limit(), 180 * SECOND);
        assert_eq!(after_gaps(&[]).limit(), 180 * SECOND);
    }

    #[test]
    fn three_times_the_longest_gap_is_allowed() {
        assert_eq!(after_gaps(&[2, 5, 3]).limit(), 15 * SECOND);
        assert_eq!(after_gaps(&[60]).limit(), 180 * SECOND);
    }

    #[test]
    fn ten_seconds_are_always_allowed_unless_told_otherwise() {
        assert_eq!(after_gaps(&[1, 1]).limit(), 10 * SECOND);
        assert_eq!(Silence::new(Some(SECOND)).limit(), SECOND);
    }

    #[test]
    fn a_fixed_silence_learns_nothing() {
        let mut silence = Silence::new(Some(SECOND));
        silence.was_too_long();
        assert_eq!(silence.limit(), SECOND);
    }

    #[test]
    fn what_lies_between_two_connections_is_no_gap() {
        let mut silence = after_gaps(&[5]);
        silence.connection_began();
        silence.frame_came(Instant::now() + 1000 * SECOND);
        assert_eq!(silence.limit(), 15 * SECOND);
    }

    #[test]
    fn a_limit_learned_too_short_grows_to_three_minutes_and_no_further() {
        let mut silence = after_gaps(&[1]);
        let limits = [(); 5].map(|()| {
            silence.was_too_long();
            silence.limit()
        });
        assert_eq!(limits.map(|limit| limit.as_secs()), [30, 90, 180, 180, 180]);
    }
}
