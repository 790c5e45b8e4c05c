//! Records of the maps of every client: whether they were complete and in order, and how far behind each leaf's clients are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::map::{Published, Verifier};
use crate::tree::LEAVES;

/// The maximum number of kept regressions: one regression of a server reaches hundreds of clients.
const MOST: usize = 100_000;

/// How long a lateness of reading counts.
const MEMORY: Duration = Duration::from_secs(5);

/// The connection of the newer map that an older map followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The same connection.
    SameConnection,
    /// The previous connection, to the same process.
    SameProcess,
    /// The previous connection, to another leaf or to a process that has exited since, which may have been ahead.
    Elsewhere,
}

/// A map that arrived after a newer one.
#[derive(Debug, Clone, Copy)]
pub struct Regression {
    pub order: Order,
    pub leaf: usize,
    pub from: u64,
    pub to: u64,
}

/// Totals over all clients.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Received maps, including repeats.
    pub maps: u64,
    /// Changes that a client did not receive because a newer one replaced them.
    pub skipped: u64,
    /// Connections that ended after a map, except those of roaming clients.
    pub lost: u64,
    /// Incomplete maps, and bytes that are not a frame.
    pub corrupt: u64,
    /// The reason for the last of these.
    pub last_corrupt: String,
    /// When connections ended inside a frame.
    pub cut: Vec<Instant>,
    /// Maps that arrived after a newer one, allowed or not.
    pub regressions: Vec<Regression>,
}

/// The clients of one leaf at one moment. Roaming clients count only for `worst` and `late`.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    /// The shortest time that a client has been without the newest map.
    pub best: Duration,
    /// The oldest map of a client; `None` if a client has no map on its present connection.
    pub oldest: Option<u64>,
    /// The longest time that a client has been without the newest map.
    pub worst: Duration,
    /// The number of clients without the newest map for longer than the limit of the call.
    pub late: usize,
}

/// One client.
#[derive(Debug)]
struct ClientState {
    leaf: usize,
    roams: bool,
    /// The number of its leaf's process when the connection was begun.
    process: u32,
    /// Since when it has no map on a connection, if it has none.
    without_since: Instant,
    /// The last map on the present connection.
    number: Option<u64>,
    /// The leaf, the process and the number of the last map on earlier connections.
    before: Option<(usize, u32, u64)>,
}

/// How late the clients' thread reads received bytes: a property of this machine, not of the servers.
#[derive(Debug, Clone, Copy)]
struct Lateness {
    now: Duration,
    at: Instant,
    worst: Duration,
}

#[derive(Debug, Default)]
struct State {
    clients: Vec<ClientState>,
    lateness: Option<Lateness>,
    /// The number of processes of each leaf so far.
    processes: [u32; LEAVES],
    verifier: Verifier,
    tally: Tally,
}

/// The records of all clients, shared by their threads.
#[derive(Debug)]
pub struct Records {
    published: Arc<Published>,
    /// Locked for one map or one query.
    state: Mutex<State>,
}

impl Records {
    /// Returns records without clients, for the maps in `published`.
    pub fn new(published: &Arc<Published>) -> Self {
        Self { published: Arc::clone(published), state: Mutex::default() }
    }

    /// Adds a client of `leaf` and returns its number.
    pub fn add(&self, leaf: usize, roams: bool) -> usize {
        let mut state = self.lock();
        let (without_since, number, before) = (Instant::now(), None, None);
        state.clients.push(ClientState { leaf, roams, process: 0, without_since, number, before });
        state.clients.len() - 1
    }

    /// Records that `leaf` has a new process.
    pub fn restarted(&self, leaf: usize) {
        self.lock().processes[leaf] += 1;
    }

    /// Records that a client begins a connection to `leaf`.
    pub fn began(&self, client: usize, leaf: usize) {
        self.ended(client);
        let state = &mut *self.lock();
        let seen = &mut state.clients[client];
        (seen.leaf, seen.process) = (leaf, state.processes[leaf]);
    }

    /// Records that a client's connection has ended or was given up.
    pub fn ended(&self, client: usize) {
        let state = &mut *self.lock();
        let seen = &mut state.clients[client];
        if let Some(number) = seen.number.take() {
            seen.before = Some((seen.leaf, seen.process, number));
            seen.without_since = Instant::now();
            state.tally.lost += u64::from(!seen.roams);
        }
    }

