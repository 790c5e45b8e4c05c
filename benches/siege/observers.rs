//! The well-behaved clients: they stay connected, read without delay, and check every map.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::support::map::{Published, Verifier};
use crate::support::swarm::{Arrival, Error, Swarm};
use crate::support::wire::Frames;

/// The largest payload that they accept, in bytes.
const MAX: usize = 2 << 20;

/// Connections begun at once: all of them together would be another burst.
const BATCH: usize = 20;

/// The pause after a failed connection.
const RETRY: Duration = Duration::from_millis(250);

/// Their results since the last call.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Received maps, including repeats.
    pub arrivals: u64,
    /// The longest time that a client was without the newest map.
    pub longest_stale: Duration,
    /// Connections that the server closed.
    pub lost: u64,
    /// Connections that the server closed inside a frame, and bytes that are not a frame.
    pub torn: u64,
    /// Maps older than an earlier one, or than one acknowledged before the client connected.
    pub backwards: u64,
    /// Incomplete maps.
    pub corrupt: u64,
    /// The last fault.
    pub last_fault: String,
}

impl Tally {
    /// Returns the number of maps that must never arrive.
    pub fn faults(&self) -> u64 {
        self.torn + self.backwards + self.corrupt
    }
}

/// One client, at its index in the swarm.
#[derive(Debug)]
struct ClientState {
    begun: Instant,
    /// The newest acknowledged map when it began to connect. It must not receive an older one.
    floor: u64,
    number: Option<u64>,
}

impl ClientState {
    /// Returns how long the client has been without the newest map.
    fn staleness(&self, published: &Published) -> Duration {
        match self.number {
            Some(number) => published.successor_of(number).map(|since| since.elapsed()),
            None => published.newest().map(|_| self.begun.elapsed()),
        }
        .unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct State {
    clients: Vec<ClientState>,
    /// The indexes of clients with an open connection.
    open: Vec<usize>,
    verifier: Verifier,
    tally: Tally,
}

/// Clients of one server, on one thread.
pub struct Observers {
    wanted: usize,
    published: Arc<Published>,
    /// Locked for one arrival or one query.
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

impl Observers {
    /// Connects `wanted` clients to `target`, over TLS if `tls` is given, and reconnects lost clients. With `acknowledged`, maps are
    /// published only after the server has acknowledged them.
    pub fn start(
        target: SocketAddr,
        wanted: usize,
        tls: Option<Arc<ClientConfig>>,
        published: &Arc<Published>,
        acknowledged: bool,
    ) -> anyhow::Result<Self> {
        let observers =
            Self { wanted, published: Arc::clone(published), state: Arc::default(), stopped: Arc::default() };
        let thread_state = ObserverThread {
            target,
            wanted,
            acknowledged,
            published: Arc::clone(published),
            state: Arc::clone(&observers.state),
        };
        let stopped = Arc::clone(&observers.stopped);
        // The event list of a swarm keeps it on one thread. Without descriptors there is no swarm and no client.
        let run = move || {
            if let Ok(mut swarm) = Swarm::new(Frames { max: MAX }) {
                swarm.encrypt(tls);
                thread_state.run(swarm, &stopped);
            }
        };
        thread::Builder::new().name("observers".to_owned()).spawn(run)?;
        Ok(observers)
    }

    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Returns the number of clients that are connected and have a map.
    pub fn ready(&self) -> usize {
        let state = lock(&self.state);
        state.open.iter().filter(|index| state.clients[**index].number.is_some()).count()
    }

    /// Returns the results since the last call, including the present time without the newest map.
    pub fn take(&self) -> Tally {
        let mut state = lock(&self.state);
        let longest = state.open.iter().map(|index| state.clients[*index].staleness(&self.published)).max();
        let mut tally = std::mem::take(&mut state.tally);
        tally.longest_stale = tally.longest_stale.max(longest.unwrap_or_default());
        tally
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// The state of the thread.
struct ObserverThread {
    target: SocketAddr,
    wanted: usize,
    acknowledged: bool,
    published: Arc<Published>,
    state: Arc<Mutex<State>>,
}

impl ObserverThread {
    fn run(self, mut swarm: Swarm<Frames>, stopped: &AtomicBool) {
        let mut dial_at = Instant::now();
        while !stopped.load(Ordering::Relaxed) {
            if Instant::now() >= dial_at && !self.dial(&mut swarm) {
                dial_at = Instant::now() + RETRY;
            }
            let before = swarm.counts();
            let polled = swarm.poll(Duration::from_millis(50), &mut |arrival| self.take(&arrival));
            let after = swarm.counts();
            if polled.is_ok() && after == before {
                continue;
            }
            let mut state = lock(&self.state);
            if let Err(error) = polled {
                state.tally.torn += u64::from(matches!(error, Error::Message { .. }));
                state.tally.last_fault = format!("{error:?}");
            }
            state.tally.torn += (after.torn - before.torn) as u64;
            state.tally.lost +=
                (after.ended + after.reset + after.torn - before.ended - before.reset - before.torn) as u64;
            if after.over() > before.over() {
                dial_at = Instant::now() + RETRY;
            }
            state.open.retain(|index| !swarm.is_over(*index));
        }
    }

    /// Begins missing connections, at most a batch. Returns false if the system refuses.
    fn dial(&self, swarm: &mut Swarm<Frames>) -> bool {
        let missing = self.wanted.saturating_sub(lock(&self.state).open.len());
        for _ in 0..missing.min(BATCH) {
            let floor = if self.acknowledged { self.published.newest().unwrap_or(0) } else { 0 };
            if swarm.begin(self.target, false).is_err() {
                return false;
            }
            let mut state = lock(&self.state);
            let index = state.clients.len();
            state.clients.push(ClientState { begun: Instant::now(), floor, number: None });
            if !swarm.is_over(index) {
                state.open.push(index);
            }
        }
        true
    }

    fn take(&self, arrival: &Arrival<'_>) {
        let state = &mut *lock(&self.state);
        state.tally.arrivals += 1;
        let client = &mut state.clients[arrival.client];
        let number = match state.verifier.number(arrival.payload) {
            Ok(number) => number,
            Err(error) => {
                state.tally.corrupt += 1;
                state.tally.last_fault = format!("{error:#}");
                return;
            }
        };
        let oldest = client.number.unwrap_or(client.floor);
        if number < oldest {
            state.tally.backwards += 1;
            state.tally.last_fault = format!("map {number} after map {oldest}");
        }
        if client.number != Some(number) {
            let age = client.staleness(&self.published);
            state.tally.longest_stale = state.tally.longest_stale.max(age);
            client.number = Some(number);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
