//! One round: one server in one scenario.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mapcast::Shutdown;

use crate::change::Publisher;
use crate::figure::{Figure, Figures};
use crate::http_load::HttpLoad;
use crate::http_only_server::HttpOnlyServer;
use crate::kind::Kind;
use crate::memory::{self, Machine};
use crate::recovery;
use crate::scenario::{Scenario, Work};
use crate::server::Server;
use crate::subscriber::Subscriber;
use crate::support::netstat;
use crate::support::sample::Sample;
use crate::support::swarm::{Burst, Swarm};
use crate::support::wire::Wire;
use crate::tally::Tally;
use crate::timing::{PATIENCE, TICK, micros, millis};
use crate::tree;

/// After this time without a message, earlier work is complete.
const QUIET: Duration = Duration::from_millis(300);

/// A change that has not reached every client by then is published again, because a subscription may have come after it.
const SETTLE_PERIOD: Duration = Duration::from_millis(500);

/// How late clients with kernel timestamps read: after the fan-out to 1,000 clients, and before the next one.
const LATENESS: Duration = Duration::from_millis(20);

/// How long changes are published before the measurement.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures `kind` in `scenario` once.
pub fn run(kind: Kind, scenario: &Scenario) -> anyhow::Result<Figures> {
    if let Work::Tree(rate) = scenario.work {
        return tree::run(scenario, rate);
    }
    if scenario.work == Work::Recovery {
        return recovery::run(scenario);
    }
    let mut server = Server::start(kind, scenario)?;
    let mut publisher = server.publisher(scenario.size)?;
    // The first client finds a map, and one-time costs of the server are not counted for the clients.
    let mut probe = Load::new(kind, &publisher, 1)?;
    probe.connect(&Burst { clients: 1, stalled: 0, ..burst(scenario, &server) })?;
    probe.settle(&mut publisher)?;
    drop(probe);
    let mut load = Load::new(kind, &publisher, scenario.clients)?;
    let mut figures = Figures::new();
    let resident = server.resident()?;
    // A stalled client is not idle: the kernel keeps what it does not read. The stop is measured without memory.
    let has_machine_memory = scenario.stalled == 0 && scenario.work != Work::Stop;
    let before = has_machine_memory.then(|| load.measure_memory()).transpose()?;
    load.measure_connecting(kind, &server, scenario, &mut figures)?;
    load.settle(&mut publisher)?;
    if let Some(before) = before {
        load.wait_quiet()?;
        let after = load.measure_memory()?;
        let growth = |less: u64, more: u64| (more as f64 - less as f64) / 1024.0 / load.clients();
        figures.insert(Figure::KernelMemory, growth(before.kernel, after.kernel));
        figures.insert(Figure::MachineMemory, growth(after.available, before.available));
    }
    let http_only = match (scenario.work, scenario.http_load, server.page()) {
        (Work::Changes(rate), Some(_), None) => Some(HttpOnlyServer::start(scenario, rate)?),
        _ => None,
    };
    let page = server.page().or(http_only.as_ref().and_then(HttpOnlyServer::page));
    let http_load = page.zip(scenario.http_load).map(|(page, demand)| HttpLoad::start(page, demand)).transpose()?;
    match scenario.work {
        Work::Changes(rate) => {
            let subscriber =
                if kind == Kind::Hash { Some(Subscriber::start(&server, publisher.size())?) } else { None };
            load.measure_changes(&mut server, &mut publisher, rate, scenario.window, &mut figures)?;
            if let Some(subscriber) = subscriber {
                load.compare_with(&subscriber.finish(publisher.last())?, &mut figures)?;
            }
        }
        Work::Repeat => {
            let repeater = if kind.repeats() { None } else { Some(&mut publisher) };
            load.measure_repeat(&mut server, repeater, scenario, &mut figures)?;
        }
        Work::Idle => load.measure_idle(&server, scenario.window, &mut figures)?,
        Work::Connect | Work::Tree(_) | Work::Recovery => {}
        Work::Stop => load.measure_stop(&mut server, &mut figures)?,
    }
    if let Some(http_load) = http_load {
        figures.insert(Figure::Requests, http_load.finish()?);
    }
    if scenario.work != Work::Stop {
        let over = load.swarm.counts().over();
        ensure!(over == 0, "{over} of {} clients were lost: {:?}", scenario.clients, load.swarm.counts());
        let growth = server.resident()?.saturating_sub(resident);
        figures.insert(Figure::ResidentMemory, growth as f64 / 1024.0 / load.clients());
    }
    ensure!(load.tally.wrong == 0, "{} payloads were broken, or older than what the client had", load.tally.wrong);
    // Before the clients disconnect, so that this causes no work.
    server.kill();
    Ok(figures)
}

/// Returns how the clients of `scenario` connect to `server`.
fn burst(scenario: &Scenario, server: &Server) -> Burst {
    let Scenario { clients, stalled, connect_rate, .. } = *scenario;
    Burst { target: server.addr(), clients, stalled, rate: connect_rate, patience: PATIENCE }
}

