//! The backlog: payloads of older maps that slow peers are still receiving, with one memory limit over all versions and
//! peers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::display::throttle::{LOG_PERIOD, Throttle, more};
use crate::display::units::format_size;
use crate::sync::{Mutex, MutexGuard};

/// The default limit in bytes: 32 MiB.
pub const DEFAULT_LIMIT: usize = 32 * 1024 * 1024;

/// How many of the largest maps should fit into a limit: 8. The two newest versions, which are never evicted, take up to
/// six: the frame, the JSON and the page's entries of each.
pub const LEAST_MAPS: usize = 8;

/// Limits the memory of payloads that peers have received in part.
///
/// A payload is shared by all connections that send it, and counts once while at least one of them waits for its peer. When
/// the total exceeds the limit, the connections that wait with the oldest payload are cut (evicted), and so on until the
/// rest fits. Connections with the newest or second newest version are never evicted, so the actual bound is the limit, or
/// the size of those two versions if that is larger. A connection that does not wait for its peer is not counted and takes
/// no lock here.
///
/// Each [`Feed`](crate::Feed) needs its own, and has one by default: versions of several feeds cannot be compared.
#[derive(Debug)]
pub struct Backlog {
    limit: usize,
    /// The name of the limit in the log.
    limit_name: &'static str,
    /// Guards the waiting connections. Held for one change, by threads of connections that must wait anyway; never while
    /// cutting a connection or logging.
    state: Mutex<State>,
    evicted: AtomicU64,
    /// True while evictions may be unlogged; readable without the lock.
    has_unlogged: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// By version and address: the oldest version first.
    payloads: BTreeMap<(u64, usize), Entry>,
    /// Bytes of `payloads`.
    waiting: usize,
    /// Bytes of request bodies.
    reserved: usize,
    next_id: u64,
    /// Limits the log lines of evictions.
    log_throttle: Throttle,
}

/// A payload and the connections that wait with it.
#[derive(Debug)]
struct Entry {
    len: usize,
    connections: HashMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    connection: Weak<dyn Disconnect>,
    is_evicted: Arc<AtomicBool>,
}

/// A connection that can be cut from any thread.
pub(crate) trait Disconnect: fmt::Debug + Send + Sync {
    /// Shuts the socket down, which wakes the connection's thread from its wait. Does not block.
    fn disconnect(&self);
}

/// The identity of a payload, which connections share and which stays allocated while one of them waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The version of the map.
    version: u64,
    /// The address of its bytes.
    address: usize,
    /// The memory that it occupies, in bytes.
    len: usize,
}

impl Payload {
    /// Returns the identity of `bytes`, a payload of the map's `version`.
    pub(crate) fn new(version: u64, bytes: &[u8]) -> Self {
        Self { version, address: bytes.as_ptr() as usize, len: bytes.len() }
    }

    /// Adds `bytes` that stay allocated as long as the payload.
    pub(crate) fn and(self, bytes: usize) -> Self {
        Self { len: self.len + bytes, ..self }
    }
}

/// A connection that waits for its peer. Counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Pending {
    backlog: Arc<Backlog>,
    key: (u64, usize),
    id: u64,
    is_evicted: Arc<AtomicBool>,
}

/// Memory reserved for a request body; released on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    backlog: Arc<Backlog>,
    len: usize,
}

impl Default for Backlog {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl Backlog {
    /// Returns a backlog with a limit in bytes, which should hold [`LEAST_MAPS`] of the largest maps.
    pub fn new(limit: usize) -> Self {
        let state = State {
            payloads: BTreeMap::new(),
            waiting: 0,
            reserved: 0,
            next_id: 0,
            log_throttle: Throttle::new(LOG_PERIOD),
        };
        Self {
            limit,
            limit_name: "the backlog limit",
            state: Mutex::new(state),
            evicted: AtomicU64::new(0),
            has_unlogged: AtomicBool::new(false),
        }
    }

    /// Sets the name that the log gives to the limit, so that the operator knows what to raise.
    #[must_use]
    pub fn with_limit_name(self, limit_name: &'static str) -> Self {
        Self { limit_name, ..self }
    }

    /// Returns the default limit in bytes for maps of up to `max_frame` bytes: [`DEFAULT_LIMIT`], or [`LEAST_MAPS`] of
    /// those maps if that is more.
    pub fn default_limit(max_frame: usize) -> usize {
        DEFAULT_LIMIT.max(max_frame.saturating_mul(LEAST_MAPS))
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The current size in bytes: payloads that peers are still receiving, each once, and request bodies being received.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes()
    }

