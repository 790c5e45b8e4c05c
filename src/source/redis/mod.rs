//! The Redis source: publishes a hash in Redis or Valkey that other programs write.
//!
//! It reads the hash when a change is announced, and once a period in any case. Writers announce a change on the channel
//! `mapcast:NAME`. Redis itself announces it on `__keyspace@DB__:NAME` if `notify-keyspace-events` has `Kh` and `Kg`.
//! Writers that can do neither increment the number in `NAME:revision`, which is read once a second if it exists.

mod address;
mod connection;
mod error;
mod find;
mod hash;
mod limits;
mod login;
mod pubsub;
mod scan;
mod sentinel;
mod session;
#[doc(hidden)]
pub mod testing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Source;
use super::encryption;
use super::error as source;
use super::report::ConnectionLog;
use super::sink::Sink;
use crate::client::{Backoff, Resolver};
use crate::display::error_chain::ErrorChain;
use crate::display::escape::escape;
use crate::display::notice::Notice;
use crate::files::permissions::warn_if_public;
use crate::shutdown::Shutdown;
use crate::tls::Connector;
use address::{Node, Topology};
use connection::ConnectContext;
use error::Error;
use limits::{MAX_REPLY_FRAMES, MIN_MAX_REPLY, SOON};
use sentinel::Sentinels;
use session::{Session, WaitResult};

pub use address::{Address, Password};

/// Follows a hash in Redis or Valkey.
///
/// The last good map stays while Redis is unreachable or silent, or its data is invalid. A missing key counts as invalid:
/// a deletion, an expiry, an eviction and a server that lost its data all look alike, and none of them should send an empty
/// map to a whole fleet by accident.
#[derive(Debug)]
pub struct Redis {
    address: Address,
    /// Encrypts the connections, if TLS is configured. Set when the source is loaded.
    tls: Option<Arc<Connector>>,
    /// Outlives the connections, so that a lookup that hangs is not started again.
    resolver: Arc<Resolver>,
    log: ConnectionLog,
    /// The last server that had the hash.
    last: Option<Node>,
    /// Whether the missing subscription is in the log.
    reported_unsubscribed: bool,
}

impl Redis {
    /// Returns the source that follows the hash at `address`. Does not connect yet.
    pub fn new(address: Address) -> Self {
        let log = ConnectionLog::new(address.to_string());
        let resolver = Arc::new(Resolver::new());
        Self { address, tls: None, resolver, log, last: None, reported_unsubscribed: false }
    }

    /// Reads the hash at each change, over one pair of connections, until they fail or the program stops. Sets `has_answered`
    /// if Redis has answered.
    fn follow_session(
        &mut self,
        sink: &Sink,
        stop: &Shutdown,
        sentinels: Option<&Sentinels>,
        backoff: &mut Backoff,
        has_answered: &mut bool,
    ) -> Result<(), Error> {
        let max = MIN_MAX_REPLY.max(MAX_REPLY_FRAMES.saturating_mul(sink.feed().max_frame()));
        let (address, tls) = (self.address.clone(), self.tls.clone());
        let resolver = Arc::clone(&self.resolver);
        let context = ConnectContext { address: &address, tls: tls.as_ref(), max, resolver: &resolver, stop };
        let mut session = Session::open(context, sentinels, self.last.as_ref())?;
        loop {
            self.log_changes(&session);
            let mut limit = Duration::MAX;
            match session.fetch().and_then(|map| Ok(sink.publish(map)?)) {
                Ok(published) => {
                    backoff.reset();
                    self.log.up(published).iter().for_each(Notice::log);
                }
                Err(error) if error.ends_session() => return Err(error),
                Err(error) => {
                    if error.is_temporary() {
                        limit = SOON;
                    }
                    self.fail(error, sink);
                }
            }
            *has_answered = true;
            if session.wait_change(limit)? == WaitResult::Stop {
                return Ok(());
            }
        }
    }

    /// Logs a change of the server that is followed, and a missing or restored subscription.
    fn log_changes(&mut self, session: &Session<'_>) {
        let (name, node) = (self.log.name(), session.node());
        if let Some(before) = self.last.replace(node.clone()).filter(|before| before != node) {
            log::info!("{name}: following {} in place of {}", escape(&node.to_string()), escape(&before.to_string()));
        }
        let (was_reported, period) = (self.reported_unsubscribed, self.address.period);
        self.reported_unsubscribed = session.unsubscribed().is_some();
        match session.unsubscribed() {
            Some(error) if !was_reported && error.is_forbidden() => {
                log::warn!("{name}: this user may not subscribe, so a change is seen after up to {period:?}");
            }
            Some(error) if !was_reported => {
                log::warn!("{name}: cannot subscribe, so a change is seen after up to {period:?}: {error}");
            }
            None if was_reported => log::info!("{name}: subscribed again"),
            _ => {}
        }
    }

    /// Starts the thread that asks the sentinels, if there are any and it is not running.
    fn ask_sentinels(&self, sink: &Sink, stop: &Shutdown, running: &mut Option<Sentinels>) -> Result<(), Error> {
        let Topology::Sentinel { master } = &self.address.topology else { return Ok(()) };
        if running.as_ref().is_none_or(Sentinels::has_ended) {
            let (tls, resolver) = (self.tls.clone(), Arc::clone(&self.resolver));
            *running = Some(Sentinels::start(&self.address, master, tls, resolver, (stop, sink.threads()))?);
        }
        Ok(())
    }

    fn fail(&mut self, error: Error, sink: &Sink) {
        let (name, kind) = (self.log.name().to_owned(), error.kind());
        let error = if error.lacks_password() {
            source::Error::NoPassword { name, source: error.into() }
        } else {
            source::Error::Upstream { name, kind, source: error.into() }
        };
        self.log.down(&error, sink).iter().for_each(Notice::log);
    }
}

impl Source for Redis {
    /// Reads the TLS files, and no map: Redis may be unreachable, and clients can connect without it.
    fn load(&mut self, _sink: &Sink, _stop: &Shutdown) -> Result<(), source::Error> {
        if let Some(Password::File(path)) = &self.address.password {
            warn_if_public(path, "the password");
        }
        self.tls = encryption::connector(self.address.tls.as_ref(), self.log.name())?;
        Ok(())
    }

    fn follow(&mut self, sink: &Sink, stop: &Shutdown) {
        let (mut backoff, mut sentinels) = (Backoff::new(), None);
        // Until then a connection is replaced only after a pause.
        let mut reconnect_at = Instant::now();
        while !stop.is_triggered() {
            let (mut has_answered, named) = (false, sentinels.as_ref().and_then(Sentinels::named));
            let outcome = self
                .ask_sentinels(sink, stop, &mut sentinels)
                .and_then(|()| self.follow_session(sink, stop, sentinels.as_ref(), &mut backoff, &mut has_answered));
            let Err(error) = outcome else { return };
            if stop.is_triggered() {
                return;
            }
            if has_answered && error.asks_for_reconnect() {
                log::debug!("{}: {}", self.log.name(), ErrorChain(&error));
                stop.wait_until(Some(reconnect_at));
                reconnect_at = Instant::now() + SOON;
                continue;
            }
            if error.is_temporary() {
                backoff.reset();
            }
            self.fail(error, sink);
            let until = Instant::now().checked_add(backoff.next_delay());
            match &sentinels {
                Some(sentinels) => sentinels.wait_other(named.as_ref(), until, stop),
                None => stop.wait_until(until),
            }
        }
    }
}
