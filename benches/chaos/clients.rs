//! Plain clients on one thread: they reconnect at once, and some of them roam from leaf to leaf all the time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::nice;

use crate::records::Records;
use crate::support::random::Random;
use crate::support::swarm::{Arrival, Error, Swarm};
use crate::support::wire::Frames;
use crate::timing::INTERVAL;

/// The largest payload that they take.
const MAX: usize = 1 << 20;

/// How long a client hears nothing until it gives up a connection, and how long it waits for one: three intervals.
const SILENCE: Duration = INTERVAL.saturating_mul(3);

/// How long a client waits after an attempt has failed.
const RETRY: Duration = Duration::from_millis(250);

/// How long a roaming client stays at a leaf, at most.
const STAY: Duration = Duration::from_secs(10);

/// The time between two looks at all clients.
const TICK: Duration = Duration::from_millis(20);

/// How much the clients' thread goes before the servers on a busy machine (nice(2)).
const NICENESS: i32 = -10;

/// Connections that are begun in one turn: 5,000 a second.
const BATCH: usize = 100;

/// One of them; its place in the swarm is its place in the list.
struct Client {
    /// Its number in the records.
    number: usize,
    leaf: usize,
    /// When it goes to another leaf; `None` if it never does.
    leaves_at: Option<Instant>,
    /// When the kernel had the last map, or the connection was begun.
    received_at: Instant,
    /// A map has come over this connection.
    has_map: bool,
    /// When it connects again; `None` while it has a connection, or is about to have one.
    dials_at: Option<Instant>,
}

/// The clients' thread.
pub struct Clients {
    thread: Option<JoinHandle<()>>,
    stopped: Arc<AtomicBool>,
}

/// What the thread owns.
struct ClientThread {
    leaves: Vec<SocketAddr>,
    records: Arc<Records>,
    clients: Vec<Client>,
    random: Random,
}

impl Clients {
    /// Connects `each` clients to every leaf; of these, `roaming` go from leaf to leaf.
    pub fn start(
        leaves: Vec<SocketAddr>,
        each: usize,
        roaming: usize,
        records: &Arc<Records>,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let (records, mut random) = (Arc::clone(records), Random::new(seed));
        let mut clients = Vec::new();
        for leaf in 0..leaves.len() {
            for index in 0..each {
                let now = Instant::now();
                let leaves_at = (index < roaming).then(|| now + random.between(Duration::ZERO, STAY));
                let number = records.add(leaf, leaves_at.is_some());
                clients.push(Client { number, leaf, leaves_at, received_at: now, has_map: false, dials_at: None });
            }
        }
        let stopped = Arc::<AtomicBool>::default();
        let (client_thread, until) = (ClientThread { leaves, records, clients, random }, Arc::clone(&stopped));
        let run = move || {
            // Real clients run on other machines. Without the permission, the priority stays as it is.
            let _ = nice(NICENESS);
            let ended =
                Swarm::new(Frames { max: MAX }).context("no swarm").and_then(|swarm| client_thread.run(swarm, &until));
            if let Err(error) = ended {
                eprintln!("FAIL: the clients have ended: {error:#}");
            }
        };
        let thread = thread::Builder::new().name("clients".to_owned()).spawn(run)?;
        Ok(Self { thread: Some(thread), stopped })
    }

    /// True if and only if their thread has ended before it was to.
    pub fn have_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // It has reported its own failure.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl ClientThread {
    fn run(mut self, mut swarm: Swarm<Frames>, stopped: &AtomicBool) -> anyhow::Result<()> {
        for client in &self.clients {
            self.records.began(client.number, client.leaf);
            swarm.begin(self.leaves[client.leaf], false)?;
        }
        // For the kernel's word on when something came.
        swarm.read_late(Duration::ZERO);
        let (mut looked, mut polled, mut late) = (Instant::now(), Instant::now(), Duration::ZERO);
        while !stopped.load(Ordering::Relaxed) {
            let torn = swarm.counts().torn;
            let (clients, records) = (&mut self.clients, &self.records);
            let mut take = |arrival: Arrival<'_>| {
                let client = &mut clients[arrival.client];
                late = late.max(arrival.at.elapsed());
                (client.received_at, client.has_map) = (arrival.at, true);
                records.received(client.number, arrival.payload);
            };
            match swarm.poll(TICK, &mut take) {
                Ok(_) => {}
                Err(error @ Error::Message { .. }) => records.broke(format!("{error:?}")),
                Err(error) => return Err(error.into()),
            }
            records.cut(swarm.counts().torn - torn);
            late = late.max(polled.elapsed().saturating_sub(TICK));
            polled = Instant::now();
            if looked.elapsed() >= TICK {
                let patience = SILENCE + self.records.note_lateness(std::mem::take(&mut late));
                self.look(&mut swarm, patience);
                looked = Instant::now();
            }
        }
        Ok(())
    }

    /// Reconnects those whose connection has ended or was silent for longer than `patience`, and those that go elsewhere.
    fn look(&mut self, swarm: &mut Swarm<Frames>, patience: Duration) {
        let (now, mut begun) = (Instant::now(), 0);
        for (index, client) in self.clients.iter_mut().enumerate() {
            let is_silent = now.saturating_duration_since(client.received_at) > patience;
            if client.dials_at.is_none() && (swarm.is_over(index) || is_silent) {
                self.records.ended(client.number);
                client.dials_at = Some(if client.has_map { now } else { now + RETRY });
            }
            if client.leaves_at.is_some_and(|at| now >= at) {
                client.leaf = self.random.below(self.leaves.len());
                client.leaves_at = Some(now + self.random.between(Duration::ZERO, STAY));
                client.dials_at = Some(now);
            }
            if client.dials_at.is_some_and(|at| now >= at) && begun < BATCH {
                begun += 1;
                self.records.began(client.number, client.leaf);
                (client.received_at, client.has_map) = (now, false);
                // What fails at once is over at the next look.
                let _ = swarm.renew(index, self.leaves[client.leaf]);
                client.dials_at = None;
            }
        }
    }
}