    /// Records a map that a client received.
    pub fn received(&self, client: usize, payload: &[u8]) {
        let state = &mut *self.lock();
        state.tally.maps += 1;
        let number = match state.verifier.number(payload) {
            Ok(number) => number,
            Err(error) => {
                state.tally.corrupt += 1;
                state.tally.last_corrupt = format!("{error:#}");
                return;
            }
        };
        let seen = &mut state.clients[client];
        let mut regress = |order, from| {
            if state.tally.regressions.len() < MOST {
                state.tally.regressions.push(Regression { order, leaf: seen.leaf, from, to: number });
            }
        };
        match (seen.number, seen.before) {
            (Some(last), _) if number < last => regress(Order::SameConnection, last),
            (Some(last), _) => state.tally.skipped += (number - last).saturating_sub(1),
            (None, Some((leaf, process, last))) if number < last => {
                // The process may have been replaced before the connection was made.
                let is_same = (leaf, process) == (seen.leaf, seen.process) && process == state.processes[leaf];
                regress(if is_same { Order::SameProcess } else { Order::Elsewhere }, last);
            }
            (None, _) => {}
        }
        seen.number = Some(number);
    }

    /// Records bytes that are not a frame.
    pub fn broke(&self, fault: String) {
        let tally = &mut self.lock().tally;
        tally.corrupt += 1;
        tally.last_corrupt = fault;
    }

    /// Records connections that ended inside a frame.
    pub fn cut(&self, connections: usize) {
        let tally = &mut self.lock().tally;
        tally.cut.extend(std::iter::repeat_n(Instant::now(), connections));
    }

    /// Records how late clients were read. Returns the maximum of the last seconds.
    pub fn note_lateness(&self, by: Duration) -> Duration {
        let (state, at) = (&mut *self.lock(), Instant::now());
        let known = state.lateness.get_or_insert(Lateness { now: by, at, worst: by });
        if by >= known.now || at - known.at > MEMORY {
            *known = Lateness { now: by, at, worst: known.worst.max(by) };
        }
        known.now
    }

    /// Returns how late clients were read: the maximum of the last seconds, and of the whole run.
    pub fn lateness(&self) -> (Duration, Duration) {
        self.lock().lateness.map_or_else(Default::default, |lateness| (lateness.now, lateness.worst))
    }

    /// Returns the state of each leaf's clients, corrected by the lateness of this machine. `late` counts clients that have been
    /// behind for longer than `limit`.
    pub fn views(&self, limit: Duration) -> [View; LEAVES] {
        let state = self.lock();
        let mut views: [Option<View>; LEAVES] = [None; LEAVES];
        let lateness = state.lateness.map_or(Duration::ZERO, |lateness| lateness.now);
        for seen in &state.clients {
            let since = match seen.number {
                Some(number) => self.published.successor_of(number),
                None => Some(seen.without_since),
            };
            let behind = since.map_or(Duration::ZERO, |since| since.elapsed().saturating_sub(lateness));
            let first = View { best: Duration::MAX, oldest: Some(u64::MAX), ..View::default() };
            let view = views[seen.leaf].get_or_insert(first);
            view.worst = view.worst.max(behind);
            view.late += usize::from(behind > limit);
            if !seen.roams {
                view.best = view.best.min(behind);
                view.oldest = view.oldest.min(seen.number);
            }
        }
        views.map(Option::unwrap_or_default)
    }

    /// Describes a client that has been behind for longer than `limit`, to help find the reason.
    pub fn describe_late(&self, limit: Duration) -> Option<String> {
        let state = self.lock();
        let is_late = |seen: &ClientState| match seen.number {
            Some(number) => self.published.successor_of(number).is_some_and(|since| since.elapsed() > limit),
            None => seen.without_since.elapsed() > limit,
        };
        let index = state.clients.iter().position(is_late)?;
        Some(format!("client {index} {:?}, newest map {:?}", state.clients[index], self.published.newest()))
    }

    /// Returns the totals so far.
    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Returns the number of lost connections so far, as [`Tally::lost`].
    pub fn lost(&self) -> u64 {
        self.lock().tally.lost
    }

    /// Returns the number of skipped changes so far.
    pub fn skipped(&self) -> u64 {
        self.lock().tally.skipped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
