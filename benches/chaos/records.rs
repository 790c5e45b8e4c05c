//! What every client has received: whether maps were whole and in order, and how far behind each leaf's clients are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::map::{Published, Verifier};
use crate::tree::LEAVES;

/// The most regressions that are kept: one of a server in a run is seen by hundreds of clients.
const MOST: usize = 100_000;

/// How long a lateness of the reading counts.
const MEMORY: Duration = Duration::from_secs(5);

/// Which earlier map an older map followed.
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

/// The totals over all clients.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Maps that came, repeats too.
    pub maps: u64,
    /// Changes that a client did not see because a newer one came at once.
    pub skipped: u64,
    /// Connections that ended after a map, without those of roaming clients.
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

/// The clients of one leaf at one moment. Those that roam count for `worst` and `late` alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    /// The shortest that one of them has been without the newest map.
    pub best: Duration,
    /// The oldest map that any of them has; `None` if one is without a map on its present connection.
    pub oldest: Option<u64>,
    /// The longest that one of them has been without the newest map.
    pub worst: Duration,
    /// Clients that have been without the newest map for longer than the limit of the call.
    pub late: usize,
}

/// One client.
#[derive(Debug)]
struct ClientState {
    leaf: usize,
    roams: bool,
    /// The process of its leaf, by its number, when the connection was begun.
    process: u32,
    /// Since when it has no map on a connection, if it has none.
    without_since: Instant,
    /// The map that came last over the present connection.
    number: Option<u64>,
    /// The map that came last over the connections before: the leaf, the process, and the number.
    before: Option<(usize, u32, u64)>,
}

/// How late the clients' thread read what its kernel had received: a property of this machine, not of the servers.
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
    /// How many processes each leaf has had.
    processes: [u32; LEAVES],
    verifier: Verifier,
    tally: Tally,
}

/// All clients. Shared by the threads that read for them.
#[derive(Debug)]
pub struct Records {
    published: Arc<Published>,
    /// Held for one map or one look.
    state: Mutex<State>,
}

impl Records {
    /// Returns a records without clients, of maps that `published` knows.
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
            state.tally.lost += u64::from(!seen.roams);
        }
    }

    /// Records a map that a client was sent.
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

    /// Returns the state of each leaf's clients, corrected by the lateness of this machine; `late` counts those that have been
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

    /// Describes one of the clients that have been behind for longer than `limit`, to find the reason.
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

    /// Returns how many connections were lost so far, as [`Tally::lost`].
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