/// The clients, and the messages that they received.
struct Load {
    swarm: Swarm<Box<dyn Wire>>,
    tally: Tally,
    clients: usize,
    /// The number of clients that read.
    readers: usize,
}

impl Load {
    fn new(kind: Kind, publisher: &Publisher, clients: usize) -> anyhow::Result<Self> {
        let mut swarm = Swarm::new(kind.wire(publisher.size()))?;
        swarm.encrypt(kind.tls()?);
        if kind == Kind::Hash {
            // One thread that reads for 1,000 clients takes longer than sending to them, and competes for the sender's core.
            swarm.read_late(LATENESS);
        }
        let tally = Tally::new(clients, publisher.size(), publisher.epoch());
        Ok(Self { swarm, tally, clients, readers: clients })
    }

    fn clients(&self) -> f64 {
        self.clients as f64
    }

    fn poll(&mut self, timeout: Duration) -> anyhow::Result<bool> {
        Ok(self.swarm.poll(timeout, &mut |arrival| self.tally.take(&arrival))?)
    }

    fn connect(&mut self, burst: &Burst) -> anyhow::Result<()> {
        self.readers = burst.clients - burst.stalled;
        self.swarm.connect(burst, |arrival| self.tally.take(&arrival), |_| ControlFlow::Continue(()))?;
        let counts = self.swarm.counts();
        ensure!(counts.connected == burst.clients, "only {} of {} clients connected", counts.connected, burst.clients);
        Ok(())
    }

    /// Waits until no message has arrived for [`QUIET`].
    fn wait_quiet(&mut self) -> anyhow::Result<()> {
        let (deadline, mut last) = (Instant::now() + PATIENCE, Instant::now());
        while last.elapsed() < QUIET && Instant::now() < deadline {
            if self.poll(TICK)? {
                last = Instant::now();
            }
        }
        Ok(())
    }

    /// Waits until every reader has the newest change, at most `patience`. Returns true if and only if all have it.
    fn wait_delivered(&mut self, newest: u64, patience: Duration) -> anyhow::Result<bool> {
        let deadline = Instant::now() + patience;
        while self.tally.count_with(newest) < self.readers {
            if Instant::now() > deadline {
                return Ok(false);
            }
            self.poll(TICK)?;
        }
        Ok(true)
    }

