//! A session with the server that has the hash: reads it, and waits for the next change.

use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, Value, cmd};

use super::address::{Node, Topology};
use super::connection::{ConnectContext, Connection};
use super::error::Error;
use super::find::{find, moved_to};
use super::hash;
use super::login::log_in;
use super::pubsub::{PING_PERIOD, PubSub};
use super::sentinel::Sentinels;

use crate::map::Map;
use crate::platform::{AsFd, BorrowedFd};

/// How often the revision is read.
const REVISION_PERIOD: Duration = Duration::from_secs(1);

/// The pause between a reading and the next one for an announcement: as long as the reading took, from 10 ms to 100 ms. A
/// writer that announces without pause causes at most a hundred readings a second, which take at most half of the time.
const MIN_GAP: Duration = Duration::from_millis(10);
const MAX_GAP: Duration = Duration::from_millis(100);

/// When a refused subscription is tried again: after 1 min if this user may not subscribe, after 5 s for another reason.
const FORBIDDEN_FOR: Duration = Duration::from_mins(1);
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// A server with two connections: one for commands, one for subscriptions. A single connection for both would need RESP3,
/// which servers before Redis 6 do not support.
struct Peer {
    node: Node,
    commands: Connection,
    /// `None` if this user may not subscribe.
    pubsub: Option<PubSub>,
}

/// The connections to the server that has the hash.
pub(super) struct Session<'source> {
    context: ConnectContext<'source>,
    sentinels: Option<&'source Sentinels>,
    owner: Peer,
    /// In a cluster: the node that the slot of the hash is being moved to, key by key.
    importing: Option<Peer>,
    /// Why there is no subscription, and when to try again.
    unsubscribed: Option<(Error, Instant)>,
    /// The revision at the last reading; `None` if there is none, or this user may not read it.
    revision: Option<Vec<u8>>,
    /// Until then announcements do not cause another reading.
    gap_end: Instant,
    /// Whether there may be unread announcements.
    is_unread: bool,
}

/// Why a wait has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WaitResult {
    /// It is time to read the hash.
    Read,
    /// The program is shutting down.
    Stop,
}

impl<'source> Session<'source> {
    /// Finds the server and connects to it. `last` is the server that had the hash before.
    ///
    /// # Errors
    /// If no server answers and grants access.
    pub(super) fn open(
        context: ConnectContext<'source>,
        sentinels: Option<&'source Sentinels>,
        last: Option<&Node>,
    ) -> Result<Self, Error> {
        let (node, commands) = find(context, sentinels, last)?;
        // Before the first reading, so that no change is missed.
        let (owner, refusal) = Peer::listen(context, node, commands)?;
        let unsubscribed = refusal.map(with_retry);
        let (importing, revision, gap_end) = (None, None, Instant::now());
        Ok(Self { context, sentinels, owner, importing, unsubscribed, revision, gap_end, is_unread: false })
    }

    /// The server that has the hash.
    pub(super) fn node(&self) -> &Node {
        &self.owner.node
    }

    /// Why there is no subscription, if there is none.
    pub(super) fn unsubscribed(&self) -> Option<&Error> {
        self.unsubscribed.as_ref().map(|(error, _)| error)
    }

    /// Reads the hash.
    ///
    /// # Errors
    /// See [`Error::ends_session`] for the errors after which the session can be used.
    pub(super) fn fetch(&mut self) -> Result<Map, Error> {
        let started = Instant::now();
        let fetched = self.fetch_fields();
        self.gap_end = Instant::now() + started.elapsed().clamp(MIN_GAP, MAX_GAP);
        let fields = hash::fields(fetched?)?;
        if fields.is_empty() && !self.context.address.missing_is_empty {
            return Err(Error::Missing);
        }
        hash::to_map(fields, self.context.address.is_json)
    }

