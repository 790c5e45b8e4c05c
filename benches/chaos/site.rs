//! Everything that runs, what befalls it, and what becomes of that.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;

use crate::clients::Clients;
use crate::fault::{Kind, Planned};
use crate::followers::Followers;
use crate::ledger::{Ledger, View};
use crate::member::Member;
use crate::outcome::{Goal, Outcome};
use crate::staleness::Staleness;
use crate::store::Store;
use crate::support::map::Published;
use crate::tree::{self, LEAVES, Level};
use crate::writer::Writer;
use crate::{INTERVAL, PERIOD, is_stopped};

/// The library's followers at each leaf, and the clients that rove.
const FOLLOWERS: usize = 10;
const ROVING: usize = 10;

/// The time between two looks at everything.
const TICK: Duration = Duration::from_millis(50);

/// How long all clients may take to have a first map.
const CONNECT: Duration = Duration::from_secs(40);

/// How long the sentinels may take to name another master. They begin anew after twice their time for a failover.
const FAILOVER: Duration = Duration::from_secs(40);

/// How long clients are waited for after the last fault is over: those that are not back then are lost.
const SETTLE: Duration = Duration::from_secs(60);

/// How long the changes go on without a fault, and then how long nothing changes: long enough for two repeats.
const QUIET: Duration = Duration::from_secs(3);
const CALM: Duration = INTERVAL.saturating_mul(5).checked_div(2).unwrap();

/// Without a fault, a client that has been without the newest map for this long has lost it: three intervals.
pub const LATE: Duration = INTERVAL.saturating_mul(3);

/// Where clients are read later than this, nothing is said about how late maps are.
const BUSY: Duration = Duration::from_millis(250);

/// How long a busy machine may take until each client has read the last map, without faults and without changes.
const CATCH_UP: Duration = Duration::from_secs(30);

/// What was found while no fault lasted.
#[derive(Debug, Default)]
pub struct Peace {
    /// The longest that a client was without the newest map.
    pub worst: Duration,
    /// The most clients at once that were so for longer than [`LATE`], or leaves of which one client never got the last map.
    pub lost: usize,
    /// How long this machine was too busy to tell.
    pub busy: Duration,
    /// Connections that were lost.
    pub reconnects: u64,
    /// Changes that a client did not see because a newer one came at once.
    pub skipped: u64,
}

/// Everything.
pub struct Site {
    began: Instant,
    // Dropped in this order: clients before the servers.
    clients: Clients,
    followers: Followers,
    writer: Writer,
    members: Vec<Member>,
    store: Store,
    pub ledger: Arc<Ledger>,
    published: Arc<Published>,
    /// Faults whose clients are not back.
    active: Vec<Outcome>,
    pub outcomes: Vec<Outcome>,
    pub staleness: [Staleness; LEAVES],
    pub peace: Peace,
    /// Members that ended without being asked to.
    pub died: Vec<String>,
    /// Members that were asked to, and ended with another code than 0.
    pub unclean: Vec<String>,
    looked: Instant,
}

impl Site {
    /// Starts everything, with so many clients in all, and waits until each has a map. The servers' logs are printed or not.
    pub fn start(clients: usize, seed: u64, show_logs: bool) -> anyhow::Result<Self> {
        let (began, store) = (Instant::now(), Store::start()?);
        let published = Arc::new(Published::default());
        let writer = Writer::start(store.addrs(), PERIOD, &published)?;
        let members = tree::start(&Store::as_source(), show_logs)?;
        let (leaves, ledger) = (tree::leaf_addrs(&members), Arc::new(Ledger::new(&published)));
        let each = (clients / LEAVES).checked_sub(FOLLOWERS).filter(|each| *each >= ROVING);
        let each = each.with_context(|| format!("at least {} clients", LEAVES * (FOLLOWERS + ROVING)))?;
        let followers = Followers::start(&leaves, FOLLOWERS, &ledger)?;
        let clients = Clients::start(leaves, each, ROVING, &ledger, seed)?;
        let (active, outcomes, staleness) = (Vec::new(), Vec::new(), Default::default());
        let (died, unclean, peace) = (Vec::new(), Vec::new(), Peace::default());
        let looked = Instant::now();
        let mut site = Self {
            began,
            clients,
            followers,
            writer,
            members,
            store,
            ledger,
            published,
            active,
            outcomes,
            staleness,
            peace,
            died,
            unclean,
            looked,
        };
        let deadline = Instant::now() + CONNECT;
        while site.ledger.views(LATE).iter().any(|view| view.oldest.is_none()) && !is_stopped() {
            ensure!(Instant::now() < deadline, "not all clients have a map after {CONNECT:?}");
            site.tick()?;
        }
        // What it took to start is not of interest.
        site.staleness = Default::default();
        Ok(site)
    }

