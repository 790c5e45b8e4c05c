//! Connections above a limit, which use the server's reserve for one short answer.

use std::time::Duration;

/// The time limit of each step of a connection on the reserve (TLS handshake, request, answer): 2 s, twice the default of a
/// Kubernetes probe (`timeoutSeconds: 1`), so that its permit is soon free again whatever the peer does.
pub const RESERVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The limit that a connection on the reserve exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverLimit {
    /// The server already has `max_connections`.
    Connections,
    /// The peer's address already has `max_connections_per_ip`.
    PerAddress,
}
