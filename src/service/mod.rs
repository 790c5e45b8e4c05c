//! What is done for a client: the map, an echo, a greeting.

mod cast;
mod echo;
mod greet;
mod monitor;

use std::{fmt, io};

use crate::connection::{Connection, Error};
use crate::shutdown::Shutdown;

pub use cast::Cast;
pub use echo::Echo;
pub use greet::Greet;
pub use monitor::{ClientRecord, ConnectionsSnapshot, ServerMonitor};

/// How a connection came to its end in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client has ended its side.
    Client,
    /// The service has done what it does.
    Done,
    /// The server stops.
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

/// How far the first request of a connection has come, the least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FirstRequest {
    /// More has to come before the service can answer.
    Incomplete,
    /// The service can answer now.
    Whole,
    /// As `Whole`, and the request asks how the server is: it is answered before the others.
    HealthCheck,
}

/// What a server does for each client, on that client's own thread.
///
/// A panic in it ends that connection alone.
pub trait Service: fmt::Debug + Send + Sync + 'static {
    /// Called before the first client, once for each listener: the place for threads of the service's own. Does nothing
    /// unless implemented.
    ///
    /// # Errors
    /// What the service cannot begin without; the server then does not begin either.
    fn start(&self) -> io::Result<()> {
        Ok(())
    }

    /// Serves one client until it leaves, the work is done, or `stop` is requested: then what is in flight is
    /// finished, nothing new begun. Must not wait for anything that neither the connection nor `stop` can end.
    ///
    /// # Errors
    /// What the connection failed with; it is then closed without ceremony.
    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error>;

    /// Returns how far the first request has come in `received`, the first bytes of a connection, 16 KiB at most. The server
    /// calls this on its accept loop, several times a connection, and only for connections above a limit that wait for a
    /// [reserved place](crate::ServerConfig::reserved_connections): one gets it with a whole request alone, so that a silent
    /// peer takes none. Not called where the connections are encrypted. Any byte is a whole request unless implemented.
    fn first_request(&self, received: &[u8]) -> FirstRequest {
        if received.is_empty() { FirstRequest::Incomplete } else { FirstRequest::Whole }
    }

    /// What it does, for the log: `the map as bincode every 5s`.
    fn describe(&self) -> String;

    /// What it has sent over `connection`, for the log: `4 frames`.
    fn sent(&self, connection: &Connection) -> String {
        counted(connection.bytes(), "byte")
    }
}

/// `1 frame`, `4 frames`.
pub(crate) fn counted(count: u64, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}
