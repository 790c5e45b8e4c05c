//! How connections are made and read.

use std::sync::Arc;
use std::time::Duration;

use crate::format::Format;
use crate::frame::DEFAULT_MAX_FRAME;
use crate::tls;

/// How long a name's lookup, and then one address, may take, unless told otherwise: 2 s, as the clients of NATS and redis wait. A local
/// network answers within a millisecond; one lost SYN is repeated after one second.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How a connection is made and read. Write `ClientConfig { format, ..ClientConfig::default() }`.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// How the server writes its payloads. Default: bincode.
    pub format: Format,
    /// The largest payload in bytes that is read. Default: 1 MiB.
    pub max_frame: usize,
    /// How long the lookup of the server's name may take, and then each of its addresses to answer. Default: 2 s.
    pub connect_timeout: Duration,
    /// Encrypts the connection, if it is there. Default: none. Wants the feature `tls`.
    pub tls: Option<Arc<tls::Connector>>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            format: Format::default(),
            max_frame: DEFAULT_MAX_FRAME,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            tls: None,
        }
    }
}
