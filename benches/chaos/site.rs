//! All processes and clients of a run, and their measurements.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::clients::Clients;
use crate::fault::{Kind, Planned};
use crate::followers::Followers;
use crate::interrupt;
use crate::outcome::{Goal, Outcome};
use crate::records::{Records, View};
use crate::staleness::Staleness;
use crate::store::Store;
use crate::support::map::Published;
use crate::targets::Targets;
use crate::timing::{FAILOVER, INTERVAL, PERIOD};
use crate::tree::{self, LEAVES, Level};
use crate::writer::Writer;

/// The number of followers of the library per leaf, and of roaming clients.
const FOLLOWERS: usize = 10;
const ROAMING: usize = 10;

/// The time between two updates of all measurements.
const TICK: Duration = Duration::from_millis(50);

/// The longest time until all clients have a first map.
const CONNECT: Duration = Duration::from_secs(40);

/// How long to wait for clients after the last fault has ended. Clients that are not back then are lost.
const SETTLE: Duration = Duration::from_mins(1);

/// How long changes continue without a fault, and then how long nothing changes, which is enough for two repeats.
const CHANGING: Duration = Duration::from_secs(3);
const UNCHANGED: Duration = INTERVAL.saturating_mul(5).checked_div(2).unwrap();

/// Without a fault, a client that is without the newest map for this long has lost it: three intervals.
pub const LATE: Duration = INTERVAL.saturating_mul(3);

/// While clients are read later than this, the age of their maps is not checked.
const BUSY: Duration = Duration::from_millis(250);

/// The longest time until each client has read the last map on a busy machine, without faults and changes.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Measurements without a fault.
#[derive(Debug, Default)]
pub struct Quiet {
    /// The longest time that a client was without the newest map.
    pub worst: Duration,
    /// The largest number of clients without it for longer than [`LATE`], or of leaves with a client that never got the last map.
    pub lost: usize,
    /// How long this machine was too busy for checks.
    pub busy: Duration,
    /// Lost connections.
    pub reconnects: u64,
    /// Changes that a client did not receive because a newer one replaced them.
    pub skipped: u64,
}

/// The whole run.
pub struct Site {
    began: Instant,
    // Drop order: clients, then servers.
    clients: Clients,
    followers: Followers,
    pub writer: Writer,
    pub targets: Targets,
    pub records: Arc<Records>,
    pub published: Arc<Published>,
    /// Faults whose clients are not back.
    pub active: Vec<Outcome>,
    pub outcomes: Vec<Outcome>,
    pub staleness: [Staleness; LEAVES],
    pub quiet: Quiet,
    /// Members that exited unexpectedly.
    pub unexpected_exits: Vec<String>,
    updated_at: Instant,
}

impl Site {
    /// Starts all processes and `clients` clients, and waits until each client has a map. `show_logs` prints the servers' logs.
    pub fn start(clients: usize, seed: u64, show_logs: bool) -> anyhow::Result<Self> {
        let (began, store) = (Instant::now(), Store::start()?);
        let published = Arc::new(Published::default());
        let writer = Writer::start(store.addrs(), PERIOD, &published)?;
        let members = tree::start(&Store::as_source(), show_logs)?;
        let (leaves, records) = (tree::leaf_addrs(&members), Arc::new(Records::new(&published)));
        let each = (clients / LEAVES).checked_sub(FOLLOWERS).filter(|each| *each >= ROAMING);
        let each = each.with_context(|| format!("at least {} clients", LEAVES * (FOLLOWERS + ROAMING)))?;
        let followers = Followers::start(&leaves, FOLLOWERS, &records)?;
        let clients = Clients::start(leaves, each, ROAMING, &records, seed)?;
        let (active, outcomes, staleness) = (Vec::new(), Vec::new(), Default::default());
        let (unexpected_exits, quiet) = (Vec::new(), Quiet::default());
        let targets = Targets::new(members, store, &records);
        let updated_at = Instant::now();
        let mut site = Self {
            began,
            clients,
            followers,
            writer,
            targets,
            records,
            published,
            active,
            outcomes,
            staleness,
            quiet,
            unexpected_exits,
            updated_at,
        };
        let deadline = Instant::now() + CONNECT;
        while site.records.views(LATE).iter().any(|view| view.oldest.is_none()) && !interrupt::is_requested() {
            ensure!(Instant::now() < deadline, "not all clients have a map after {CONNECT:?}");
            site.tick()?;
        }
        // The start is not measured.
        site.staleness = Default::default();
        Ok(site)
    }