    /// Publishes until every reader has the newest change.
    fn settle(&mut self, publisher: &mut Publisher) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            publisher.publish()?;
            if self.wait_delivered(publisher.last(), SETTLE_PERIOD)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "a change has reached only {} of {} clients",
                    self.tally.count_with(publisher.last()),
                    self.readers
                );
            }
        }
    }

    /// Measures the memory of the machine. Reads meanwhile, so that the kernel keeps no repeats.
    fn measure_memory(&mut self) -> anyhow::Result<Machine> {
        memory::settled(|pause| self.read_for(pause))
    }

    fn measure_connecting(
        &mut self,
        kind: Kind,
        server: &Server,
        scenario: &Scenario,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let (cpu, retries) = (server.cpu()?, netstat::tcp_counter("TCPSynRetrans")?);
        self.connect(&burst(scenario, server))?;
        if kind.sends_first_map() {
            self.wait_delivered(1, PATIENCE)?;
        }
        if scenario.work != Work::Connect {
            return Ok(());
        }
        // Without a first map, some clients may still be in the queue.
        self.wait_quiet()?;
        figures.insert(Figure::ConnectCpu, micros(server.cpu_since(cpu)?) / self.clients());
        let longest = self.swarm.connects().percentile(100.0).unwrap_or_default();
        figures.insert(Figure::LongestConnect, millis(longest));
        figures.insert(Figure::SynRetries, (netstat::tcp_counter("TCPSynRetrans")? - retries) as f64);
        Ok(())
    }

    fn measure_changes(
        &mut self,
        server: &mut Server,
        publisher: &mut Publisher,
        rate: u32,
        window: Duration,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let period = Duration::from_secs(1) / rate;
        self.read_while_publishing(server, publisher, period, WARM_UP)?;
        self.wait_delivered(publisher.last(), PATIENCE)?;
        self.tally.open_window(publisher.last());
        let (cpu, http, before, began) = (server.cpu()?, server.http_cpu()?, publisher.last(), Instant::now());
        self.read_while_publishing(server, publisher, period, window)?;
        self.wait_delivered(publisher.last(), PATIENCE)?;
        let http = server.http_cpu()?.saturating_sub(http);
        let (cpu, changes) = (server.cpu_since(cpu)?.saturating_sub(http), publisher.last() - before);
        if server.page().is_some() {
            figures.insert(Figure::HttpCpu, millis(http) / began.elapsed().as_secs_f64());
        }
        let tally = &mut self.tally;
        ensure!(tally.deliveries > 0, "no change was delivered");
        figures.insert(Figure::DeliveryCpu, micros(cpu) / tally.deliveries as f64);
        figures.extend(tree::last_client(&tally.arrived).map(|last| (Figure::LastClient, millis(last))));
        figures.insert(Figure::Delivered, 100.0 * tally.changes_with_all(self.readers) as f64 / changes as f64);
        for (figure, percent) in [(Figure::LatencyP50, 50.0), (Figure::LatencyP99, 99.0), (Figure::LatencyMax, 100.0)] {
            figures.extend(tally.latency.percentile(percent).map(|latency| (figure, millis(latency))));
        }
        Ok(())
    }

    /// Measures the times from when a plain subscriber received each change, instead of from its publication.
    fn compare_with(&mut self, subscriber: &BTreeMap<u64, Instant>, figures: &mut Figures) -> anyhow::Result<()> {
        let mut after = Sample::default();
        for arrived in &self.tally.arrived {
            let there = subscriber.get(&arrived.number).context("the subscriber missed a change")?;
            after.add(arrived.at.saturating_duration_since(*there));
        }
        for (figure, percent) in [(Figure::AfterRedisP50, 50.0), (Figure::AfterRedisP99, 99.0)] {
            figures.extend(after.percentile(percent).map(|latency| (figure, millis(latency))));
        }
        Ok(())
    }

    /// Measures repeats. `repeater` publishes to a server that does not repeat by itself.
    fn measure_repeat(
        &mut self,
        server: &mut Server,
        mut repeater: Option<&mut Publisher>,
        scenario: &Scenario,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        self.repeat_for(server, repeater.as_deref_mut(), scenario.interval, scenario.interval)?;
        self.tally.open_window(u64::MAX);
        let cpu = server.cpu()?;
        self.repeat_for(server, repeater, scenario.interval, scenario.window)?;
        let (cpu, silence) = (server.cpu_since(cpu)?, self.tally.longest_silence());
        let tally = &mut self.tally;
        ensure!(tally.frames > 0, "no frame was repeated");
        figures.insert(Figure::FrameCpu, micros(cpu) / tally.frames as f64);
        for (figure, percent) in [(Figure::GapP1, 1.0), (Figure::GapP50, 50.0), (Figure::GapP99, 99.0)] {
            figures.extend(tally.gaps.percentile(percent).map(|gap| (figure, millis(gap))));
        }
        // A client that receives nothing any more has a gap, too.
        figures.extend(tally.gaps.percentile(100.0).map(|gap| (Figure::GapMax, millis(gap.max(silence)))));
        Ok(())
    }

    fn repeat_for(
        &mut self,
        server: &mut Server,
        repeater: Option<&mut Publisher>,
        interval: Duration,
        window: Duration,
    ) -> anyhow::Result<()> {
        match repeater {
            Some(publisher) => self.read_while_publishing(server, publisher, interval, window),
            None => self.read_for(window),
        }
    }

    fn measure_idle(&mut self, server: &Server, window: Duration, figures: &mut Figures) -> anyhow::Result<()> {
        self.wait_quiet()?;
        let cpu = server.cpu()?;
        self.read_for(window)?;
        figures.insert(Figure::IdleCpu, millis(server.cpu_since(cpu)?));
        Ok(())
    }

    fn measure_stop(&mut self, server: &mut Server, figures: &mut Figures) -> anyhow::Result<()> {
        self.wait_quiet()?;
        let started = Instant::now();
        server.terminate()?;
        let status = loop {
            self.poll(Duration::from_millis(1))?;
            if let Some(status) = server.exit_status()? {
                break status;
            }
            ensure!(started.elapsed() < PATIENCE * 2, "the server does not stop");
        };
        figures.insert(Figure::StopTime, millis(started.elapsed()));
        // Frames that were sent before the end are still unread.
        self.wait_quiet()?;
        let counts = self.swarm.counts();
        figures.insert(Figure::Resets, (counts.reset + counts.torn) as f64);
        figures.insert(Figure::ExitCode, status.code().map_or(f64::NAN, f64::from));
        ensure!(
            counts.over() == self.clients,
            "{} of {} clients did not see the end of their connection",
            self.clients - counts.over(),
            self.clients
        );
        Ok(())
    }

    fn read_for(&mut self, window: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + window;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            self.poll(left)?;
        }
        Ok(())
    }

    /// Reads while another thread publishes a change every `period`, for `window`.
    fn read_while_publishing(
        &mut self,
        server: &mut Server,
        publisher: &mut Publisher,
        period: Duration,
        window: Duration,
    ) -> anyhow::Result<()> {
        let stop = Shutdown::new()?;
        let deadline = Instant::now() + window + PATIENCE;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = window.div_duration_f64(period).round() as u32;
        thread::scope(|scope| {
            let publish = || publisher.publish_every(period, count, &stop);
            let publishing = thread::Builder::new().spawn_scoped(scope, publish)?;
            let read = loop {
                match self.poll(TICK) {
                    Ok(_) if publishing.is_finished() => break Ok(()),
                    Ok(_) if Instant::now() < deadline => {}
                    // The publisher may hang in a write: only killing the server unblocks it.
                    Ok(_) => {
                        break Err(anyhow::anyhow!("the server accepts no more changes"))
                            .inspect_err(|_| server.kill());
                    }
                    Err(error) => break Err(error),
                }
            };
            stop.trigger();
            let result = publishing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            read.and(result.context("the server does not accept a change"))
        })
    }
}
