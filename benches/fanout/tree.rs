//! A tree: one root, three relays with all clients, and the cost of a killed relay and a killed root.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mapcast::Shutdown;

use crate::change::Publisher;
use crate::figure::{Figure, Figures};
use crate::kind::Kind;
use crate::scenario::Scenario;
use crate::server::{Server, free_addr};
use crate::support::sample::Sample;
use crate::support::swarm::{Burst, Swarm};
use crate::support::wire::Wire;
use crate::tally::{Arrived, Tally};
use crate::timing::{PATIENCE, TICK, millis};

/// The number of relays of the root.
const RELAYS: usize = 3;

/// Clients of the root itself, which measure its sending times. Too few to add load.
const PROBES: usize = 10;

/// How long changes continue while one relay is down.
const RELAY_DOWNTIME: Duration = Duration::from_secs(3);

/// Measures the tree once, with `rate` changes per second.
pub fn run(scenario: &Scenario, rate: u32) -> anyhow::Result<Figures> {
    let each = scenario.clients / RELAYS;
    let mut tree = Tree::start(scenario, each)?;
    let period = Duration::from_secs(1) / rate;
    let mut figures = Figures::new();
    tree.publish_for(period, Duration::from_secs(1))?;
    tree.tally.open_window(tree.publisher.last());
    let before = tree.publisher.last();
    tree.publish_for(period, scenario.window)?;
    tree.measure_levels(before, &mut figures);
    tree.kill_relay(period, &mut figures)?;
    tree.kill_root(&mut figures)?;
    ensure!(tree.tally.wrong == 0, "{} payloads were broken, or older than what the client had", tree.tally.wrong);
    Ok(figures)
}

/// Returns the median over all changes of the time to the last client; `None` if and only if there was no change.
pub fn last_client(arrived: &[Arrived]) -> Option<Duration> {
    by_change(arrived, Duration::max)
}

fn by_change(arrived: &[Arrived], pick: fn(Duration, Duration) -> Duration) -> Option<Duration> {
    let mut changes: BTreeMap<u64, Duration> = BTreeMap::new();
    for Arrived { number, latency, .. } in arrived {
        changes.entry(*number).and_modify(|picked| *picked = pick(*picked, *latency)).or_insert(*latency);
    }
    let mut sample = Sample::default();
    for latency in changes.into_values() {
        sample.add(latency);
    }
    sample.percentile(50.0)
}

struct Tree<'scenario> {
    scenario: &'scenario Scenario,
    root: Server,
    relays: Vec<Server>,
    publisher: Publisher,
    swarm: Swarm<Box<dyn Wire>>,
    tally: Tally,
    /// The clients of each relay.
    below: Vec<Range<usize>>,
}

impl<'scenario> Tree<'scenario> {
    fn start(scenario: &'scenario Scenario, each: usize) -> anyhow::Result<Self> {
        let mut root = Server::start_at(Kind::Mapcast, free_addr()?, None, scenario)?;
        let mut publisher = root.publisher(scenario.size)?;
        publisher.publish()?;
        let relay = |_| Server::start_at(Kind::Relay, free_addr()?, Some(root.addr()), scenario);
        let relays = (0..RELAYS).map(relay).collect::<anyhow::Result<Vec<_>>>()?;
        let swarm = Swarm::new(Kind::Relay.wire(publisher.size()))?;
        let tally = Tally::new(0, publisher.size(), publisher.epoch());
        let mut tree = Self { scenario, root, relays, publisher, swarm, tally, below: Vec::new() };
        tree.connect(tree.root.addr(), PROBES)?;
        for index in 0..RELAYS {
            let clients = tree.connect(tree.relays[index].addr(), each)?;
            tree.below.push(clients);
        }
        tree.wait_newest(&(0..PROBES + RELAYS * each))?;
        Ok(tree)
    }

    /// Connects `clients` more clients to `target` and returns their indexes.
    fn connect(&mut self, target: std::net::SocketAddr, clients: usize) -> anyhow::Result<Range<usize>> {
        let before = self.swarm.counts();
        let first = self.tally.clients();
        self.tally.add_clients(clients);
        let rate = self.scenario.connect_rate;
        let burst = Burst { target, clients, stalled: 0, rate, patience: PATIENCE };
        self.swarm.connect(&burst, |arrival| self.tally.take(&arrival), |_| ControlFlow::Continue(()))?;
        let connected = self.swarm.counts().connected - before.connected;
        ensure!(connected == clients, "only {connected} of {clients} clients connected");
        Ok(first..first + clients)
    }

