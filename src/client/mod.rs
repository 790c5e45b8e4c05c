//! The client: what a server sends, over one connection ([`Client`]) or over as many as it takes ([`Follower`]).
//!
//! Every wait here ends at once when the caller's [`Shutdown`] is triggered, from whatever thread, and at the deadline
//! that the caller has set. Deadlines are absolute: a byte that comes does not extend them.

pub mod address;
mod connect;
mod echo;
mod follow;
mod idle_timeout;
mod interval;
mod observer;
mod resolver;
mod retry;
mod stream;

use std::io::{self, BufReader};
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;
use serde::de::DeserializeOwned;

use crate::format::{self, Format};
use crate::frame::{self, DEFAULT_MAX_FRAME, FrameReader};
use crate::map::Map;
use crate::shutdown::Shutdown;
use crate::tls;

#[cfg(not(feature = "redis"))]
use resolver::Resolver;
use stream::{Cancellation, SpeaksTls, Stream};

#[cfg(feature = "redis")]
pub(crate) use connect::dial;
pub use echo::{Input, echo, greet};
pub use follow::{Event, FollowConfig, Follower};
pub use observer::Connectivity;
#[cfg(feature = "redis")]
pub(crate) use resolver::Resolver;
#[cfg(feature = "redis")]
pub(crate) use retry::Backoff;
pub(crate) use retry::random_fraction;

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
    /// The server answers, and there is no TLS with it.
    #[error("no TLS connection")]
    Tls(#[source] tls::HandshakeError),
    /// The server speaks TLS, and this client was not told to.
    #[error("the server speaks TLS, and the client does not")]
    PlainToTls,
    /// What came is no frame, or was cut. See [`frame::Error`] for whose fault that is.
    #[error(transparent)]
    Frame(#[from] frame::Error),
    /// The server closed inside its first header, and no connection of this [`Follower`] has ever given a frame: what is
    /// there speaks another protocol, whose greeting is short. A [`Client`], which knows one connection alone, calls it
    /// [`Truncated`](frame::Error::Truncated).
    #[error(
        "not a frame header: \"{}\" (closed after {} of {} bytes); does the peer send 10-byte headers?",
        bytes.escape_ascii(), bytes.len(), frame::HEADER_LEN
    )]
    NoHeader {
        /// All that came: one to nine bytes.
        bytes: Vec<u8>,
    },
    /// The payload is not in the format that was expected.
    #[error(transparent)]
    Format(#[from] format::Error),
    /// The connection says nothing any more.
    #[error("no frame for {:?}: stale", rounded(*after))]
    Stale {
        /// The silence that was allowed.
        after: Duration,
    },
    /// The connection has brought no byte. Either the server has no map yet, or it hangs.
    #[error("no map within {after:?} of connecting: the server has none yet, or it hangs")]
    Unanswered {
        /// The time that was allowed.
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

/// Returns `time` in whole tenths of a second, for people; below a second it stays as it is.
fn rounded(time: Duration) -> Duration {
    let tenths = u64::try_from(time.as_millis() / 100).unwrap_or(u64::MAX);
    if time.as_secs() == 0 { time } else { Duration::from_millis(tenths.saturating_mul(100)) }
}

impl Error {
    /// True if and only if another connection may do better. A bad header, too large a frame or another format would
    /// only come again.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Tls(_)
                | Self::Connection(_)
                | Self::Stale { .. }
                | Self::Unanswered { .. }
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
/// for map in client.maps() {
///     println!("{:?}", map?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    /// Buffered, so that header and payload cost one read.
    frames: FrameReader<BufReader<Stream>>,
    format: Format,
    /// Tells what a refusal means.
    tls: Option<Arc<tls::Connector>>,
}

impl Client {
    /// Connects to `address`, which is `HOST:PORT`; every address that the name has is tried in turn. `shutdown` ends
    /// this call and every later one. A lookup that does not end in time goes on in a thread of its own until the system
    /// gives it up: a loop of calls for a name that no server answers for has one for each. A [`Follower`] has one.
    ///
    /// # Errors
    /// `Connect` if no address answers; `Tls` if the one that does is not who it should be, or does not want this client;
    /// `Stopped`.
    pub fn connect(address: &str, config: &ClientConfig, shutdown: &Shutdown) -> Result<Self, Error> {
        let cancellation = Cancellation { shutdown: shutdown.clone(), deadline: None };
        let client = Self::connect_by(address, config, &Resolver::new(), &cancellation)?;
        debug!("connected to {} from {}", client.peer_addr(), client.local_addr());
        Ok(client)
    }

    fn connect_by(
        address: &str,
        config: &ClientConfig,
        resolver: &Resolver,
        cancellation: &Cancellation,
    ) -> Result<Self, Error> {
        let stream = connect::connect(address, config, resolver, cancellation)?;
        let frames = FrameReader::new(BufReader::new(stream), config.max_frame);
        Ok(Self { frames, format: config.format, tls: config.tls.clone() })
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
    /// `Frame` and `Format`, after which the connection is of no more use; `Tls` if the server does not want this client,
    /// and `PlainToTls`; `TimedOut` and `Stopped`.
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

    /// Iterates over the maps as [`next_map`](Self::next_map) returns them, until it returns `Ok(None)`. After an error it
    /// goes on with whatever the next call would say: leave the loop there.
    pub fn maps(&mut self) -> impl Iterator<Item = Result<Map, Error>> {
        iter::from_fn(|| self.next_map().transpose())
    }

    /// As [`maps`](Self::maps), for a server that publishes another serde type than a map, or for a program that wants the
    /// map's entries as the fields of a struct.
    pub fn typed_maps<T: DeserializeOwned>(&mut self) -> impl Iterator<Item = Result<T, Error>> {
        iter::from_fn(|| self.next_typed().transpose())
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
            frame::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stream().cancellation().reason()
            }
            frame::Error::Io(error) => {
                refusal(error, self.tls.as_deref()).unwrap_or_else(|error| Error::Frame(frame::Error::Io(error)))
            }
            error => Error::Frame(error),
        })
    }

    /// What has come of the header that is being read.
    fn header_so_far(&self) -> &[u8] {
        self.frames.header_so_far()
    }

    /// True if and only if a byte has come over it.
    fn has_heard(&self) -> bool {
        self.stream().has_heard()
    }

    /// True if and only if the last byte of the last frame was not there when it was asked for. Asked once a frame.
    fn has_waited(&mut self) -> bool {
        self.frames.inner_mut().get_mut().take_waited()
    }

    fn stream(&self) -> &Stream {
        self.frames.inner().get_ref()
    }
}

/// Returns what a connection that was just read failed with, if that is about TLS; the error itself otherwise.
fn refusal(error: io::Error, tls: Option<&tls::Connector>) -> Result<Error, io::Error> {
    if error.get_ref().and_then(|inner| inner.downcast_ref::<SpeaksTls>()).is_some() {
        return Ok(Error::PlainToTls);
    }
    match tls {
        Some(tls) => tls.refusal(error).map(Error::Tls),
        None => Err(error),
    }
}

#[cfg(test)]
mod tests;
