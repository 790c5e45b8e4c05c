//! Another mapcast server's map, served on: one level of a tree.

mod loop_damper;
mod parent;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::connection_log::ConnectionLog;
use super::encryption::Refusal;
use super::report::Notice;
use super::{Error, Published, Sink, Source};
use crate::client::{self, FollowEvent, Follower};
use crate::frame;
use crate::shutdown::Shutdown;
use crate::stats::health::Failure;
use crate::tls::Connector;
use loop_damper::LoopDamper;

pub use parent::Parent;

/// How much longer than the largest frame that is sent a frame of the parent may be: room for a format that takes more
/// bytes for the same map.
const MAX_PARENT_FRAMES: usize = 4;

/// Follows another mapcast server, over as many connections as it takes, and publishes its map.
///
/// The last good map stays while the parent is away, silent or wrong. Equal maps are no change, so the parent's repeats
/// go no further: each level repeats by its own interval. A connection that ends up at this program's own listener is
/// refused.
#[derive(Debug)]
pub struct Relay {
    parent: Parent,
    /// Encrypts the connections to it, if they are to be; read when it is loaded.
    tls: Option<Arc<Connector>>,
    /// Where this program listens.
    own: Vec<SocketAddr>,
    loop_damper: LoopDamper,
    /// A payload that is held back for a moment, and until when.
    held: Option<(Vec<u8>, Instant)>,
    log: ConnectionLog,
}

/// What keeps the parent's map from coming.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// An orderly end between two frames.
    #[error("the connection was closed by the server")]
    Closed,
    /// The other end of the connection is here.
    #[error("{0} is this server itself: a relay cannot follow itself; name its parent")]
    Itself(SocketAddr),
    /// Only one side speaks TLS, or one does not want the other.
    #[error(transparent)]
    Tls(#[from] Refusal),
    /// Only the parent speaks TLS.
    #[error("the server speaks TLS there: write tls:// for tcp://")]
    PlainToTls,
    /// Whatever else the client met.
    #[error(transparent)]
    Client(#[from] client::Error),
}

impl Relay {
    /// Returns the source that follows `parent`. Connects to nobody yet.
    pub fn new(parent: Parent) -> Self {
        let log = ConnectionLog::new(parent.to_string());
        Self { parent, tls: None, own: Vec::new(), loop_damper: LoopDamper::new(), held: None, log }
    }

    /// Publishes `payload`, or holds it back if it was here a moment ago.
    fn take(&mut self, payload: Vec<u8>, sink: &Sink) {
        let Some(delay) = self.loop_damper.delay(&payload) else {
            self.held = None;
            self.publish(&payload, sink);
            return;
        };
        // One that replaces another waits no longer than that one would have.
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
        let map = self.parent.format().decode_map(payload);
        let map = map.map_err(|error| self.failed(client::Error::from(error).into()))?;
        sink.publish(map).map_err(|source| Error::Refused { name: self.log.name().to_owned(), source })
    }

    fn fail(&mut self, fault: Fault, sink: &Sink) {
        let error = self.failed(fault);
        self.log.down(&error, sink).iter().for_each(Notice::log);
    }

    fn failed(&self, fault: Fault) -> Error {
        Error::Upstream { name: self.log.name().to_owned(), kind: fault.kind(), source: fault.into() }
    }
}

impl Source for Relay {
    /// Reads the files of TLS, and no map: the parent may be away, and the clients need not wait for it to connect.
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
                    self.fail(Fault::Itself(peer), sink);
                }
                Ok(FollowEvent::Connected { peer, local }) => log::debug!("{}: {local} to {peer}", self.log.name()),
                Ok(FollowEvent::Payload(payload)) => self.take(payload, sink),
                Ok(FollowEvent::Lost { reason, .. }) => {
                    self.publish_held(sink);
                    self.fail(reason.map_or(Fault::Closed, Fault::of), sink);
                }
                Err(client::Error::TimedOut) => self.publish_held(sink),
                Err(_) => return,
            }
        }
    }
}

impl Fault {
    fn of(error: client::Error) -> Self {
        match error {
            client::Error::Tls(error) => Self::Tls(error.into()),
            client::Error::PlainToTls => Self::PlainToTls,
            error => Self::Client(error),
        }
    }

    fn kind(&self) -> Failure {
        match self {
            Self::Itself(_) | Self::PlainToTls => Failure::Denied,
            Self::Tls(refusal) => refusal.kind(),
            Self::Client(client::Error::Frame(frame::Error::TooLarge { .. })) => Failure::TooLarge,
            Self::Client(error) if !error.is_transient() => Failure::Invalid,
            Self::Closed | Self::Client(_) => Failure::Unreachable,
        }
    }
}

/// True if and only if a connection from `local` to `peer` has ended up at one of the listeners `own`. A listener of any
/// address is meant if the machine has connected to itself: both ends then have the same address, or one of loopback.
fn is_own(peer: SocketAddr, local: SocketAddr, own: &[SocketAddr]) -> bool {
    let (there, here) = (peer.ip().to_canonical(), local.ip().to_canonical());
    own.iter().filter(|listener| listener.port() == peer.port()).any(|listener| {
        let listener = listener.ip().to_canonical();
        listener == there || listener.is_unspecified() && (there == here || there.is_loopback())
    })
}

#[cfg(test)]
mod tests;