    /// Has `episode` befall it, and waits until all clients are back.
    pub fn suffer(&mut self, episode: &[Planned]) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut left = episode.to_vec();
        let mut healed = began;
        while !is_stopped() && (!left.is_empty() || !self.active.is_empty()) {
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
            self.heal_those_over()?;
            if !left.is_empty() || self.active.iter().any(|outcome| outcome.healed.is_none()) {
                healed = Instant::now();
            } else if healed.elapsed() > SETTLE {
                self.active.iter().for_each(|lost| eprintln!("FAIL: {}: not all clients are back", lost.name));
                self.finish(|_| true);
            }
        }
        Ok(())
    }

    /// Waits until the sentinels are ready for a failover. Returns false if they do not become so in time.
    pub fn wait_failover_possible(&mut self) -> anyhow::Result<bool> {
        let deadline = Instant::now() + FAILOVER;
        while !is_stopped() && Instant::now() < deadline {
            if self.writer.term().is_some_and(|term| self.store.can_fail_over(term.node)) {
                return Ok(true);
            }
            self.run_for(Duration::from_millis(500))?;
        }
        Ok(false)
    }

    /// Looks for a while at changes without a fault, and then at no change.
    pub fn rest(&mut self) -> anyhow::Result<()> {
        let (lost, skipped) = (self.ledger.lost(), self.ledger.skipped());
        self.watch_for(QUIET)?;
        self.writer.pause();
        self.watch_for(CALM)?;
        let (last, deadline) = (self.published.newest(), Instant::now() + CATCH_UP);
        let behind = |site: &Self| site.ledger.views(LATE).iter().filter(|view| view.oldest < last).count();
        while behind(self) > 0 && Instant::now() < deadline && !is_stopped() {
            self.tick()?;
        }
        if !is_stopped() {
            self.peace.lost = self.peace.lost.max(behind(self));
        }
        self.peace.reconnects += self.ledger.lost() - lost;
        self.peace.skipped += self.ledger.skipped() - skipped;
        self.writer.resume();
        Ok(())
    }

    /// Goes on for so long.
    pub fn run_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until && !is_stopped() {
            self.tick()?;
        }
        Ok(())
    }

    /// Threads of servers that have panicked.
    pub fn panics(&self) -> u64 {
        self.members.iter().map(|member| member.log.panics()).sum()
    }

    /// The writer, for what it knows of Redis.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Changes that were acknowledged.
    pub fn changes(&self) -> u64 {
        self.published.newest().map_or(0, |newest| newest + 1)
    }

    fn watch_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until && !is_stopped() {
            let views = self.tick()?;
            if self.ledger.lateness().0 > BUSY {
                self.peace.busy += TICK;
                continue;
            }
            let worst = views.iter().map(|view| view.worst).max().unwrap_or_default();
            self.peace.worst = self.peace.worst.max(worst);
            let late: usize = views.iter().map(|view| view.late).sum();
            if late > 2 * self.peace.lost {
                let one = self.ledger.describe_late(LATE).unwrap_or_default();
                self.say(&format!("{late} clients are without the newest map: {one}"));
            }
            self.peace.lost = self.peace.lost.max(late);
        }
        Ok(())
    }

    /// Waits for a moment and looks at everything.
    fn tick(&mut self) -> anyhow::Result<[View; LEAVES]> {
        thread::park_timeout(TICK);
        let views = self.ledger.views(LATE);
        let time = self.looked.elapsed();
        self.looked = Instant::now();
        for (leaf, view) in views.iter().enumerate() {
            let is_explained = self.active.iter().any(|outcome| outcome.cuts_off(leaf));
            self.staleness[leaf].add(time, view.best, is_explained);
        }
        let late = self.ledger.lateness().0;
        self.active.iter_mut().for_each(|outcome| outcome.late = outcome.late.max(late));
        self.look_for_the_dead()?;
        self.look_for_the_new_master();
        self.look_who_is_back(&views);
        ensure!(!self.clients.have_ended(), "the clients have ended");
        Ok(views)
    }

    fn begin(&mut self, planned: Planned, episode: &[Planned]) -> anyhow::Result<()> {
        let (name, node, leaves) = match (planned.member, self.writer.term()) {
            (Some(member), _) => (self.members[member].name.clone(), None, tree::leaves_of(member)),
            (None, Some(term)) => (format!("redis-{}", term.node + 1), Some(term.node), (0..LEAVES).collect()),
            (None, None) => bail!("there has been no master"),
        };
        let concerned = match (planned.kind, planned.member) {
            (Kind::Part, Some(member)) => vec![member],
            (Kind::Unplug, Some(member)) => [vec![member], tree::children(member)].concat(),
            (_, Some(member)) => tree::children(member),
            (Kind::SplitMaster, None) => Vec::new(),
            (_, None) => Level::Root.members().collect(),
        };
        // What befalls a watcher itself, or its parent, is noticed as well.
        let befalls = |other: &Planned, member: usize| {
            other.member != planned.member && [Some(member), tree::parent(member)].contains(&other.member)
        };
        let is_free =
            |member: &usize| self.members[*member].log.is_up() && !episode.iter().any(|other| befalls(other, *member));
        let watchers = concerned.into_iter().filter(is_free).collect();
        self.say(&format!("{name}: {}", planned.kind.name()));
        let (begun, healed, goal, back) = (Instant::now(), None, None, None);
        let (by_members, by_followers) = (Vec::new(), Vec::new());
        self.strike(planned, node)?;
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

    fn strike(&mut self, planned: Planned, node: Option<usize>) -> anyhow::Result<()> {
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

    fn heal_those_over(&mut self) -> anyhow::Result<()> {
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
        self.say(&format!("{name}: no longer {}", planned.kind.name()));
        match (planned.kind, planned.member, node) {
            (Kind::Kill | Kind::Terminate, Some(member), _) => self.restart(member, planned.kind)?,
            (Kind::Stop, Some(member), _) => self.members[member].signal(Signal::CONT)?,
            (Kind::Unplug, Some(member), _) => self.members[member].host.set_plugged(true)?,
            (_, Some(member), _) => self.members[member].host.mend()?,
            (Kind::KillMaster, None, Some(node)) => self.store.restart(node)?,
            (Kind::StopMaster, None, Some(node)) => self.store.signal(node, Signal::CONT)?,
            (_, None, Some(node)) => self.store.mend(node)?,
            (_, None, None) => {}
        }
        let number = self.published.newest().unwrap_or(0);
        let outcome = &mut self.active[index];
        outcome.healed = Some(Instant::now());
        // Where no other master was found, the old one goes on.
        outcome.goal.get_or_insert(Goal { since: Instant::now(), number });
        Ok(())
    }

    fn restart(&mut self, member: usize, kind: Kind) -> anyhow::Result<()> {
        if Level::of(member) == Level::Leaf {
            self.ledger.restarted(member - tree::leaf(0));
        }
        let ended = self.members[member].start()?;
        if kind == Kind::Terminate
            && let Some(status) = ended.filter(|status| !status.success())
        {
            self.unclean.push(format!("{}: {status}", self.members[member].name));
        }
        Ok(())
    }

    fn look_for_the_dead(&mut self) -> anyhow::Result<()> {
        for index in 0..self.members.len() {
            let is_meant = |outcome: &Outcome| {
                outcome.planned.member == Some(index)
                    && outcome.healed.is_none()
                    && matches!(outcome.planned.kind, Kind::Kill | Kind::Terminate)
            };
            if self.active.iter().any(is_meant) {
                continue;
            }
            if let Some(status) = self.members[index].end()? {
                let death = format!("{}: {status}", self.members[index].name);
                eprintln!("FAIL: {death}");
                self.died.push(death);
                self.restart(index, Kind::Kill)?;
            }
        }
        let is_meant = |outcome: &Outcome| outcome.planned.kind == Kind::KillMaster && outcome.healed.is_none();
        let killed = self.active.iter().find(|outcome| is_meant(outcome)).and_then(|outcome| outcome.node);
        match self.store.ended(killed)? {
            Some(name) => bail!("{name} has ended"),
            None => Ok(()),
        }
    }

    /// The first change at another master is what clients are to have after a failover.
    fn look_for_the_new_master(&mut self) {
        let Some(term) = self.writer.term() else { return };
        for outcome in &mut self.active {
            if outcome.node.is_some_and(|node| node != term.node) && outcome.goal.is_none() {
                outcome.goal = Some(Goal { since: term.began, number: term.first });
            }
        }
    }

    fn look_who_is_back(&mut self, views: &[View; LEAVES]) {
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
                // Its clients cannot be back as long as another fault lasts.
                self.active[index].goal = Some(Goal { since: Instant::now(), number: goal.number.max(newest) });
            } else if outcome.leaves.iter().all(|leaf| views[*leaf].oldest >= Some(goal.number)) {
                self.active[index].back = Some(goal.since.elapsed());
            }
        }
        self.finish(|outcome| outcome.healed.is_some() && outcome.back.is_some());
    }

    /// Moves those that are over to the outcomes, with who has noticed.
    fn finish(&mut self, is_over: impl Fn(&Outcome) -> bool) {
        for mut outcome in self.active.extract_if(.., |outcome| is_over(outcome)) {
            let noticed = |member: &usize| {
                self.members[*member]
                    .log
                    .lost_since(outcome.begun)
                    .map(|at| at.saturating_duration_since(outcome.begun))
            };
            outcome.by_members = outcome.watchers.iter().map(noticed).collect();
            let leaf = outcome.planned.member.filter(|member| Level::of(*member) == Level::Leaf);
            if let Some(member) = leaf.filter(|_| outcome.planned.kind != Kind::Part) {
                outcome.by_followers = self.followers.lost_since(member - tree::leaf(0), outcome.begun);
            }
            eprintln!("{:.1} s: {outcome}", self.began.elapsed().as_secs_f64());
            self.outcomes.push(outcome);
        }
    }

    fn say(&self, text: &str) {
        eprintln!("{:.1} s: {text}", self.began.elapsed().as_secs_f64());
    }
}
