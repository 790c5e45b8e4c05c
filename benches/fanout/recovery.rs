//! How long clients take to reconnect after their server was down.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use mapcast::{ClientConfig, FollowConfig, Follower, Format, Shutdown};

use crate::change::{Change, Publisher};
use crate::figure::{Figure, Figures};
use crate::kind::Kind;
use crate::scenario::Scenario;
use crate::server::{Server, free_addr};
use crate::support::sample::Sample;
use crate::timing::millis;

/// Seconds of downtime, and the figures of half of the clients and of the last client being back.
const DOWNTIMES: [(u64, Figure, Figure); 3] = [
    (2, Figure::HalfBack2, Figure::LastBack2),
    (8, Figure::HalfBack8, Figure::LastBack8),
    (15, Figure::HalfBack15, Figure::LastBack15),
];

/// The longest time for the last client.
const PATIENCE: Duration = Duration::from_mins(1);

/// The stack of a client's thread in bytes.
const STACK: usize = 256 * 1024;

/// A change that a client has read.
struct Arrival {
    number: u64,
    at: Instant,
}

/// Kills the server and restarts it after each downtime. The clients are those of the library, each on its own thread.
pub fn run(scenario: &Scenario) -> anyhow::Result<Figures> {
    let mut server = Server::start_at(Kind::Mapcast, free_addr()?, None, scenario)?;
    let mut publisher = server.publisher(scenario.size)?;
    publisher.publish()?;
    let (stop, addr, size) = (Shutdown::new()?, server.addr().to_string(), publisher.size());
    let (arrivals, received) = mpsc::channel();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..scenario.clients {
            let (arrivals, addr, stop) = (arrivals.clone(), addr.as_str(), &stop);
            let follow = move || follow(addr, size, &arrivals, stop);
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, follow)?;
        }
        let clients = scenario.clients;
        wait_all(&received, publisher.last(), clients, Instant::now())?;
        let mut figures = Figures::new();
        for (seconds, half, last) in DOWNTIMES {
            server.kill();
            stop.wait(Duration::from_secs(seconds));
            server = Server::start_at(Kind::Mapcast, server.addr(), None, scenario)?;
            let listening = Instant::now();
            resume(&mut publisher, &mut server)?;
            let mut back = wait_all(&received, publisher.last(), clients, listening)?;
            figures.extend(back.percentile(50.0).map(|back| (half, millis(back))));
            figures.extend(back.percentile(100.0).map(|back| (last, millis(back))));
        }
        Ok(figures)
    })
}

/// Publishes one more change to a server that has just started.
fn resume(publisher: &mut Publisher, server: &mut Server) -> anyhow::Result<()> {
    publisher.continue_at(server.publisher(publisher.size())?);
    Ok(publisher.publish()?)
}

/// Reads changes of `size` bytes until the stop.
fn follow(addr: &str, size: usize, arrivals: &Sender<Arrival>, stop: &Shutdown) {
    let client = ClientConfig { format: Some(Format::Json), ..ClientConfig::default() };
    let config = FollowConfig { client, wait: Duration::MAX, ..FollowConfig::default() };
    let mut follower = Follower::new(addr, config, stop);
    while let Ok(Some(payload)) = follower.next_payload() {
        let number = Change::from_payload(&payload, size).map_or(0, |change| change.number);
        if arrivals.send(Arrival { number, at: Instant::now() }).is_err() {
            return;
        }
    }
}

/// Waits until all `clients` have read change `number`. Returns how long after `since` each of them did.
fn wait_all(received: &Receiver<Arrival>, number: u64, clients: usize, since: Instant) -> anyhow::Result<Sample> {
    let (mut sample, deadline) = (Sample::default(), Instant::now() + PATIENCE);
    while sample.len() < clients {
        let left = deadline.saturating_duration_since(Instant::now());
        let arrival = received
            .recv_timeout(left)
            .with_context(|| format!("only {} of {clients} clients are back", sample.len()))?;
        if arrival.number == number {
            sample.add(arrival.at.saturating_duration_since(since));
        }
    }
    Ok(sample)
}

/// Stops the clients also after an error.
struct StopOnDrop<'stop>(&'stop Shutdown);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.trigger();
    }
}