    fn fetch_fields(&mut self) -> Result<Value, Error> {
        if let Some(sentinels) = self.sentinels {
            sentinels.check(&self.owner.node)?;
            self.owner.commands.send(&cmd("ROLE"))?;
        }
        // The revision first: a change between the two is seen at the next check. Pipelined, to wait once.
        let (get, get_all) = (self.get_revision(), cmd("HGETALL").arg(&self.context.address.key).to_owned());
        self.owner.commands.send(&get)?;
        self.owner.commands.send(&get_all)?;
        let role = self.sentinels.map(|_| self.owner.commands.reply_or_refusal()).transpose()?;
        let revision = self.owner.commands.reply_or_refusal()?;
        let fields = self.owner.commands.reply_or_refusal()?;
        // A master that became a replica without the sentinels still answers.
        match role {
            Some(Ok(Value::Array(role))) if role.first() == Some(&Value::BulkString(b"master".to_vec())) => {}
            Some(Err(error)) => return Err(Error::Role(Box::new(error))),
            Some(_) => return Err(Error::NoMaster),
            None => {}
        }
        let is_redirected =
            |answer: &Result<Value, Error>| answer.as_ref().is_err_and(|error| error.code() == Some("ASK"));
        let (revision, fields) = if self.is_cluster() && (is_redirected(&revision) || is_redirected(&fields)) {
            // One by one, in the same order: each may be on either node.
            (self.ask(&get)?, self.ask(&get_all)?)
        } else {
            self.importing = None;
            (revision, fields)
        };
        // Without braces in the name of the hash, the revision has another slot, and may be on another node.
        self.revision = revision.ok().and_then(|value| Option::from_redis_value(value).ok()).flatten();
        match fields {
            Err(error) if self.is_cluster() && ["MOVED", "ASK"].map(Some).contains(&error.code()) => Err(Error::Moved),
            fields => fields,
        }
    }

    /// Sends `command` to the owner, or to the importing node if the owner redirects it there.
    ///
    /// # Errors
    /// If a connection is lost. An error reply is the inner error.
    fn ask(&mut self, command: &Cmd) -> Result<Result<Value, Error>, Error> {
        self.owner.commands.send(command)?;
        let there = match self.owner.commands.reply_or_refusal()? {
            Err(Error::Server { code, detail }) if code == "ASK" && self.is_cluster() => {
                moved_to(&detail, &self.owner.node)?
            }
            answer => return Ok(answer),
        };
        if self.importing.as_ref().is_none_or(|peer| peer.node != there) {
            let commands = log_in(self.context, &there)?;
            // Subscribe before the hash is read there. Without a subscription, the owner's announcements remain.
            self.importing = Some(Peer::listen(self.context, there, commands)?.0);
        }
        let Some(importing) = &mut self.importing else { return Err(Error::Moved) };
        importing.commands.send(&cmd("ASKING"))?;
        importing.commands.send(command)?;
        let allowed = importing.commands.reply_or_refusal()?;
        let answer = importing.commands.reply_or_refusal()?;
        Ok(allowed.and(answer))
    }

    fn is_cluster(&self) -> bool {
        self.context.address.topology == Topology::Cluster
    }

    fn get_revision(&self) -> Cmd {
        cmd("GET").arg(self.context.address.revision_key()).to_owned()
    }

    /// Waits until a change is announced, the revision has changed, the period or `limit` has passed, or the program stops.
    ///
    /// # Errors
    /// If a connection is lost or does not answer, or another server must be used.
    pub(super) fn wait_change(&mut self, limit: Duration) -> Result<WaitResult, Error> {
        // `None` for a period that the clock cannot represent: it never ends.
        let read_at = Instant::now().checked_add(self.context.address.period.min(limit));
        let mut revision_at = self.next_revision();
        let mut announced = false;
        loop {
            let ping_at = self.subscriptions().map(|pubsub| pubsub.due()).min();
            let retry_at = self.unsubscribed.as_ref().map(|(_, at)| *at);
            let gap_end = announced.then_some(self.gap_end);
            let until = [read_at, Some(revision_at), ping_at, retry_at, gap_end].into_iter().flatten().min();
            announced |= self.wait_announced(until)?;
            if self.context.stop.is_triggered() {
                return Ok(WaitResult::Stop);
            }
            let now = Instant::now();
            let is_over = |at: Option<Instant>| at.is_some_and(|at| now >= at);
            if let Some(sentinels) = self.sentinels {
                sentinels.check(&self.owner.node)?;
            }
            self.subscriptions().try_for_each(PubSub::ping)?;
            if is_over(read_at) || (announced && now >= self.gap_end) {
                return Ok(WaitResult::Read);
            }
            if is_over(retry_at) && self.subscribe() {
                // Changes before the subscription were not announced.
                return Ok(WaitResult::Read);
            }
            if is_over(Some(revision_at)) {
                announced |= self.is_revised()?;
                revision_at = self.next_revision();
            }
        }
    }

