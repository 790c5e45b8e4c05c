//! An injected fault: when it began, which members detected it, and when the last client had recovered.

use std::fmt;
use std::time::{Duration, Instant};

use crate::fault::Planned;
use crate::timing::FAILOVER;

/// The goal of a recovery.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub since: Instant,
    /// A client has recovered when it has this map or a newer one.
    pub number: u64,
}

/// A fault that has begun.
#[derive(Debug)]
pub struct Outcome {
    pub planned: Planned,
    /// The name of the target.
    pub name: String,
    /// The target among the Redis nodes.
    pub node: Option<usize>,
    /// The leaves that it cuts off.
    pub leaves: Vec<usize>,
    /// The members that must detect it: their sources were up, and no other fault targets them or their parents.
    pub watchers: Vec<usize>,
    pub begun: Instant,
    pub healed: Option<Instant>,
    pub goal: Option<Goal>,
    /// The time from the goal until the last client had it.
    pub back: Option<Duration>,
    /// The times of detection by each watcher, and by each follower of the target leaf.
    pub by_members: Vec<Option<Duration>>,
    pub by_followers: Vec<Option<Duration>>,
    /// How late clients were read meanwhile. Bounds are longer by this.
    pub late: Duration,
}

impl Outcome {
    /// Returns true if and only if this fault alone keeps `leaf` from the newest map.
    pub fn cuts_off(&self, leaf: usize) -> bool {
        // If another master is written to, the root can reach it.
        let is_passable = self.healed.is_some() || self.node.is_some() && self.goal.is_some();
        !is_passable && self.leaves.contains(&leaf)
    }

    /// Returns true if and only if it keeps, or may still keep, `leaf` from the newest map.
    pub fn may_delay(&self, leaf: usize) -> bool {
        let is_over = if self.node.is_some() { self.back.is_some() } else { self.healed.is_some() };
        !is_over && self.leaves.contains(&leaf)
    }

    /// Returns true if and only if its fault must end now.
    pub fn is_due(&self) -> bool {
        let lasts = self.planned.lasts;
        let is_over = match (self.node, self.goal) {
            (None, _) => self.begun.elapsed() >= lasts,
            (Some(_), Some(goal)) => goal.since.elapsed() >= lasts,
            (Some(_), None) => self.begun.elapsed() >= FAILOVER,
        };
        self.healed.is_none() && is_over
    }

    /// Records that its fault has ended. `newest` is the newest map.
    pub fn set_healed(&mut self, newest: u64) {
        self.healed = Some(Instant::now());
        // If no other master was elected, the old one continues.
        self.goal.get_or_insert(Goal { since: Instant::now(), number: newest });
    }

    /// Returns how long it lasted, or has lasted so far.
    pub fn lasted(&self) -> Duration {
        self.healed.unwrap_or_else(Instant::now) - self.begun
    }

    /// Returns true if and only if all watchers and followers must detect it within `limit`.
    pub fn must_be_noticed_within(&self, limit: Duration) -> bool {
        self.planned.kind.closes_connections() || self.lasted() >= limit
    }

    /// Returns the times of those that detected it.
    pub fn noticed(&self) -> impl Iterator<Item = Duration> {
        self.by_members.iter().chain(&self.by_followers).flatten().copied()
    }

    /// Returns true if and only if any member or follower must detect it.
    pub fn is_watched(&self) -> bool {
        !self.by_members.is_empty() || !self.by_followers.is_empty()
    }

    /// Returns how many did not detect it.
    pub fn unnoticed(&self) -> usize {
        self.by_members.iter().chain(&self.by_followers).filter(|after| after.is_none()).count()
    }
}

/// Formats one line.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, planned, .. } = self;
        write!(f, "{name}: was {} for {:.1} s", planned.kind.name(), self.lasted().as_secs_f64())?;
        if let Some(last) = self.noticed().max() {
            write!(f, "; noticed after {:.1} s at most", last.as_secs_f64())?;
        }
        if self.unnoticed() > 0 {
            write!(f, "; not noticed by {}", self.unnoticed())?;
        }
        match self.back {
            Some(back) => write!(f, "; last client back after {:.1} s", back.as_secs_f64()),
            None => write!(f, "; not all clients are back"),
        }
    }
}