    fn poll(&mut self) -> anyhow::Result<()> {
        self.swarm.poll(TICK, &mut |arrival| self.tally.take(&arrival))?;
        Ok(())
    }

    /// Waits until all of `clients` have the newest change.
    fn wait_newest(&mut self, clients: &Range<usize>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.tally.count_with_among(clients.clone(), self.publisher.last()) < clients.len() {
            ensure!(Instant::now() < deadline, "a change has not reached all of {} clients", clients.len());
            self.poll()?;
        }
        Ok(())
    }

    /// Reads while another thread publishes, and until all connected clients have the last change.
    fn publish_for(&mut self, period: Duration, window: Duration) -> anyhow::Result<()> {
        let stop = Shutdown::new()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = window.div_duration_f64(period).round() as u32;
        let Self { publisher, swarm, tally, .. } = self;
        thread::scope(|scope| {
            let publish = || publisher.publish_every(period, count, &stop);
            let publishing = thread::Builder::new().spawn_scoped(scope, publish)?;
            let mut read = Ok(true);
            while !publishing.is_finished() && read.is_ok() {
                read = swarm.poll(TICK, &mut |arrival| tally.take(&arrival));
            }
            stop.trigger();
            let result = publishing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            read?;
            result.context("the root does not accept a change")
        })?;
        self.below.clone().iter().try_for_each(|clients| self.wait_newest(clients))
    }

    fn measure_levels(&mut self, before: u64, figures: &mut Figures) {
        let (root, below): (Vec<_>, Vec<_>) = self.tally.arrived.iter().partition(|arrived| arrived.client < PROBES);
        let sample = |arrived: &[Arrived]| {
            let mut sample = Sample::default();
            for arrived in arrived {
                sample.add(arrived.latency);
            }
            sample
        };
        let (mut at_root, mut at_relays) = (sample(&root), sample(&below));
        let found = [
            (Figure::LatencyP50, at_relays.percentile(50.0)),
            (Figure::LatencyP99, at_relays.percentile(99.0)),
            (Figure::LatencyMax, at_relays.percentile(100.0)),
            (Figure::LastClient, last_client(&below)),
            (Figure::FirstBelow, by_change(&below, Duration::min)),
            (Figure::RootP50, at_root.percentile(50.0)),
            (Figure::RootP99, at_root.percentile(99.0)),
        ];
        figures.extend(found.into_iter().filter_map(|(figure, latency)| Some((figure, millis(latency?)))));
        let readers = self.tally.clients();
        let changes = (self.publisher.last() - before) as f64;
        figures.insert(Figure::Delivered, 100.0 * self.tally.changes_with_all(readers) as f64 / changes);
    }

    /// Kills the first relay, continues with the others, and restarts it.
    fn kill_relay(&mut self, period: Duration, figures: &mut Figures) -> anyhow::Result<()> {
        let (addr, clients) = (self.relays[0].addr(), self.below.remove(0));
        self.relays[0].kill();
        self.tally.open_window(self.publisher.last());
        self.publish_for(period, RELAY_DOWNTIME)?;
        let mut others = std::mem::take(&mut self.tally.latency);
        figures.extend(others.percentile(99.0).map(|latency| (Figure::KilledRelayP99, millis(latency))));
        let started = Instant::now();
        self.relays[0] = Server::start_at(Kind::Relay, addr, Some(self.root.addr()), self.scenario)?;
        let clients = self.connect(addr, clients.len())?;
        self.wait_newest(&clients)?;
        figures.insert(Figure::RelayBack, millis(started.elapsed()));
        self.below.push(clients);
        Ok(())
    }

    /// Kills the root and restarts it, with one more change.
    fn kill_root(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        let lost = self.swarm.counts().over();
        self.root.kill();
        let started = Instant::now();
        self.root = Server::start_at(Kind::Mapcast, self.root.addr(), None, self.scenario)?;
        self.publisher.continue_at(self.root.publisher(self.scenario.size)?);
        self.publisher.publish()?;
        for clients in self.below.clone() {
            self.wait_newest(&clients)?;
        }
        figures.insert(Figure::RootBack, millis(started.elapsed()));
        let lost = self.swarm.counts().over() - lost;
        ensure!(lost <= PROBES, "{lost} clients of the relays were lost with the root");
        Ok(())
    }
}
