//! The faults, and their order for a seed.

use std::collections::VecDeque;
use std::time::Duration;

use crate::support::random::Random;
use crate::tree::Level;

/// A fault of a member, or of the master of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL, then restarted.
    Kill,
    /// SIGTERM, then restarted.
    Terminate,
    /// SIGSTOP, then SIGCONT.
    Stop,
    /// Its cable is disconnected, then connected again.
    Unplug,
    /// It is partitioned from its parent (the root from Redis), and from nothing else.
    Partition,
    /// The master is killed, then restarted as a replica after a failover.
    KillMaster,
    /// The master is stopped, then continued after a failover.
    StopMaster,
    /// The master is partitioned from everything except the root, then reconnected after a failover.
    SplitMaster,
}

/// The faults of members.
const OF_MEMBERS: [Kind; 5] = [Kind::Kill, Kind::Terminate, Kind::Stop, Kind::Unplug, Kind::Partition];

/// The faults of the master of Redis.
const OF_REDIS: [Kind; 3] = [Kind::KillMaster, Kind::StopMaster, Kind::SplitMaster];

/// The maximum number of concurrent faults.
const MOST: usize = 3;

/// The maximum time from the first fault of an episode to its last one.
const SPREAD: Duration = Duration::from_secs(2);

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Terminate => "terminated",
            Self::Stop => "stopped",
            Self::Unplug => "cable pulled",
            Self::Partition => "cut from its parent",
            Self::KillMaster => "master killed",
            Self::StopMaster => "master stopped",
            Self::SplitMaster => "master split off",
        }
    }

    /// Returns true if and only if the fault closes the peers' connections.
    pub fn closes_connections(self) -> bool {
        matches!(self, Self::Kill | Self::Terminate | Self::KillMaster)
    }

    /// Returns a random duration of the fault; for Redis faults, after the failover. A third of the silent faults are too short to
    /// be detected.
    fn duration(self, random: &mut Random) -> Duration {
        let (least, most) = match self {
            Self::Kill | Self::Terminate => (500, 6000),
            Self::KillMaster | Self::StopMaster => (1000, 4000),
            Self::SplitMaster => (8000, 11_000),
            Self::Stop | Self::Unplug | Self::Partition if random.below(3) == 0 => (500, 2500),
            Self::Stop | Self::Unplug | Self::Partition => (14_500, 17_000),
        };
        random.between(Duration::from_millis(least), Duration::from_millis(most))
    }
}

/// A planned fault.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    pub kind: Kind,
    /// The target; `None` is the master of Redis.
    pub member: Option<usize>,
    /// When it begins, from the start of its episode.
    pub begins: Duration,
    pub lasts: Duration,
}

/// The planned faults: every kind at every level once, in random order, then again.
pub struct Plan {
    random: Random,
    remaining: VecDeque<(Kind, Option<Level>)>,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), remaining: VecDeque::new() }
    }

    /// Returns the faults of the next episode: one to three, of different members.
    pub fn next_episode(&mut self) -> Vec<Planned> {
        let wanted = 1 + self.random.below(MOST);
        let mut episode: Vec<Planned> = Vec::new();
        while episode.len() < wanted {
            let Some((kind, level)) = self.draw() else { break };
            let member = level.and_then(|level| {
                let free = level.members().filter(|member| episode.iter().all(|other| other.member != Some(*member)));
                let free: Vec<_> = free.collect();
                free.get(self.random.below(free.len())).copied()
            });
            // The root, or Redis, has a fault already: this fault is the first of the next episode.
            if member.is_none() && (level.is_some() || episode.iter().any(|other| other.member.is_none())) {
                self.remaining.push_front((kind, level));
                break;
            }
            let begins = if episode.is_empty() { Duration::ZERO } else { self.random.between(Duration::ZERO, SPREAD) };
            episode.push(Planned { kind, member, begins, lasts: kind.duration(&mut self.random) });
        }
        episode
    }

    fn draw(&mut self) -> Option<(Kind, Option<Level>)> {
        if self.remaining.is_empty() {
            let levels = [Level::Root, Level::Relay, Level::Leaf];
            let of_members = OF_MEMBERS.into_iter().flat_map(|kind| levels.map(|level| (kind, Some(level))));
            let mut faults: Vec<_> = of_members.chain(OF_REDIS.map(|kind| (kind, None))).collect();
            self.random.shuffle(&mut faults);
            self.remaining.extend(faults);
        }
        self.remaining.pop_front()
    }
}
