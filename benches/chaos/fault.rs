//! The faults, and the order in which a seed has them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::support::random::Random;
use crate::tree::Level;

/// What is done to a member, or to the master of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL, and started again.
    Kill,
    /// SIGTERM, and started again.
    Terminate,
    /// SIGSTOP, and continued.
    Stop,
    /// Its cable is pulled, and plugged in again.
    Unplug,
    /// It is cut off from its parent, the root from Redis, and from no one else.
    Partition,
    /// The master is killed, and comes back as a replica after a failover.
    KillMaster,
    /// The master is stopped, and continued after a failover.
    StopMaster,
    /// The master is cut off from everyone but the root, and joined again after a failover.
    SplitMaster,
}

/// The kinds that target members.
const OF_MEMBERS: [Kind; 5] = [Kind::Kill, Kind::Terminate, Kind::Stop, Kind::Unplug, Kind::Partition];

/// The kinds that target the master of Redis.
const OF_REDIS: [Kind; 3] = [Kind::KillMaster, Kind::StopMaster, Kind::SplitMaster];

/// The most faults at the same time.
const MOST: usize = 3;

/// The last fault of an episode begins this long after the first one, at most.
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

    /// True if and only if the peers' connections are closed.
    pub fn closes_connections(self) -> bool {
        matches!(self, Self::Kill | Self::Terminate | Self::KillMaster)
    }

    /// How long it lasts; for the faults of Redis, after the failover. A third of the silent faults are too short to be
    /// noticed.
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

/// A fault to come.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    pub kind: Kind,
    /// The target; `None` is the master of Redis.
    pub member: Option<usize>,
    /// When it begins, in its episode.
    pub begins: Duration,
    pub lasts: Duration,
}

/// All faults to come: every kind at every level once, in the order of chance, then again.
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
            // The root, or Redis, is taken: it is the first of the next episode.
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
            let mut cards: Vec<_> = of_members.chain(OF_REDIS.map(|kind| (kind, None))).collect();
            self.random.shuffle(&mut cards);
            self.remaining.extend(cards);
        }
        self.remaining.pop_front()
    }
}
