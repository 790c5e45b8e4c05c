//! How connections are made and read.

use std::sync::Arc;
use std::time::Duration;

use crate::format::Format;
use crate::frame::DEFAULT_MAX_FRAME;
use crate::tls;

/// The default limit for resolving a name, and then for connecting to each address: 2 s, as in the clients of NATS and
/// Redis. A local network answers within a millisecond; one lost SYN is repeated after one second.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How a connection is made and read. Write `ClientConfig { max_frame, ..ClientConfig::default() }`.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The format of the server's payloads. Default: `None`, the first payload of each connection shows it
    /// ([`Format::detect`]). Name the format of a server that publishes another type than a map in bincode.
    pub format: Option<Format>,
    /// The largest payload to accept, in bytes. Default: 1 MiB.
    pub max_frame: usize,
    /// The limit for resolving the server's name, and then for each of its addresses to answer. Default: 2 s.
    pub connect_timeout: Duration,
    /// Encrypts the connection. Default: `None`. Needs the feature `tls`.
    pub tls: Option<Arc<tls::Connector>>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { format: None, max_frame: DEFAULT_MAX_FRAME, connect_timeout: DEFAULT_CONNECT_TIMEOUT, tls: None }
    }
}