    /// Injects the faults of `episode`, and waits until all clients have recovered.
    pub fn run_episode(&mut self, episode: &[Planned]) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut left = episode.to_vec();
        let mut healed = began;
        while !interrupt::is_requested() && (!left.is_empty() || !self.active.is_empty()) {
            let mut index = 0;
            while index < left.len() {
                if began.elapsed() >= left[index].begins {
                    let planned = left.swap_remove(index);
                    self.begin(planned, episode)?;
                } else {
                    index += 1;
                }
            }
            self.tick()?;
            self.heal_due()?;
            if !left.is_empty() || self.active.iter().any(|outcome| outcome.healed.is_none()) {
                healed = Instant::now();
            } else if healed.elapsed() > SETTLE {
                self.active.iter().for_each(|lost| eprintln!("FAIL: {}: not all clients are back", lost.name));
                self.finish(|_| true);
            }
        }
        Ok(())
    }

    /// Injects `planned`, one of the faults of `episode`.
    fn begin(&mut self, planned: Planned, episode: &[Planned]) -> anyhow::Result<()> {
        let outcome = self.targets.prepare(planned, episode, self.writer.term().map(|term| term.node))?;
        self.log(&format!("{}: {}", outcome.name, planned.kind.name()));
        self.targets.inject(&outcome)?;
        self.active.push(outcome);
        Ok(())
    }

    /// Ends the faults whose duration has passed.
    fn heal_due(&mut self) -> anyhow::Result<()> {
        for index in 0..self.active.len() {
            let outcome = &self.active[index];
            if outcome.is_due() {
                self.log(&format!("{}: no longer {}", outcome.name, outcome.planned.kind.name()));
                self.targets.heal(outcome)?;
                self.active[index].set_healed(self.published.newest().unwrap_or(0));
            }
        }
        Ok(())
    }

    /// Waits until the sentinels are ready for a failover. Returns false if they do not become so in time.
    pub fn wait_failover_possible(&mut self) -> anyhow::Result<bool> {
        let deadline = Instant::now() + FAILOVER;
        while !interrupt::is_requested() && Instant::now() < deadline {
            if self.writer.term().is_some_and(|term| self.targets.store.can_fail_over(term.node)) {
                return Ok(true);
            }
            self.run_for(Duration::from_millis(500))?;
        }
        Ok(false)
    }

    /// Observes a time of changes without a fault, and then one without changes.
    pub fn observe_quiet(&mut self) -> anyhow::Result<()> {
        let (lost, skipped) = (self.records.lost(), self.records.skipped());
        self.watch_for(CHANGING)?;
        self.writer.pause();
        self.watch_for(UNCHANGED)?;
        let (newest, deadline) = (self.published.newest(), Instant::now() + CATCH_UP);
        let waiting = |site: &Self| site.records.views(LATE).iter().filter(|view| view.oldest < newest).count();
        while waiting(self) > 0 && Instant::now() < deadline && !interrupt::is_requested() {
            self.tick()?;
        }
        if !interrupt::is_requested() {
            self.quiet.lost = self.quiet.lost.max(waiting(self));
        }
        self.quiet.reconnects += self.records.lost() - lost;
        self.quiet.skipped += self.records.skipped() - skipped;
        self.writer.resume();
        Ok(())
    }

    /// Goes on for so long.
    pub fn run_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until && !interrupt::is_requested() {
            self.tick()?;
        }
        Ok(())
    }

    /// Threads of servers that have panicked.
    pub fn panics(&self) -> u64 {
        self.targets.members.iter().map(|member| member.log.panics()).sum()
    }

    /// Changes that were acknowledged.
    pub fn changes(&self) -> u64 {
        self.published.newest().map_or(0, |newest| newest + 1)
    }

    fn watch_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until && !interrupt::is_requested() {
            let views = self.tick()?;
            if self.records.lateness().0 > BUSY {
                self.quiet.busy += TICK;
                continue;
            }
            let worst = views.iter().map(|view| view.worst).max().unwrap_or_default();
            self.quiet.worst = self.quiet.worst.max(worst);
            let late: usize = views.iter().map(|view| view.late).sum();
            if late > 2 * self.quiet.lost {
                let one = self.records.describe_late(LATE).unwrap_or_default();
                self.log(&format!("{late} clients are without the newest map: {one}"));
            }
            self.quiet.lost = self.quiet.lost.max(late);
        }
        Ok(())
    }

    /// Waits for [`TICK`], then updates everything that is measured.
    fn tick(&mut self) -> anyhow::Result<[View; LEAVES]> {
        thread::park_timeout(TICK);
        let views = self.records.views(LATE);
        let time = self.updated_at.elapsed();
        self.updated_at = Instant::now();
        for (leaf, view) in views.iter().enumerate() {
            let is_explained = self.active.iter().any(|outcome| outcome.cuts_off(leaf));
            self.staleness[leaf].add(time, view.best, is_explained);
        }
        let late = self.records.lateness().0;
        self.active.iter_mut().for_each(|outcome| outcome.late = outcome.late.max(late));
        self.check_processes()?;
        self.check_master();
        self.check_recovered(&views);
        ensure!(!self.clients.have_ended(), "the clients' thread has ended");
        Ok(views)
    }

    fn check_processes(&mut self) -> anyhow::Result<()> {
        for index in 0..self.targets.members.len() {
            let is_expected = |outcome: &Outcome| {
                outcome.planned.member == Some(index)
                    && outcome.healed.is_none()
                    && matches!(outcome.planned.kind, Kind::Kill | Kind::Terminate)
            };
            if self.active.iter().any(is_expected) {
                continue;
            }
            if let Some(status) = self.targets.members[index].end()? {
                let exit = format!("{}: {status}", self.targets.members[index].name);
                eprintln!("FAIL: {exit}");
                self.unexpected_exits.push(exit);
                self.targets.restart(index, Kind::Kill)?;
            }
        }
        let is_expected = |outcome: &Outcome| outcome.planned.kind == Kind::KillMaster && outcome.healed.is_none();
        let killed = self.active.iter().find(|outcome| is_expected(outcome)).and_then(|outcome| outcome.node);
        match self.targets.store.ended(killed)? {
            Some(name) => bail!("{name} has exited"),
            None => Ok(()),
        }
    }

    /// Sets the goal after a failover: the first change that the new master accepted.
    fn check_master(&mut self) {
        let Some(term) = self.writer.term() else { return };
        for outcome in &mut self.active {
            if outcome.node.is_some_and(|node| node != term.node) && outcome.goal.is_none() {
                outcome.goal = Some(Goal { since: term.began, number: term.first });
            }
        }
    }

    fn check_recovered(&mut self, views: &[View; LEAVES]) {
        let newest = self.published.newest().unwrap_or(0);
        for index in 0..self.active.len() {
            let outcome = &self.active[index];
            let Some(goal) = outcome.goal.filter(|_| outcome.back.is_none()) else { continue };
            let delays = |(other, it): (usize, &Outcome)| {
                let is_so =
                    |leaf: &usize| if outcome.node.is_some() { it.cuts_off(*leaf) } else { it.may_delay(*leaf) };
                other != index && outcome.leaves.iter().any(is_so)
            };
            if self.active.iter().enumerate().any(delays) {
                // Its clients cannot be back while another fault lasts.
                self.active[index].goal = Some(Goal { since: Instant::now(), number: goal.number.max(newest) });
            } else if outcome.leaves.iter().all(|leaf| views[*leaf].oldest >= Some(goal.number)) {
                self.active[index].back = Some(goal.since.elapsed());
            }
        }
        self.finish(|outcome| outcome.healed.is_some() && outcome.back.is_some());
    }

    /// Moves completed faults to the outcomes, and adds the times of detection.
    fn finish(&mut self, is_over: impl Fn(&Outcome) -> bool) {
        for mut outcome in self.active.extract_if(.., |outcome| is_over(outcome)) {
            let noticed = |member: &usize| {
                self.targets.members[*member]
                    .log
                    .lost_since(outcome.begun)
                    .map(|at| at.saturating_duration_since(outcome.begun))
            };
            outcome.by_members = outcome.watchers.iter().map(noticed).collect();
            let leaf = outcome.planned.member.filter(|member| Level::of(*member) == Level::Leaf);
            if let Some(member) = leaf.filter(|_| outcome.planned.kind != Kind::Partition) {
                outcome.by_followers = self.followers.lost_since(member - tree::leaf(0), outcome.begun);
            }
            eprintln!("{:.1} s: {outcome}", self.began.elapsed().as_secs_f64());
            self.outcomes.push(outcome);
        }
    }

    /// Prints a line of progress.
    fn log(&self, text: &str) {
        eprintln!("{:.1} s: {text}", self.began.elapsed().as_secs_f64());
    }
}
