//! The server's counters, and the guard that counts an active connection.

pub mod health;
pub(crate) mod histogram;

use std::sync::Arc;
use std::time::Duration;

use crate::stats::histogram::Histogram;
use crate::sync::{AtomicU64, Ordering};

/// The counters of a server since its creation. Each number is exact on its own; two reads are not atomic together.
#[derive(Debug, Default)]
pub struct Stats {
    active: AtomicU64,
    events: [AtomicU64; Counter::LEN],
    accept_errors: [AtomicU64; AcceptError::ALL.len()],
    closed: [AtomicU64; Closed::ALL.len()],
    times: Times,
}

/// A counter of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Rounds of the accept loop.
    Heartbeat,
    /// Connections that were given to their service.
    Served,
    /// Clients closed because the limit on connections was reached.
    Refused,
    /// Clients closed because the limit on connections of their address was reached.
    RefusedPerIp,
    /// Clients closed because their address is in no allowed network.
    Denied,
    /// Failures of `accept` for lack of descriptors or memory.
    FailedAccept,
    /// Clients closed because the system refused a thread.
    FailedSpawn,
    /// Panics of connections' threads.
    Panicked,
    /// Clients that did not accept a frame by its deadline.
    TimedOut,
    /// Clients cut at the end of the drain.
    Cut,
    /// Failed TLS handshakes.
    FailedHandshake,
}

impl Counter {
    /// The number of counters.
    const LEN: usize = Self::FailedHandshake as usize + 1;
}

/// The kinds of failures of `accept`, each with its label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptError {
    ProcessDescriptors,
    SystemDescriptors,
    Aborted,
    Other,
}

impl AcceptError {
    const ALL: [Self; 4] = [Self::ProcessDescriptors, Self::SystemDescriptors, Self::Aborted, Self::Other];

    fn label(self) -> &'static str {
        match self {
            Self::ProcessDescriptors => "EMFILE",
            Self::SystemDescriptors => "ENFILE",
            Self::Aborted => "ECONNABORTED",
            Self::Other => "other",
        }
    }
}

/// The reasons for the end of a connection, each with its label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    Client,
    Done,
    WriteTimeout,
    WriteError,
    Backlog,
    Flooded,
    Drain,
    Panic,
}

impl Closed {
    const ALL: [Self; 8] = [
        Self::Client,
        Self::Done,
        Self::WriteTimeout,
        Self::WriteError,
        Self::Backlog,
        Self::Flooded,
        Self::Drain,
        Self::Panic,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Client => "client_closed",
            Self::Done => "done",
            Self::WriteTimeout => "write_timeout",
            Self::WriteError => "write_error",
            Self::Backlog => "backlog",
            Self::Flooded => "flooded",
            Self::Drain => "drain",
            Self::Panic => "panic",
        }
    }
}

/// The histogram bounds of connections' durations: 1 s, 10 s, 30 s, 1 min, 5 min, 15 min, 1 h, 6 h, 1 day.
const LIFETIME_BOUNDS: &[Duration] = &[
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_hours(1),
    Duration::from_hours(6),
    Duration::from_hours(24),
];

/// The histogram bounds of writes that had to wait for their client: 1 ms to the default write time-out.
const WAIT_BOUNDS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
];

/// Durations of connections and of frames.
#[derive(Debug)]
struct Times {
    lasted: Histogram,
    /// Of frames that were not sent whole at once; shared with the connections.
    waits: Arc<Histogram>,
}

impl Default for Times {
    fn default() -> Self {
        Self { lasted: Histogram::new(LIFETIME_BOUNDS), waits: Arc::new(Histogram::new(WAIT_BOUNDS)) }
    }
}

impl Stats {
    /// Rounds of the accept loop. The number does not change while the loop hangs; see `ServerConfig::heartbeat`.
    pub fn heartbeats(&self) -> u64 {
        self.counted(Counter::Heartbeat)
    }