    /// The number of connections evicted so far.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Counts `connection`, which waits for its peer to accept `payload`, until the returned value is dropped. Evicts the
    /// connections with the oldest payloads if the limit is exceeded; `connection` may be one of them.
    pub(crate) fn enter(self: &Arc<Self>, payload: Payload, connection: Weak<dyn Disconnect>) -> Pending {
        let is_evicted = Arc::new(AtomicBool::new(false));
        let waiting = Waiting { connection, is_evicted: Arc::clone(&is_evicted) };
        let key = (payload.version, payload.address);
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let State { payloads, waiting: bytes, .. } = &mut *state;
        let entry = payloads.entry(key).or_insert_with(|| {
            *bytes += payload.len;
            Entry { len: payload.len, connections: HashMap::new() }
        });
        entry.connections.insert(id, waiting);
        self.evict(state);
        Pending { backlog: Arc::clone(self), key, id, is_evicted }
    }

    /// Reserves `len` bytes for a request body, and evicts the connections with the oldest payloads if that exceeds the limit.
    /// Returns `None` if and only if the limit is still exceeded.
    pub(crate) fn reserve(self: &Arc<Self>, len: usize) -> Option<Reservation> {
        let mut state = self.state.lock();
        state.reserved += len;
        self.evict(state);
        let reservation = Reservation { backlog: Arc::clone(self), len };
        (self.bytes() <= self.limit).then_some(reservation)
    }

    /// Evicts the connections with the oldest payloads until the rest fits.
    fn evict(&self, mut state: MutexGuard<'_, State>) {
        let (bytes, mut evicted) = (state.bytes(), Vec::new());
        while state.bytes() > self.limit
            && let Some(entry) = state.take_oldest()
        {
            evicted.extend(entry.connections.into_values());
        }
        if evicted.is_empty() {
            return;
        }
        let suppressed = state.log_throttle.pass();
        if suppressed.is_none() {
            self.has_unlogged.store(true, Ordering::SeqCst);
        }
        drop(state);
        // Set first, so that a thread that the cut wakes finds the reason.
        for waiting in &evicted {
            waiting.is_evicted.store(true, Ordering::SeqCst);
        }
        self.evicted.fetch_add(evicted.len() as u64, Ordering::Relaxed);
        evicted
            .iter()
            .filter_map(|waiting| waiting.connection.upgrade())
            .for_each(|connection| connection.disconnect());
        if let Some(suppressed) = suppressed {
            log::warn!(
                "slow connections cut: {}; older maps that were not taken yet had {bytes} bytes, above the limit of {}; \
                 check why they do not read, or raise {}{}",
                evicted.len(),
                format_size(self.limit),
                self.limit_name,
                more(suppressed)
            );
        }
    }

    /// Logs the suppressed evictions when they are due, a second after the last line; at the end of a feed, all of them. To be
    /// called every few seconds by a thread that does not wait for peers.
    pub(crate) fn log_held(&self, is_end: bool) {
        if !self.has_unlogged.load(Ordering::SeqCst) {
            return;
        }
        let mut state = self.state.lock();
        let suppressed = state.log_throttle.release(is_end);
        self.has_unlogged.store(state.log_throttle.due().is_some(), Ordering::SeqCst);
        drop(state);
        if let Some(suppressed) = suppressed {
            log::warn!(
                "slow connections cut {suppressed} more times; check why they do not read, or raise {}",
                self.limit_name
            );
        }
    }
}

impl State {
    fn bytes(&self) -> usize {
        self.waiting + self.reserved
    }

