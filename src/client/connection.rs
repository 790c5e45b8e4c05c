//! One connection to a server.

use std::io::{self, BufReader};
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use log::debug;
use serde::de::DeserializeOwned;

use super::config::ClientConfig;
use super::connect;
use super::decode::decode;
use super::error::Error;
use super::resolver::Resolver;
use super::socket::{Cancellation, ClientSocket, TlsAlert};
use crate::format::Format;
use crate::frame::{self, FrameReader};
use crate::map::Map;
use crate::shutdown::Shutdown;
use crate::tls;

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
    frames: FrameReader<BufReader<ClientSocket>>,
    /// As configured, or as the first payload has shown it.
    format: Option<Format>,
    /// Explains TLS errors of a read.
    tls: Option<Arc<tls::Connector>>,
}

impl Client {
    /// Connects to `address`, which is `HOST:PORT`; tries every address of the name in turn. `shutdown` ends this call
    /// and every later one. A lookup that exceeds its time limit continues in a thread of its own until the system
    /// gives up: repeated calls for a name without an answering name server take one thread each. A
    /// [`Follower`](super::Follower) takes one in total.
    ///
    /// # Errors
    /// `Connect` if no address answers; `Tls` if the server's certificate is not accepted or it rejects this client;
    /// `Stopped`.
    pub fn connect(address: &str, config: &ClientConfig, shutdown: &Shutdown) -> Result<Self, Error> {
        let cancellation = Cancellation { shutdown: shutdown.clone(), deadline: None };
        let client = Self::connect_by(address, config, &Resolver::new(), &cancellation)?;
        debug!("connected to {} from {}", client.peer_addr(), client.local_addr());
        Ok(client)
    }

    pub(super) fn connect_by(
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

    /// The local address.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream().local()
    }

    /// The format of the payloads: the configured one, or the one that the first payload has shown; `None` before.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Sets the instant at which every later call ends with `TimedOut`, whatever has been received by then; the
    /// default, `None`, never comes. After `TimedOut` nothing is lost: set another deadline and repeat the call.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.frames.inner_mut().get_mut().set_deadline(deadline);
    }

    /// Waits for the next map and returns it. Returns `Ok(None)` if and only if the server closed the connection
    /// between two frames.
    ///
    /// # Errors
    /// `Frame`, `Format`, `OtherFormat` and `UnknownFormat`, after which the connection is unusable; `Tls` if the server rejects this client, and
    /// `PlainToTls`; `TimedOut` and `Stopped`.
    pub fn next_map(&mut self) -> Result<Option<Map>, Error> {
        let payload = self.next_payload()?;
        payload.map(|payload| decode(&payload, self.format, Format::decode_map)).transpose()
    }

    /// As [`next_map`](Self::next_map), for a server that publishes another serde type than a map.
    ///
    /// # Errors
    /// As [`next_map`](Self::next_map).
    pub fn next_typed<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let payload = self.next_payload()?;
        payload.map(|payload| decode(&payload, self.format, Format::decode)).transpose()
    }

    /// Iterates over the maps as [`next_map`](Self::next_map) returns them, until it returns `Ok(None)`. After an
    /// error it yields the result of the next call: leave the loop there.
    pub fn maps(&mut self) -> impl Iterator<Item = Result<Map, Error>> {
        iter::from_fn(|| self.next_map().transpose())
    }

    /// As [`maps`](Self::maps), for a server that publishes another serde type than a map, or to read the map's
    /// entries into the fields of a struct.
    pub fn typed_maps<T: DeserializeOwned>(&mut self) -> impl Iterator<Item = Result<T, Error>> {
        iter::from_fn(|| self.next_typed().transpose())
    }

    /// As [`next_map`](Self::next_map), but returns the payload as received, not decoded and never empty.
    ///
    /// # Errors
    /// As [`next_map`](Self::next_map), without the three of the format.
    pub fn next_payload(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.next_frame()? {
                // An empty payload means "nothing changed".
                Some(payload) if payload.is_empty() => debug!("received an empty frame from {}", self.peer_addr()),
                payload => return Ok(payload),
            }
        }
    }

    /// As [`next_payload`](Self::next_payload), including empty payloads: they prove that the server is alive.
    pub(super) fn next_frame(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let frame = self.frames.read_frame().map_err(|error| match error {
            frame::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stream().cancellation().reason()
            }
            frame::Error::Io(error) => {
                refusal(error, self.tls.as_deref()).unwrap_or_else(|error| Error::Frame(frame::Error::Io(error)))
            }
            error => Error::Frame(error),
        })?;
        self.format = self.format.or_else(|| frame.as_deref().and_then(Format::detect));
        Ok(frame)
    }

    /// The received part of the current header.
    pub(super) fn header_so_far(&self) -> &[u8] {
        self.frames.header_so_far()
    }

    /// True if and only if a byte has been received.
    pub(super) fn has_received(&self) -> bool {
        self.stream().has_received()
    }

    /// True if and only if the reader had to wait for the last byte of the last frame. Call it once per frame.
    pub(super) fn had_to_wait(&mut self) -> bool {
        self.frames.inner_mut().get_mut().take_waited()
    }

    fn stream(&self) -> &ClientSocket {
        self.frames.inner().get_ref()
    }
}

/// Converts the error of a read: returns its meaning if it concerns TLS, otherwise the error itself.
pub(super) fn refusal(error: io::Error, tls: Option<&tls::Connector>) -> Result<Error, io::Error> {
    if error.get_ref().and_then(|inner| inner.downcast_ref::<TlsAlert>()).is_some() {
        return Ok(Error::PlainToTls);
    }
    match tls {
        Some(tls) => tls.refusal(error).map(Error::Tls),
        None => Err(error),
    }
}
