//! The relay source: publishes the map of another mapcast server, as one level of a tree.

mod loop_damper;
mod parent;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Source;
use super::encryption;
use super::error::Error;
use super::report::ConnectionLog;
use super::sink::{Published, Sink};
use crate::client::{self, FollowEvent, Follower};
use crate::display::notice::Notice;
use crate::format::Format;
use crate::frame;
use crate::shutdown::Shutdown;
use crate::stats::health::Failure;
use crate::tls::{Connector, HandshakeError};
use loop_damper::LoopDamper;

pub use parent::Parent;

/// The largest frame of the parent, as a multiple of the largest frame that is sent: its format may take more bytes for the
/// same map.
const MAX_PARENT_FRAMES: usize = 4;

/// Follows another mapcast server, reconnects as needed, and publishes its map.
///
/// The last good map stays while the parent is unreachable or silent, or sends invalid data. An equal map is not a change,
/// so the parent's repeats are not forwarded: each level repeats at its own interval. A connection to this program's own
/// listener is refused.
#[derive(Debug)]
pub struct Relay {
    parent: Parent,
    /// Encrypts the connections to the parent, if TLS is configured. Set when the source is loaded.
    tls: Option<Arc<Connector>>,
    /// The addresses of this program's listeners.
    own: Vec<SocketAddr>,
    loop_damper: LoopDamper,
    /// The format of the last payload, held or not.
    format: Option<Format>,
    /// A payload whose publication is delayed, and until when.
    held: Option<(Vec<u8>, Instant)>,
    log: ConnectionLog,
}

/// Why there is no map from the parent.
#[derive(Debug, thiserror::Error)]
enum ParentError {
    /// The parent closed the connection between two frames.
    #[error("the connection was closed by the server")]
    Closed,
    /// The parent's address is a listener of this program.
    #[error("{0} is this server itself: a relay cannot follow itself; name its parent")]
    Itself(SocketAddr),
    /// The TLS handshake failed.
    #[error("no TLS connection")]
    Tls(#[source] HandshakeError),
    /// The parent speaks TLS, and the address says `tcp://`.
    #[error("the server speaks TLS there: write tls:// for tcp://")]
    PlainToTls,
    /// The parent's format is not the one in the address.
    #[error("the server sends {found}, not {expected}: write ?format={found} or leave format out")]
    OtherFormat {
        /// The format in the address.
        expected: Format,
        /// The format of the payload.
        found: Format,
    },
    /// Any other error of the client.
    #[error(transparent)]
    Client(client::Error),
}

impl Relay {
    /// Returns the source that follows `parent`. Does not connect yet.
    pub fn new(parent: Parent) -> Self {
        let log = ConnectionLog::new(parent.to_string());
        Self { parent, tls: None, own: Vec::new(), loop_damper: LoopDamper::new(), format: None, held: None, log }
    }

    /// Publishes `payload`, or delays it if the same payload came within the last second.
    fn take(&mut self, payload: Vec<u8>, sink: &Sink) {
        let Some(delay) = self.loop_damper.delay(&payload) else {
            self.held = None;
            self.publish(&payload, sink);
            return;
        };
        // A payload that replaces a delayed one keeps its deadline.
        let until = self.held.take().map_or_else(|| Instant::now() + delay, |(_, until)| until);
        self.held = Some((payload, until));
    }

    fn publish_held(&mut self, sink: &Sink) {
        if let Some((payload, _)) = self.held.take() {
            self.publish(&payload, sink);
        }
    }

    fn publish(&mut self, payload: &[u8], sink: &Sink) {
        let notice = match self.try_publish(payload, sink) {
            Ok(published) => self.log.up(published),
            Err(error) => self.log.down(&error, sink),
        };
        notice.iter().for_each(Notice::log);
    }

    fn try_publish(&self, payload: &[u8], sink: &Sink) -> Result<Published, Error> {
        let map = client::decode(payload, self.format, Format::decode_map);
        let map = map.map_err(|error| self.failed(ParentError::of(error)))?;
        sink.publish(map).map_err(|source| Error::Refused { name: self.log.name().to_owned(), source })
    }

    fn fail(&mut self, error: ParentError, sink: &Sink) {
        let error = self.failed(error);
        self.log.down(&error, sink).iter().for_each(Notice::log);
    }

    fn failed(&self, error: ParentError) -> Error {
        let (name, kind) = (self.log.name().to_owned(), error.kind());
        // An error of the client as it is, for the advice of the program.
        let source = match error {
            ParentError::Client(error) => error.into(),
            error => error.into(),
        };
        Error::Upstream { name, kind, source }
    }
}

impl Source for Relay {
    /// Reads the TLS files, and no map: the parent may be unreachable, and clients can connect without it.
    fn load(&mut self, _sink: &Sink, _stop: &Shutdown) -> Result<(), Error> {
        self.tls = self.parent.connector()?;
        Ok(())
    }

    fn listening_on(&mut self, own: &[SocketAddr]) {
        self.own = own.to_vec();
    }

    fn follow(&mut self, sink: &Sink, stop: &Shutdown) {
        let max_frame = sink.feed().max_frame().saturating_mul(MAX_PARENT_FRAMES);
        let config = self.parent.follow_config(max_frame, self.tls.clone());
        let mut follower = Follower::new(self.parent.address(), config, stop);
        loop {
            follower.set_deadline(self.held.as_ref().map(|(_, until)| *until));
            match follower.next_event() {
                Ok(FollowEvent::Connected { peer, local }) if is_own(peer, local, &self.own) => {
                    follower.give_up();
                    self.fail(ParentError::Itself(peer), sink);
                }
                Ok(FollowEvent::Connected { peer, local }) => log::debug!("{}: {local} to {peer}", self.log.name()),
                Ok(FollowEvent::Payload(payload)) => {
                    self.format = follower.format();
                    self.take(payload, sink);
                }
                Ok(FollowEvent::Lost { reason, .. }) => {
                    self.publish_held(sink);
                    self.fail(reason.map_or(ParentError::Closed, ParentError::of), sink);
                }
                Err(client::Error::TimedOut) => self.publish_held(sink),
                Err(_) => return,
            }
        }
    }
}

impl ParentError {
    fn of(error: client::Error) -> Self {
        match error {
            client::Error::Tls(error) => Self::Tls(error),
            client::Error::PlainToTls => Self::PlainToTls,
            client::Error::OtherFormat { expected, found } => Self::OtherFormat { expected, found },
            error => Self::Client(error),
        }
    }

    fn kind(&self) -> Failure {
        match self {
            Self::Itself(_) | Self::PlainToTls => Failure::Denied,
            Self::Tls(error) => encryption::failure(error),
            Self::Client(client::Error::Frame(frame::Error::TooLarge { .. })) => Failure::TooLarge,
            Self::OtherFormat { .. } => Failure::Invalid,
            Self::Client(error) if !error.is_transient() => Failure::Invalid,
            Self::Closed | Self::Client(_) => Failure::Unreachable,
        }
    }
}

/// True if and only if a connection from `local` to `peer` reached one of the listeners `own`. A listener on the unspecified
/// address is reached if the machine connects to itself: both ends have the same address, or the peer's is a loopback one.
fn is_own(peer: SocketAddr, local: SocketAddr, own: &[SocketAddr]) -> bool {
    let (there, here) = (peer.ip().to_canonical(), local.ip().to_canonical());
    own.iter().filter(|listener| listener.port() == peer.port()).any(|listener| {
        let listener = listener.ip().to_canonical();
        listener == there || listener.is_unspecified() && (there == here || there.is_loopback())
    })
}

#[cfg(test)]
mod tests;
