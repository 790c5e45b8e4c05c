//! What every client has received: whether maps came whole and in order, and how far behind each leaf's clients are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::map::{Published, Verifier};
use crate::tree::LEAVES;

/// The most regressions that are kept: one of a server in a run is seen by hundreds of clients.
const MOST: usize = 100_000;

/// How long a lateness of the reading counts.
const MEMORY: Duration = Duration::from_secs(5);

/// What of a client's an older map was older than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A map that came before, over the same connection.
    SameConnection,
    /// A map that came over the connection before, from the same process.
    SameProcess,
    /// A map that came over the connection before, from another leaf, or from a process that has ended since: that one may
    /// have been ahead.
    Elsewhere,
}

/// A map that came after a newer one.
#[derive(Debug, Clone, Copy)]
pub struct Regression {
    pub order: Order,
    pub leaf: usize,
    pub from: u64,
    pub to: u64,
}

/// What all clients together have met.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Maps that came, repeats too.
    pub maps: u64,
    /// Changes that a client did not see because a newer one came at once.
    pub skipped: u64,
    /// Connections with a map that have ended, but those of roving clients.
    pub lost: u64,
    /// Maps that are not whole, and bytes that are not a frame.
    pub corrupt: u64,
    /// What was wrong with the last of these.
    pub last_corrupt: String,
    /// When connections ended inside a frame.
    pub cut: Vec<Instant>,
    /// Maps that came after a newer one, in whatever order is allowed or not.
    pub regressions: Vec<Regression>,
}

/// The clients of one leaf at one moment. Those that rove count for `worst` and `late` alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    /// The shortest that one of them has been without the newest map.
    pub best: Duration,
    /// The oldest map that any of them has; `None` if one is without a map on its present connection.
    pub oldest: Option<u64>,
    /// The longest that one of them has been without the newest map.
    pub worst: Duration,
    /// Clients that have been without the newest map for longer than was asked.
    pub late: usize,
}

/// One client.
#[derive(Debug)]
struct Seen {
    leaf: usize,
    roves: bool,
    /// The process of its leaf, by its number, when the connection was begun.
    process: u32,
    /// Since when it has no map on a connection, if it has none.
    without_since: Instant,
    /// The map that came last over the present connection.
    number: Option<u64>,
    /// The map that came last over the connections before: the leaf, the process, and the number.
    before: Option<(usize, u32, u64)>,
}

/// How late clients' threads have read what their kernel had: this machine's doing, and not the servers'.
#[derive(Debug, Clone, Copy)]
struct Lateness {
    now: Duration,
    at: Instant,
    worst: Duration,
}

#[derive(Debug, Default)]
struct State {
    clients: Vec<Seen>,
    lateness: Option<Lateness>,
    /// How many processes each leaf has had.
    processes: [u32; LEAVES],
    verifier: Verifier,
    tally: Tally,
}

/// All clients. Shared by the threads that read for them.
#[derive(Debug)]
pub struct Ledger {
    published: Arc<Published>,
    /// Held for one map or one look.
    state: Mutex<State>,
}

impl Ledger {
    /// Returns a ledger without clients, of maps that `published` knows.
    pub fn new(published: &Arc<Published>) -> Self {
        Self { published: Arc::clone(published), state: Mutex::default() }
    }

    /// Adds a client of `leaf` and returns its number.
    pub fn add(&self, leaf: usize, roves: bool) -> usize {
        let mut state = self.lock();
        let (without_since, number, before) = (Instant::now(), None, None);
        state.clients.push(Seen { leaf, roves, process: 0, without_since, number, before });
        state.clients.len() - 1
    }

    /// Records that `leaf` gets another process.
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

    /// Records that a client's connection has ended, or is given up.
    pub fn ended(&self, client: usize) {
        let state = &mut *self.lock();
        let seen = &mut state.clients[client];
        if let Some(number) = seen.number.take() {
            seen.before = Some((seen.leaf, seen.process, number));
            seen.without_since = Instant::now();
            state.tally.lost += u64::from(!seen.roves);
        }
    }

    /// Records a map that a client was sent.
    pub fn took(&self, client: usize, payload: &[u8]) {
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
                // The process may have been another one by the time the connection was made.
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

    /// Records how late clients have been read. Returns the most within the last seconds.
    pub fn read_late(&self, by: Duration) -> Duration {
        let (state, at) = (&mut *self.lock(), Instant::now());
        let known = state.lateness.get_or_insert(Lateness { now: by, at, worst: by });
        if by >= known.now || at - known.at > MEMORY {
            *known = Lateness { now: by, at, worst: known.worst.max(by) };
        }
        known.now
    }

    /// Returns how late clients have been read: at most within the last seconds, and at worst.
    pub fn lateness(&self) -> (Duration, Duration) {
        self.lock().lateness.map_or_else(Default::default, |lateness| (lateness.now, lateness.worst))
    }

    /// Returns how the clients of each leaf are, without what is only read late; `late` counts those that have been behind for longer than `limit`.
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
            if !seen.roves {
                view.best = view.best.min(behind);
                view.oldest = view.oldest.min(seen.number);
            }
        }
        views.map(Option::unwrap_or_default)
    }

    /// Describes one of the clients that have been behind for longer than `limit`, for whoever looks for the reason.
    pub fn describe_late(&self, limit: Duration) -> Option<String> {
        let state = self.lock();
        let is_late = |seen: &Seen| match seen.number {
            Some(number) => self.published.successor_of(number).is_some_and(|since| since.elapsed() > limit),
            None => seen.without_since.elapsed() > limit,
        };
        let index = state.clients.iter().position(is_late)?;
        Some(format!("client {index} {:?}, newest map {:?}", state.clients[index], self.published.newest()))
    }

    /// Returns what all clients together have met so far.
    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Returns how many connections with a map have ended so far, but those of roving clients.
    pub fn lost(&self) -> u64 {
        self.lock().tally.lost
    }

    /// Returns how many changes clients have skipped so far.
    pub fn skipped(&self) -> u64 {
        self.lock().tally.skipped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