    /// Tries to subscribe on a new connection. Returns true if and only if it is subscribed now.
    fn subscribe(&mut self) -> bool {
        let subscribed =
            log_in(self.context, &self.owner.node).and_then(|new| PubSub::subscribe(new, self.context.address));
        match subscribed {
            Ok(Ok(pubsub)) => (self.owner.pubsub, self.unsubscribed) = (Some(pubsub), None),
            Ok(Err(error)) | Err(error) => self.unsubscribed = Some(with_retry(error)),
        }
        self.unsubscribed.is_none()
    }

    /// Returns when to read the revision. Without a revision, the command only checks that the connection is alive.
    fn next_revision(&self) -> Instant {
        Instant::now() + if self.revision.is_some() { REVISION_PERIOD } else { PING_PERIOD }
    }

    fn subscriptions(&mut self) -> impl Iterator<Item = &mut PubSub> {
        [Some(&mut self.owner), self.importing.as_mut()].into_iter().flatten().filter_map(|peer| peer.pubsub.as_mut())
    }

    /// Waits until `until` for input on any connection, and reads it; `None` is no deadline. Returns true if and only if a
    /// change was announced.
    fn wait_announced(&mut self, until: Option<Instant>) -> Result<bool, Error> {
        let until = if self.is_unread { Some(Instant::now()) } else { until };
        let mut sources: Vec<BorrowedFd<'_>> = self.sentinels.iter().map(|sentinels| sentinels.as_fd()).collect();
        for peer in [Some(&self.owner), self.importing.as_ref()].into_iter().flatten() {
            sources.push(peer.commands.as_fd());
            sources.extend(peer.pubsub.as_ref().map(AsFd::as_fd));
        }
        self.context.stop.wait_any_readable(&sources, until).map_err(Error::from_io)?;
        let (mut announced, mut unread) = (false, false);
        for peer in [Some(&mut self.owner), self.importing.as_mut()].into_iter().flatten() {
            if let Some(pubsub) = &mut peer.pubsub {
                let drained = pubsub.drain()?;
                announced |= drained.announced;
                unread |= drained.unfinished;
            }
            // No command is pending: the input is the end of the connection, or an error.
            if peer.commands.read_ready()?.is_some() {
                return Err(Error::Renew("Redis sent a reply without a command"));
            }
        }
        self.is_unread = unread;
        Ok(announced)
    }

    fn is_revised(&mut self) -> Result<bool, Error> {
        match self.ask(&self.get_revision())? {
            Ok(value) => Ok(Option::from_redis_value(value).map_err(|_| Error::Unexpected)? != self.revision),
            // The revision has moved to another node, or Redis is busy: reading the hash shows which.
            Err(_) => Ok(self.revision.is_some()),
        }
    }
}

/// Returns why there is no subscription, with when to try again.
fn with_retry(error: Error) -> (Error, Instant) {
    let pause = if error.is_forbidden() { FORBIDDEN_FOR } else { REFUSED_FOR };
    (error, Instant::now() + pause)
}

impl Peer {
    /// Subscribes to the announcements of `node`. Also returns the reason if this user may not subscribe.
    fn listen(context: ConnectContext<'_>, node: Node, commands: Connection) -> Result<(Self, Option<Error>), Error> {
        let (pubsub, refusal) = match PubSub::subscribe(log_in(context, &node)?, context.address)? {
            Ok(pubsub) => (Some(pubsub), None),
            Err(error) => (None, Some(error)),
        };
        Ok((Self { node, commands, pubsub }, refusal))
    }
}
