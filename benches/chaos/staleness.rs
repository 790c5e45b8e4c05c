//! How long a leaf has been behind, and for how much of that a fault was the reason.

use std::time::Duration;

/// A leaf is behind when its best client has been without the newest map for longer than this: an interval.
pub const BEHIND: Duration = crate::timing::INTERVAL;

/// Durations of spells: their sum, and the longest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Periods {
    pub total: Duration,
    pub longest: Duration,
    present: Duration,
}

impl Periods {
    /// Adds `time` in which the spell lasted, or ends it.
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

/// Of one leaf.
#[derive(Debug, Clone, Copy, Default)]
pub struct Staleness {
    pub all: Periods,
    /// While no fault kept the newest map from it.
    pub unexplained: Periods,
}

impl Staleness {
    /// Adds `time` in which its best client was `behind`, and a fault explained that or not.
    pub fn add(&mut self, time: Duration, behind: Duration, is_explained: bool) {
        let is_stale = behind > BEHIND;
        self.all.add(time, is_stale);
        self.unexplained.add(time, is_stale && !is_explained);
    }
}
