//! The start and the end of faults.

use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::process::Signal;

use crate::fault::{Kind, Planned};
use crate::outcome::{Goal, Outcome};
use crate::site::{FAILOVER, Site};
use crate::tree::{self, LEAVES, Level};

impl Site {
    /// Injects `planned`, one of the faults of `episode`.
    pub fn begin(&mut self, planned: Planned, episode: &[Planned]) -> anyhow::Result<()> {
        let (name, node, leaves) = match (planned.member, self.writer.term()) {
            (Some(member), _) => (self.members[member].name.clone(), None, tree::leaves_of(member)),
            (None, Some(term)) => (format!("redis-{}", term.node + 1), Some(term.node), (0..LEAVES).collect()),
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
        self.log(&format!("{name}: {}", planned.kind.name()));
        let (begun, healed, goal, back) = (Instant::now(), None, None, None);
        let (by_members, by_followers) = (Vec::new(), Vec::new());
        self.inject(planned, node)?;
        self.active.push(Outcome {
            planned,
            name,
            node,
            leaves,
            watchers,
            begun,
            healed,
            goal,
            back,
            by_members,
            by_followers,
            late: Duration::ZERO,
        });
        Ok(())
    }

    fn inject(&mut self, planned: Planned, node: Option<usize>) -> anyhow::Result<()> {
        let root = self.members[0].host.addr;
        if let Some(node) = node {
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

    /// Ends the faults whose duration has passed.
    pub fn heal_due(&mut self) -> anyhow::Result<()> {
        for index in 0..self.active.len() {
            let outcome = &self.active[index];
            let lasts = outcome.planned.lasts;
            let is_over = match (outcome.node, outcome.goal) {
                (None, _) => outcome.begun.elapsed() >= lasts,
                (Some(_), Some(goal)) => goal.since.elapsed() >= lasts,
                (Some(_), None) => outcome.begun.elapsed() >= FAILOVER,
            };
            if outcome.healed.is_none() && is_over {
                self.heal(index)?;
            }
        }
        Ok(())
    }

    fn heal(&mut self, index: usize) -> anyhow::Result<()> {
        let Outcome { planned, node, name, .. } = &self.active[index];
        let (planned, node) = (*planned, *node);
        self.log(&format!("{name}: no longer {}", planned.kind.name()));
        match (planned.kind, planned.member, node) {
            (Kind::Kill | Kind::Terminate, Some(member), _) => self.restart(member, planned.kind)?,
            (Kind::Stop, Some(member), _) => self.members[member].signal(Signal::CONT)?,
            (Kind::Unplug, Some(member), _) => self.members[member].host.set_plugged(true)?,
            (_, Some(member), _) => self.members[member].host.reconnect()?,
            (Kind::KillMaster, None, Some(node)) => self.store.restart(node)?,
            (Kind::StopMaster, None, Some(node)) => self.store.signal(node, Signal::CONT)?,
            (_, None, Some(node)) => self.store.reconnect(node)?,
            (_, None, None) => {}
        }
        let number = self.published.newest().unwrap_or(0);
        let outcome = &mut self.active[index];
        outcome.healed = Some(Instant::now());
        // If no other master was elected, the old one continues.
        outcome.goal.get_or_insert(Goal { since: Instant::now(), number });
        Ok(())
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
