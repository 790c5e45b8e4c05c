//! The interface through which a service reads and shows the state of a server's clients.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use crate::stats::Stats;

/// The state of a server's clients, for a service that shows it. The server implements this trait and does not depend on
/// its users.
pub trait ServerMonitor: fmt::Debug + Send + Sync {
    /// The counters.
    fn stats(&self) -> &Stats;

    /// The maximum number of clients at once.
    fn max_connections(&self) -> u64;

    /// When the server's certificate expires; `None` without TLS, or if the certificate does not say.
    fn certificate_end(&self) -> Option<SystemTime>;

    /// Returns a snapshot of all connections, with records of the `newest` ones. Costs some 100 ns per client, blocks on no
    /// client and holds a lock only to copy a list. Meant for once a second, not a thousand times.
    fn snapshot(&self, newest: usize) -> ConnectionsSnapshot;
}

/// A snapshot of all connections.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConnectionsSnapshot {
    /// Frames sent whole since the start, closed connections included. This and the counts up to `skipped` never decrease.
    pub frames: u64,
    /// The first frames of their connections.
    pub firsts: u64,
    /// Frames with the same version as the one before.
    pub repeats: u64,
    /// Frames with a new version.
    pub changes: u64,
    /// Frames sent whole at once, without waiting for the client.
    pub prompt: u64,
    /// Bytes sent since the start.
    pub bytes: u64,
    /// Changes that were skipped because a client was slow and got a newer one.
    pub skipped: u64,
    /// Clients with a frame in flight for over a second.
    pub slow: u64,
    /// Clients connected.
    pub total: u64,
    /// The records of the newest clients, newest first.
    pub newest: Vec<ClientRecord>,
}

/// The record of one connected client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientRecord {
    /// Its number, as in the log.
    pub id: u64,
    /// Its address.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub since: Instant,
    /// Frames sent to it whole.
    pub frames: u64,
    /// Bytes sent to it.
    pub bytes: u64,
    /// Changes that were skipped because it was slow.
    pub skipped: u64,
    /// True if and only if a frame has been in flight to it for over a second.
    pub is_slow: bool,
}

impl ClientRecord {
    /// Returns the record of a client that was accepted at `since` and has been sent nothing.
    pub fn new(id: u64, peer: SocketAddr, since: Instant) -> Self {
        Self { id, peer, since, frames: 0, bytes: 0, skipped: 0, is_slow: false }
    }
}
