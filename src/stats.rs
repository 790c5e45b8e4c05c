//! Counters, and the guard that counts a connection while it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What has happened since the server was made. Each number is right by itself; two read one after the other may be a
/// moment apart.
#[derive(Debug, Default)]
pub struct Stats {
    heartbeats: AtomicU64,
    active: AtomicU64,
    served: AtomicU64,
    refused: AtomicU64,
    failed_accepts: AtomicU64,
    failed_spawns: AtomicU64,
    panics: AtomicU64,
    timed_out: AtomicU64,
    cut: AtomicU64,
}

/// An event that is only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The accept loop has come round.
    Heartbeat,
    /// A client was closed because the limit on connections was reached.
    Refused,
    /// `accept` failed for lack of descriptors or memory.
    FailedAccept,
    /// A client was closed because the system gave no thread for it.
    FailedSpawn,
    /// A connection's thread panicked.
    Panicked,
    /// A client did not take a frame by its deadline.
    TimedOut,
    /// A client was cut at the end of the drain.
    Cut,
}

impl Stats {
    /// Times that the accept loop has come round. A loop that hangs stands still; see `ServerConfig::heartbeat`.
    pub fn heartbeats(&self) -> u64 {
        self.heartbeats.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::SeqCst)
    }

    /// Connections that were given a thread so far, the active ones among them.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Clients closed at once because `max_connections` was reached.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Times that `accept` failed for lack of descriptors or memory.
    pub fn failed_accepts(&self) -> u64 {
        self.failed_accepts.load(Ordering::Relaxed)
    }

    /// Clients closed because the system gave no thread for them.
    pub fn failed_spawns(&self) -> u64 {
        self.failed_spawns.load(Ordering::Relaxed)
    }

    /// Connections ended by a panic of their service.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Clients that did not take a frame by its deadline.
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Clients cut at the end of the drain.
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Counts one event.
    pub(crate) fn count(&self, event: Event) {
        let counter = match event {
            Event::Heartbeat => &self.heartbeats,
            Event::Refused => &self.refused,
            Event::FailedAccept => &self.failed_accepts,
            Event::FailedSpawn => &self.failed_spawns,
            Event::Panicked => &self.panics,
            Event::TimedOut => &self.timed_out,
            Event::Cut => &self.cut,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as active until the guard is dropped, however its thread ends.
    pub(crate) fn connect(self: &Arc<Self>) -> ConnectionGuard {
        let active_then = self.active.fetch_add(1, Ordering::SeqCst) + 1;
        ConnectionGuard { stats: Arc::clone(self), active_then }
    }
}

/// One active connection.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    stats: Arc<Stats>,
    active_then: u64,
}

impl ConnectionGuard {
    /// Counts the connection as served as well: it has its thread.
    pub(crate) fn serve(&self) {
        self.stats.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were active when this one had become so, itself counted.
    pub(crate) fn active_then(&self) -> u64 {
        self.active_then
    }

    /// Counts the connection off. Returns how many are active without it.
    pub(crate) fn leave(self) -> u64 {
        let stats = Arc::clone(&self.stats);
        drop(self);
        stats.active()
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.stats.active.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_active_until_its_guard_is_dropped() {
        let stats = Arc::new(Stats::default());
        let (first, second) = (stats.connect(), stats.connect());
        first.serve();
        assert_eq!((first.active_then(), second.active_then(), stats.served()), (1, 2, 1));
        assert_eq!(first.leave(), 1);
        assert_eq!((stats.active(), stats.served()), (1, 1));
        drop(second);
        assert_eq!(stats.active(), 0);
    }

    #[test]
    fn a_panic_counts_its_connection_off() {
        let stats = Arc::new(Stats::default());
        let guard = stats.connect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _guard = guard;
            panic!("as a service may");
        }));
        assert!(outcome.is_err());
        assert_eq!(stats.active(), 0);
    }
}
