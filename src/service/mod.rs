//! Services: what a server does for each client (map, echo, greeting, HTTP).

mod cast;
mod echo;
mod greet;
mod monitor;

use std::{fmt, io};

use crate::connection::{Connection, Error};
use crate::frame::Frame;
use crate::shutdown::Shutdown;

pub use cast::{Cast, SendMode};
pub use echo::Echo;
pub use greet::Greet;
pub use monitor::{ClientRecord, ConnectionsSnapshot, ServerMonitor};

/// Why a connection was closed gracefully.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client has shut down its sending side.
    Client,
    /// The service has finished.
    Done,
    /// The server is stopping.
    Stopping,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "closed by the client",
            Self::Done => "done",
            Self::Stopping => "the server stops",
        })
    }
}

/// The state of a connection's first request, least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FirstRequest {
    /// The service cannot answer yet: more bytes must arrive.
    Incomplete,
    /// The request is complete.
    Whole,
    /// The request is complete and a health check: it is answered before the others.
    HealthCheck,
}

/// What a server does for each client, on that client's own thread.
///
/// A panic in a service ends only its own connection.
pub trait Service: fmt::Debug + Send + Sync + 'static {
    /// Starts the service, for example its own threads. Called once per listener, before the first client. The default does
    /// nothing.
    ///
    /// # Errors
    /// Why the service cannot start; the server then does not start either.
    fn start(&self) -> io::Result<()> {
        Ok(())
    }

    /// Returns the first frame of a new connection and its version, at least 1, if the accept loop is to send it before the
    /// connection's thread runs. Such a connection is served, and counts as served, in any case; [`serve`](Self::serve) finds
    /// the frame sent, or a part of it in flight. Called on the accept loop, so it must not block. Not called with TLS, nor
    /// for a connection above a limit. By default `None`.
    fn first_frame(&self) -> Option<(Frame, u64)> {
        None
    }

    /// Serves one client until it disconnects, the work is done, or `stop` is requested: then finishes what is in flight and
    /// starts nothing new. Must not wait for anything that neither the connection nor `stop` can end.
    ///
    /// # Errors
    /// The connection's failure; the connection is then reset.
    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error>;

    /// Returns the state of the first request in `received`, the first bytes of a connection, 16 KiB at most. The accept loop
    /// calls this several times per connection, only for connections above a limit that wait for one of the
    /// [`reserved_connections`](crate::ServerConfig::reserved_connections). Such a connection is served only with a complete
    /// request, so that a silent peer uses no reserve. Not called with TLS. By default any byte is a complete request.
    fn first_request(&self, received: &[u8]) -> FirstRequest {
        if received.is_empty() { FirstRequest::Incomplete } else { FirstRequest::Whole }
    }

    /// A description for the log: `the map as bincode every 5s`.
    fn describe(&self) -> String;

    /// The amount sent over `connection`, for the log: `4 frames`.
    fn sent(&self, connection: &Connection) -> String {
        counted(connection.bytes(), "byte")
    }
}

/// `1 frame`, `4 frames`.
pub(crate) fn counted(count: u64, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}
