//! The servers that faults are injected into.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::process::Signal;

use crate::fault::{Kind, Planned};
use crate::member::Member;
use crate::outcome::Outcome;
use crate::records::Records;
use crate::store::Store;
use crate::tree::{self, LEAVES, Level};

/// The members of the tree, and Redis.
pub struct Targets {
    pub members: Vec<Member>,
    pub store: Store,
    records: Arc<Records>,
    /// Members that were terminated and exited with another code than 0.
    pub unclean: Vec<String>,
}

impl Targets {
    /// Returns the targets. Restarts of leaves are recorded in `records`.
    pub fn new(members: Vec<Member>, store: Store, records: &Arc<Records>) -> Self {
        Self { members, store, records: Arc::clone(records), unclean: Vec::new() }
    }

    /// Returns the outcome of `planned`, one of the faults of `episode`, before its injection. `master` is the Redis node that is
    /// written to.
    pub fn prepare(&self, planned: Planned, episode: &[Planned], master: Option<usize>) -> anyhow::Result<Outcome> {
        let (name, node, leaves) = match (planned.member, master) {
            (Some(member), _) => (self.members[member].name.clone(), None, tree::leaves_of(member)),
            (None, Some(node)) => (format!("redis-{}", node + 1), Some(node), (0..LEAVES).collect()),
            (None, None) => bail!("there was no master yet"),
        };
        let concerned = match (planned.kind, planned.member) {
            (Kind::Partition, Some(member)) => vec![member],
            (Kind::Unplug, Some(member)) => [vec![member], tree::children(member)].concat(),
            (_, Some(member)) => tree::children(member),
            (Kind::SplitMaster, None) => Vec::new(),
            (_, None) => Level::Root.members().collect(),
        };
        // A fault of the watcher itself or of its parent would be mistaken for this fault.
        let interferes = |other: &Planned, member: usize| {
            other.member != planned.member && [Some(member), tree::parent(member)].contains(&other.member)
        };
        let is_free = |member: &usize| {
            self.members[*member].log.is_up() && !episode.iter().any(|other| interferes(other, *member))
        };
        let watchers = concerned.into_iter().filter(is_free).collect();
        Ok(Outcome {
            planned,
            name,
            node,
            leaves,
            watchers,
            begun: Instant::now(),
            healed: None,
            goal: None,
            back: None,
            by_members: Vec::new(),
            by_followers: Vec::new(),
            late: Duration::ZERO,
        })
    }

    /// Injects the fault of `outcome`.
    pub fn inject(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        let planned = outcome.planned;
        if let Some(node) = outcome.node {
            let root = self.members[0].host.addr;
            return match planned.kind {
                Kind::KillMaster => self.store.signal(node, Signal::KILL),
                Kind::StopMaster => self.store.signal(node, Signal::STOP),
                _ => self.store.split(node, root),
            };
        }
        let Some(index) = planned.member else { return Ok(()) };
        let member = &self.members[index];
        match planned.kind {
            Kind::Kill => member.signal(Signal::KILL),
            Kind::Terminate => member.signal(Signal::TERM),
            Kind::Stop => member.signal(Signal::STOP),
            Kind::Unplug => member.host.set_plugged(false),
            _ => match tree::parent(index) {
                Some(parent) => member.host.cut_from(&[self.members[parent].host.addr]),
                None => member.host.cut_from(&self.store.hosts()),
            },
        }
    }

    /// Ends the fault of `outcome`.
    pub fn heal(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        let kind = outcome.planned.kind;
        match (kind, outcome.planned.member, outcome.node) {
            (Kind::Kill | Kind::Terminate, Some(member), _) => self.restart(member, kind),
            (Kind::Stop, Some(member), _) => self.members[member].signal(Signal::CONT),
            (Kind::Unplug, Some(member), _) => self.members[member].host.set_plugged(true),
            (_, Some(member), _) => self.members[member].host.reconnect(),
            (Kind::KillMaster, None, Some(node)) => self.store.restart(node),
            (Kind::StopMaster, None, Some(node)) => self.store.signal(node, Signal::CONT),
            (_, None, Some(node)) => self.store.reconnect(node),
            (_, None, None) => Ok(()),
        }
    }

    /// Restarts a member that was killed or terminated.
    pub fn restart(&mut self, member: usize, kind: Kind) -> anyhow::Result<()> {
        if Level::of(member) == Level::Leaf {
            self.records.restarted(member - tree::leaf(0));
        }
        let ended = self.members[member].start()?;
        if kind == Kind::Terminate
            && let Some(status) = ended.filter(|status| !status.success())
        {
            self.unclean.push(format!("{}: {status}", self.members[member].name));
        }
        Ok(())
    }
}
