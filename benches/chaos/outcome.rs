//! A fault that was injected: when it began, which members noticed, and when the last client had recovered.

use std::fmt;
use std::time::{Duration, Instant};

use crate::fault::Planned;

/// Since when a fault can be recovered from.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub since: Instant,
    /// The map that every client has, or a newer one, when it is back.
    pub number: u64,
}

/// A fault that has begun.
#[derive(Debug)]
pub struct Outcome {
    pub planned: Planned,
    /// The target's name.
    pub name: String,
    /// Of Redis, which one it befell.
    pub node: Option<usize>,
    /// The leaves that it cuts off.
    pub leaves: Vec<usize>,
    /// The members that have to notice: their sources were up, and no other fault targets them or their parents.
    pub watchers: Vec<usize>,
    pub begun: Instant,
    pub healed: Option<Instant>,
    pub goal: Option<Goal>,
    /// From the goal to the last client's having it.
    pub back: Option<Duration>,
    /// How long each watcher, and each follower of the targeted leaf, took to notice.
    pub by_members: Vec<Option<Duration>>,
    pub by_followers: Vec<Option<Duration>>,
    /// How late clients were read meanwhile: a bound is that much longer.
    pub late: Duration,
}

impl Outcome {
    /// True if and only if `leaf` has no way to the newest map for this fault alone.
    pub fn cuts_off(&self, leaf: usize) -> bool {
        // Where another master is written to, the root has a way.
        let is_passable = self.healed.is_some() || self.node.is_some() && self.goal.is_some();
        !is_passable && self.leaves.contains(&leaf)
    }

    /// True if and only if it is what keeps `leaf` from the newest map, or may still.
    pub fn may_delay(&self, leaf: usize) -> bool {
        let is_over = if self.node.is_some() { self.back.is_some() } else { self.healed.is_some() };
        !is_over && self.leaves.contains(&leaf)
    }

    /// How long it lasted; so far, if it does.
    pub fn lasted(&self) -> Duration {
        self.healed.unwrap_or_else(Instant::now) - self.begun
    }

    /// True if and only if all watchers and followers must notice within `limit`.
    pub fn must_be_noticed_within(&self, limit: Duration) -> bool {
        self.planned.kind.closes_connections() || self.lasted() >= limit
    }

    /// How long each that noticed took.
    pub fn noticed(&self) -> impl Iterator<Item = Duration> {
        self.by_members.iter().chain(&self.by_followers).flatten().copied()
    }

    /// True if and only if any member or follower has to notice.
    pub fn is_watched(&self) -> bool {
        !self.by_members.is_empty() || !self.by_followers.is_empty()
    }

    /// How many did not notice.
    pub fn unnoticed(&self) -> usize {
        self.by_members.iter().chain(&self.by_followers).filter(|after| after.is_none()).count()
    }
}

/// `Display` is one line.
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
