//! How long a leaf was behind, and which part of it a fault explains.

use std::time::Duration;

/// A leaf is behind if its best client has been without the newest map for longer than this: one interval.
pub const BEHIND: Duration = crate::timing::INTERVAL;

/// Durations of periods: their sum, and the longest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Periods {
    pub total: Duration,
    pub longest: Duration,
    present: Duration,
}

impl Periods {
    /// Adds `time` to the current period, or ends it.
    fn add(&mut self, time: Duration, lasts: bool) {
        if !lasts {
            self.present = Duration::ZERO;
            return;
        }
        self.total += time;
        self.present += time;
        self.longest = self.longest.max(self.present);
    }
}

/// The staleness of one leaf.
#[derive(Debug, Clone, Copy, Default)]
pub struct Staleness {
    pub all: Periods,
    /// Periods in which no fault kept the newest map from it.
    pub unexplained: Periods,
}

impl Staleness {
    /// Adds `time` in which its best client was `behind`, explained by a fault or not.
    pub fn add(&mut self, time: Duration, behind: Duration, is_explained: bool) {
        let is_stale = behind > BEHIND;
        self.all.add(time, is_stale);
        self.unexplained.add(time, is_stale && !is_explained);
    }
}
