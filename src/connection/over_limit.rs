//! Connections that exceed a limit and have a place of the reserve: enough for one short answer.

use std::time::Duration;

/// How long each step of a connection on the reserve may take: the TLS handshake, the request, the answer. 2 s: twice the
/// default of a Kubernetes probe (`timeoutSeconds: 1`), so that a place is free again soon whatever its peer does.
pub const RESERVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The limit that a connection on the reserve exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverLimit {
    /// The server has `max_connections`.
    Connections,
    /// The peer's address has `max_connections_per_ip`.
    PerAddress,
}