    /// Removes and returns the oldest payload, unless it belongs to one of the two newest versions.
    fn take_oldest(&mut self) -> Option<Entry> {
        let newest = self.payloads.last_key_value()?.0.0;
        let second = self.payloads.range(..(newest, 0)).next_back()?.0.0;
        let oldest = self.payloads.first_entry().filter(|entry| entry.key().0 < second)?;
        let entry = oldest.remove();
        self.waiting -= entry.len;
        Some(entry)
    }
}

impl Pending {
    /// True if and only if the connection was evicted.
    pub(crate) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Ordering::SeqCst)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut state = self.backlog.state.lock();
        let State { payloads, waiting, .. } = &mut *state;
        // Already removed by an eviction; other connections may have entered with the same payload since.
        let Some(entry) = payloads.get_mut(&self.key) else { return };
        if entry.connections.remove(&self.id).is_some() && entry.connections.is_empty() {
            *waiting -= entry.len;
            payloads.remove(&self.key);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.backlog.state.lock().reserved -= self.len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Peer(AtomicBool);

    impl Disconnect for Peer {
        fn disconnect(&self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    impl Peer {
        fn is_cut(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// Returns a connection that waits with `len` bytes at `address`.
    fn wait(backlog: &Arc<Backlog>, version: u64, address: usize, len: usize) -> (Arc<Peer>, Pending) {
        let peer = Arc::new(Peer::default());
        let connection: Weak<dyn Disconnect> = Arc::downgrade(&peer) as _;
        (peer, backlog.enter(Payload { version, address, len }, connection))
    }

    #[test]
    fn a_payload_counts_once_while_a_connection_waits() {
        let backlog = Arc::new(Backlog::new(100));
        let first = wait(&backlog, 1, 1, 60);
        let second = wait(&backlog, 1, 1, 60);
        assert_eq!(backlog.bytes(), 60);
        drop(first);
        assert_eq!(backlog.bytes(), 60);
        drop(second);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn above_the_limit_the_oldest_are_evicted_until_the_rest_fits() {
        let backlog = Arc::new(Backlog::new(100));
        let oldest = [wait(&backlog, 1, 1, 40), wait(&backlog, 1, 1, 40)];
        let others: Vec<_> = (2..=3).map(|version| wait(&backlog, version, 1, 30)).collect();
        assert!(oldest.iter().all(|(peer, pending)| !peer.is_cut() && !pending.is_evicted()), "100 bytes fit");
        let newest = wait(&backlog, 4, 1, 30);
        assert!(oldest.iter().all(|(peer, pending)| peer.is_cut() && pending.is_evicted()));
        assert!(others.iter().chain([&newest]).all(|(peer, pending)| !peer.is_cut() && !pending.is_evicted()));
        assert_eq!((backlog.bytes(), backlog.evicted()), (90, 2));
        drop((oldest, others, newest));
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn a_suppressed_eviction_is_logged_later() {
        let backlog = Arc::new(Backlog::new(10));
        let waiting: Vec<_> = (1..=4).map(|version| wait(&backlog, version, 1, 4)).collect();
        assert_eq!((backlog.evicted(), backlog.has_unlogged.load(Ordering::SeqCst)), (2, true));
        backlog.log_held(false);
        assert!(backlog.state.lock().log_throttle.due().is_some(), "the period has not ended");
        backlog.log_held(true);
        assert!(backlog.state.lock().log_throttle.due().is_none() && !backlog.has_unlogged.load(Ordering::SeqCst));
        drop(waiting);
    }

    #[test]
    fn the_two_newest_versions_are_never_evicted() {
        let backlog = Arc::new(Backlog::new(100));
        let waiting: Vec<_> = (1..=3).map(|address| wait(&backlog, 8, address, 60)).collect();
        let newer: Vec<_> = (1..=3).map(|address| wait(&backlog, 9, address, 60)).collect();
        assert!(waiting.iter().chain(&newer).all(|(peer, _)| !peer.is_cut()));
        assert_eq!(backlog.bytes(), 360);
        let late = wait(&backlog, 3, 1, 1);
        assert!(late.0.is_cut() && late.1.is_evicted(), "a connection that starts to wait with an old version");
        let newest = wait(&backlog, 10, 1, 10);
        assert!(waiting.iter().all(|(peer, _)| peer.is_cut()) && newer.iter().all(|(peer, _)| !peer.is_cut()));
        drop(newest);
    }

    #[test]
    fn a_connection_that_waits_with_an_evicted_payload_counts() {
        let backlog = Arc::new(Backlog::new(10));
        let evicted = wait(&backlog, 1, 1, 8);
        let newer: Vec<_> = (2..=3).map(|version| wait(&backlog, version, 1, 2)).collect();
        assert!(evicted.0.is_cut());
        drop(newer);
        let again = wait(&backlog, 1, 1, 8);
        drop(evicted);
        assert_eq!(backlog.bytes(), 8, "the evicted connection's guard does not subtract it");
        drop(again);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn request_bodies_count_and_are_refused_above_the_limit() {
        let backlog = Arc::new(Backlog::new(100));
        let slow: Vec<_> = (1..=3).map(|version| wait(&backlog, version, 1, 30)).collect();
        let body = backlog.reserve(40).unwrap();
        assert!(slow[0].0.is_cut() && !slow[1].0.is_cut() && !slow[2].0.is_cut());
        assert!(backlog.reserve(1).is_none(), "the two newest versions stay");
        assert_eq!(backlog.bytes(), 100);
        drop(body);
        assert!(backlog.reserve(40).is_some());
    }
}
