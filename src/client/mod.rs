//! The client: what a server sends, over one connection ([`Client`]) or over as many as it takes ([`Follower`]).
//!
//! Every wait here ends at once when the caller's [`Shutdown`] is triggered, from whatever thread, and at the deadline
//! that the caller has set. Deadlines are absolute: a byte that comes does not extend them.

mod connect;
mod exchange;
mod follow;
mod retry;
mod silence;
mod stream;

use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::debug;
use serde::de::DeserializeOwned;

use crate::format::{self, Format};
use crate::frame::{self, DEFAULT_MAX_FRAME, FrameReader};
use crate::map::Map;
use crate::shutdown::Shutdown;

use stream::{Ending, Stream};

#[cfg(feature = "redis")]
pub(crate) use connect::dial;
pub use exchange::{Input, echo, greet};
pub use follow::{Event, FollowConfig, Follower};
#[cfg(feature = "redis")]
pub(crate) use retry::Backoff;
pub(crate) use retry::random_fraction;

/// How long one address may take to answer, unless told otherwise: 2 s, as the clients of NATS and redis wait. A local
/// network answers within a millisecond; one lost SYN is repeated after one second.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How a connection is made and read. Write `ClientConfig { format, ..ClientConfig::default() }`.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// How the server writes its payloads. Default: bincode.
    pub format: Format,
    /// The largest payload in bytes that is read. Default: 1 MiB.
    pub max_frame: usize,
    /// How long each address of the server's name may take to answer. Default: 2 s.
    pub connect_timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { format: Format::default(), max_frame: DEFAULT_MAX_FRAME, connect_timeout: DEFAULT_CONNECT_TIMEOUT }
    }
}

/// Why the client has no map to give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// None of the server's addresses answered. Start the server, or name another one.
    #[error("cannot connect to {address} (is the server running there?)")]
    Connect {
        /// The address as the caller gave it.
        address: String,
        /// What the last address tried said.
        source: io::Error,
    },
    /// What came is no frame, or was cut. See [`frame::Error`] for whose fault that is.
    #[error(transparent)]
    Frame(#[from] frame::Error),
    /// The payload is not in the format that was expected.
    #[error(transparent)]
    Format(#[from] format::Error),
    /// The connection says nothing any more.
    #[error("no frame for {after:?}: stale")]
    Stale {
        /// The silence that was allowed.
        after: Duration,
    },
    /// The connection failed, outside of any frame.
    #[error("the connection failed")]
    Connection(#[source] io::Error),
    /// The server closed before it had sent back all that it was sent.
    #[error("the server closed after {received} of {sent} bytes had come back; is it an echo server?")]
    NotEchoed {
        /// Bytes that it was sent.
        sent: u64,
        /// Bytes that it sent back.
        received: u64,
    },
    /// The caller's input cannot be read.
    #[error("cannot read the input")]
    Input(#[source] io::Error),
    /// The caller's output cannot be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The caller's deadline has passed.
    #[error("the time that was given is over")]
    TimedOut,
    /// The caller's [`Shutdown`] was triggered.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// True if and only if another connection may do better. A bad header, too large a frame or another format would
    /// only come again.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Connection(_)
                | Self::Stale { .. }
                | Self::Frame(frame::Error::Truncated { .. } | frame::Error::Io(_))
        )
    }
}

/// One connection to a server, read map by map.
///
/// ```no_run
/// use mapcast::Shutdown;
/// use mapcast::client::{Client, ClientConfig};
///
/// let shutdown = Shutdown::new()?;
/// let mut client = Client::connect("127.0.0.1:8080", &ClientConfig::default(), &shutdown)?;
/// while let Some(map) = client.next_map()? {
///     println!("{map:?}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    /// Buffered, so that header and payload cost one read.
    frames: FrameReader<BufReader<Stream>>,
    format: Format,
}

impl Client {
    /// Connects to `address`, which is `HOST:PORT`; every address that the name has is tried in turn. `shutdown` ends
    /// this call and every later one. The look-up of a name alone cannot be ended.
    ///
    /// # Errors
    /// `Connect` if no address answers; `Stopped`.
    pub fn connect(address: &str, config: &ClientConfig, shutdown: &Shutdown) -> Result<Self, Error> {
        Self::connect_by(address, config, &Ending { shutdown: shutdown.clone(), deadline: None })
    }

    fn connect_by(address: &str, config: &ClientConfig, ending: &Ending) -> Result<Self, Error> {
        let stream = connect::connect(address, config.connect_timeout, ending)?;
        let frames = FrameReader::new(BufReader::new(stream), config.max_frame);
        Ok(Self { frames, format: config.format })
    }

    /// The server's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.stream().peer()
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream().local()
    }

    /// Sets the instant at which every later call ends with `TimedOut`, whatever has come by then; `None`, which is how
    /// it begins, never comes. After `TimedOut` nothing is lost: set another deadline and repeat the call.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.frames.inner_mut().get_mut().set_deadline(deadline);
    }

    /// Waits for the next map and returns it. Returns `Ok(None)` if and only if the server closed the connection
    /// between two frames.
    ///
    /// # Errors
    /// `Frame` and `Format`, after which the connection is of no more use; `TimedOut` and `Stopped`.
    pub fn next_map(&mut self) -> Result<Option<Map>, Error> {
        let payload = self.next_payload()?;
        Ok(payload.map(|payload| self.format.decode_map(&payload)).transpose()?)
    }

    /// As [`next_map`](Self::next_map), for a server that publishes another serde type than a map.
    ///
    /// # Errors
    /// As [`next_map`](Self::next_map).
    pub fn next_typed<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let payload = self.next_payload()?;
        Ok(payload.map(|payload| self.format.decode(&payload)).transpose()?)
    }

    /// As [`next_map`](Self::next_map), but returns the payload as it came, undecoded and never empty.
    ///
    /// # Errors
    /// As [`next_map`](Self::next_map), without `Format`.
    pub fn next_payload(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.next_frame()? {
                // "Nothing changed."
                Some(payload) if payload.is_empty() => debug!("an empty frame from {}", self.peer_addr()),
                payload => return Ok(payload),
            }
        }
    }

    /// As [`next_payload`](Self::next_payload), the empty ones included: they too are a sign of life.
    fn next_frame(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.frames.read_frame().map_err(|error| match error {
            frame::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream().ending().reason(),
            error => Error::Frame(error),
        })
    }

    fn stream(&self) -> &Stream {
        self.frames.inner().get_ref()
    }
}

#[cfg(test)]
mod tests;