    /// Open connections.
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::SeqCst)
    }

    /// Connections served so far, including active ones. A connection counts before its first frame is sent and, with TLS,
    /// once it has completed the handshake.
    pub fn served(&self) -> u64 {
        self.counted(Counter::Served)
    }

    /// Clients closed at once because `max_connections` was reached.
    pub fn refused(&self) -> u64 {
        self.counted(Counter::Refused)
    }

    /// Clients closed at once because their address had `max_connections_per_ip` already.
    pub fn refused_per_ip(&self) -> u64 {
        self.counted(Counter::RefusedPerIp)
    }

    /// Clients closed at once because their address is not in `allow`.
    pub fn denied(&self) -> u64 {
        self.counted(Counter::Denied)
    }

    /// Failures of `accept` for lack of descriptors or memory.
    pub fn failed_accepts(&self) -> u64 {
        self.counted(Counter::FailedAccept)
    }

    /// Clients closed because the system refused a thread.
    pub fn failed_spawns(&self) -> u64 {
        self.counted(Counter::FailedSpawn)
    }

    /// Connections ended by a panic of their service.
    pub fn panics(&self) -> u64 {
        self.counted(Counter::Panicked)
    }

    /// Clients that did not accept a frame by its deadline.
    pub fn timed_out(&self) -> u64 {
        self.counted(Counter::TimedOut)
    }

    /// Clients cut at the end of the drain.
    pub fn cut(&self) -> u64 {
        self.counted(Counter::Cut)
    }

    /// Clients closed because their TLS handshake failed: no TLS, no certificate, a time-out.
    pub fn failed_handshakes(&self) -> u64 {
        self.counted(Counter::FailedHandshake)
    }

    /// Refused connections by reason.
    pub(crate) fn rejections(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let (limit, per_ip) = (("limit", self.refused()), ("per_ip", self.refused_per_ip()));
        [limit, per_ip, ("denied", self.denied()), ("tls", self.failed_handshakes())].into_iter()
    }

    /// Failures of `accept` by kind.
    pub(crate) fn accept_errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = AcceptError::ALL.into_iter().map(AcceptError::label);
        labels.zip(self.accept_errors.iter().map(|counter| counter.load(Ordering::Relaxed)))
    }

    /// Ended connections by reason.
    pub(crate) fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = Closed::ALL.into_iter().map(Closed::label);
        labels.zip(self.closed.iter().map(|counter| counter.load(Ordering::Relaxed)))
    }

    /// The durations of ended connections.
    pub(crate) fn durations(&self) -> &Histogram {
        &self.times.lasted
    }

    /// The durations of frames that were not sent whole at once.
    pub(crate) fn waits(&self) -> &Arc<Histogram> {
        &self.times.waits
    }

    /// Counts a failure of `accept`.
    pub(crate) fn count_accept_error(&self, error: AcceptError) {
        self.accept_errors[error as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a connection.
    pub(crate) fn count_closed(&self, closed: Closed) {
        self.closed[closed as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Records the duration of a connection.
    pub(crate) fn lasted(&self, duration: Duration) {
        self.times.lasted.observe(duration);
    }

    /// Counts one event.
    pub(crate) fn count(&self, event: Counter) {
        self.events[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn counted(&self, event: Counter) -> u64 {
        self.events[event as usize].load(Ordering::Relaxed)
    }

    /// Counts a connection as active until the returned guard is dropped, even by a panic.
    pub(crate) fn connect(self: &Arc<Self>) -> ConnectionGuard {
        let active_then = self.active.fetch_add(1, Ordering::SeqCst) + 1;
        ConnectionGuard { stats: Arc::clone(self), active_then, is_counted: true }
    }
}

/// Counts one active connection until dropped.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    stats: Arc<Stats>,
    active_then: u64,
    /// False once [`leave`](Self::leave) has subtracted the connection.
    is_counted: bool,
}

impl ConnectionGuard {
    /// Counts the connection as served too.
    pub(crate) fn serve(&self) {
        self.stats.count(Counter::Served);
    }

    /// The number of active connections when this one was added, including itself.
    pub(crate) fn active_then(&self) -> u64 {
        self.active_then
    }

    /// Subtracts the connection. Returns the number of active connections without it, at that moment.
    pub(crate) fn leave(mut self) -> u64 {
        self.is_counted = false;
        // One atomic step: with a separate read, two connections that end at once could both return the same number.
        self.stats.active.fetch_sub(1, Ordering::SeqCst) - 1
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if self.is_counted {
            self.stats.active.fetch_sub(1, Ordering::SeqCst);
        }
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
    fn ends_and_accept_failures_are_counted_by_label() {
        let stats = Stats::default();
        stats.count_closed(Closed::Panic);
        stats.count_accept_error(AcceptError::Other);
        assert_eq!(stats.closed().find(|(_, count)| *count == 1), Some(("panic", 1)));
        assert_eq!(stats.accept_errors().find(|(_, count)| *count == 1), Some(("other", 1)));
    }

    #[test]
    fn a_panic_subtracts_its_connection() {
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
