//! What a server tells of its clients, for a service that shows them.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use crate::stats::Stats;

/// What a server tells of its clients. The server implements it, and knows nothing of who asks.
pub trait ServerMonitor: fmt::Debug + Send + Sync {
    /// The counters.
    fn stats(&self) -> &Stats;

    /// The most clients at once.
    fn max_connections(&self) -> u64;

    /// When the certificate that they are shown runs out; `None` without TLS, or if it does not say.
    fn certificate_end(&self) -> Option<SystemTime>;

    /// Looks at every client, and tells of the `newest` ones by name. Costs some 100 ns a client, waits for nobody
    /// and holds no lock but for the copy of a list: once a second, not a thousand times.
    fn snapshot(&self, newest: usize) -> ConnectionsSnapshot;
}

/// What was seen in one look at all clients.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConnectionsSnapshot {
    /// Frames sent whole since the start, to those who have left too. This and the numbers up to `skipped` never fall.
    pub frames: u64,
    /// Those among them that were their client's first.
    pub firsts: u64,
    /// Those that were the same as the one before.
    pub repeats: u64,
    /// Those that were a change.
    pub changes: u64,
    /// Those that went whole at once: nobody had to wait for their client.
    pub prompt: u64,
    /// Bytes sent since the start.
    pub bytes: u64,
    /// Changes that a client did not get, because it was slow and got a newer one.
    pub skipped: u64,
    /// Clients with a frame under way for over a second.
    pub slow: u64,
    /// Clients connected.
    pub total: u64,
    /// The newest of them, newest first.
    pub newest: Vec<ClientRecord>,
}

/// One client that is connected.
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
    /// Changes that it did not get, because it was slow.
    pub skipped: u64,
    /// True if and only if a frame has been under way to it for over a second.
    pub is_slow: bool,
}

impl ClientRecord {
    /// Returns the record of a client that was accepted then and has been sent nothing.
    pub fn new(id: u64, peer: SocketAddr, since: Instant) -> Self {
        Self { id, peer, since, frames: 0, bytes: 0, skipped: 0, is_slow: false }
    }
}
