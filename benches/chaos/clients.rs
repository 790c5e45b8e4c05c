//! Plain clients on one thread: they reconnect at once, and some of them roam from leaf to leaf.

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

/// The largest payload that they accept, in bytes.
const MAX: usize = 1 << 20;

/// The idle timeout of a connection, and the time limit for connecting: three intervals.
const SILENCE: Duration = INTERVAL.saturating_mul(3);

/// The pause after a failed attempt.
const RETRY: Duration = Duration::from_millis(250);

/// The longest stay of a roaming client at a leaf.
const STAY: Duration = Duration::from_secs(10);

/// The time between two checks of all clients.
const TICK: Duration = Duration::from_millis(20);

/// The nice value of the clients' thread, which gives it priority over the servers on a busy machine (nice(2)).
const NICENESS: i32 = -10;

/// Connections begun per check: 5,000 a second.
const BATCH: usize = 100;

/// One client. Its index in the swarm is its index in the list.
struct Client {
    /// Its number in the records.
    number: usize,
    leaf: usize,
    /// When it moves to another leaf; `None` if it does not roam.
    moves_at: Option<Instant>,
    /// When the kernel received the last map, or when the connection was begun.
    received_at: Instant,
    /// Whether this connection has delivered a map.
    has_map: bool,
    /// When it reconnects; `None` while it is connected or connecting.
    dials_at: Option<Instant>,
}

/// The handle of the clients' thread.
pub struct Clients {
    thread: Option<JoinHandle<()>>,
    stopped: Arc<AtomicBool>,
}

/// The state of the thread.
struct ClientThread {
    leaves: Vec<SocketAddr>,
    records: Arc<Records>,
    clients: Vec<Client>,
    random: Random,
}

impl Clients {
    /// Connects `each` clients to every leaf; `roaming` of these move from leaf to leaf.
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
                let moves_at = (index < roaming).then(|| now + random.between(Duration::ZERO, STAY));
                let number = records.add(leaf, moves_at.is_some());
                clients.push(Client { number, leaf, moves_at, received_at: now, has_map: false, dials_at: None });
            }
        }
        let stopped = Arc::<AtomicBool>::default();
        let (client_thread, until) = (ClientThread { leaves, records, clients, random }, Arc::clone(&stopped));
        let run = move || {
            // Real clients run on other machines. Without permission, the priority is unchanged.
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

    /// Returns true if and only if the thread has ended early.
    pub fn have_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // The thread has reported its own failure.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl ClientThread {
    fn run(mut self, mut swarm: Swarm<Frames>, stopped: &AtomicBool) -> anyhow::Result<()> {
        for client in &self.clients {
            self.records.began(client.number, client.leaf);
            swarm.begin(self.leaves[client.leaf], false)?;
        }
        // To get kernel timestamps.
        swarm.read_late(Duration::ZERO);
        let (mut checked, mut polled, mut late) = (Instant::now(), Instant::now(), Duration::ZERO);
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
            if checked.elapsed() >= TICK {
                let patience = SILENCE + self.records.note_lateness(std::mem::take(&mut late));
                self.reconnect_due(&mut swarm, patience);
                checked = Instant::now();
            }
        }
        Ok(())
    }

    /// Reconnects clients whose connection has ended or was silent for longer than `patience`, and clients that move to another leaf.
    fn reconnect_due(&mut self, swarm: &mut Swarm<Frames>, patience: Duration) {
        let (now, mut begun) = (Instant::now(), 0);
        for (index, client) in self.clients.iter_mut().enumerate() {
            let is_silent = now.saturating_duration_since(client.received_at) > patience;
            if client.dials_at.is_none() && (swarm.is_over(index) || is_silent) {
                self.records.ended(client.number);
                client.dials_at = Some(if client.has_map { now } else { now + RETRY });
            }
            if client.moves_at.is_some_and(|at| now >= at) {
                client.leaf = self.random.below(self.leaves.len());
                client.moves_at = Some(now + self.random.between(Duration::ZERO, STAY));
                client.dials_at = Some(now);
            }
            if client.dials_at.is_some_and(|at| now >= at) && begun < BATCH {
                begun += 1;
                self.records.began(client.number, client.leaf);
                (client.received_at, client.has_map) = (now, false);
                // A failed attempt is handled at the next check.
                let _ = swarm.renew(index, self.leaves[client.leaf]);
                client.dials_at = None;
            }
        }
    }
}
