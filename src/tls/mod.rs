//! TLS: certificates from files, handshakes of servers and clients, and sessions over non-blocking sockets. rustls implements
//! the protocol, with ring or aws-lc.

mod acceptor;
#[cfg(test)]
#[path = "../../tests/integration/support/authority.rs"]
mod authority;
mod connector;
mod failure;
mod file_reader;
mod files;
mod handshake_limiter;
mod inspection;
mod kept;
mod parts;
mod provider;
mod read_count;
mod session;
#[doc(hidden)]
pub mod testing;
mod time;

use std::time::Duration;

pub use acceptor::{Acceptor, ServerTls};
pub use connector::{ClientTls, Connector};
pub(crate) use failure::causes::in_server_session;
pub use failure::{CertificateFault, End, HandshakeError, Incompatibility, LocalFault, Refusal, Violation};
pub use files::{Error, Identity};
pub(crate) use read_count::ReadCount;
pub(crate) use session::Session;

/// The default deadline for a whole handshake: 10 s. It needs two round trips and some milliseconds.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
