//! The sentinels: a thread asks each of them once a second which server is the master, as long as the source is followed.
//!
//! Asking at each connection is not enough: a master that is cut off from everyone else goes on answering here, while the
//! sentinels have named another one. A thread of its own, because a sentinel that hangs takes seconds.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, cmd};

use super::address::{Address, Node};
use super::connection::{ConnectContext, Connection};
use super::error::Error;
use super::limits::TIMEOUT;
use super::login::authenticate;
use crate::client::Resolver;
use crate::shutdown::Shutdown;
use crate::stats::health::Failure;
use crate::threads::Thread;
use crate::tls::Connector;

/// How often the sentinels are asked: once a second, as the revision.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a sentinel that has failed is left alone while another one replies: 10 s.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// How long no sentinel may have answered before the master counts as unknown: 10 s. By default sentinels promote another
/// server no sooner than 30 s after they have lost the master (`down-after-milliseconds`).
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// How long the reply of a sentinel counts that has not answered since: 5 min. One that is away for longer may be gone for
/// good, or have been set up anew.
const MEMORY: Duration = Duration::from_mins(5);

/// How long the first replies are waited for: 5 s, two sentinels that hang and a third that replies.
const FIRST_REPLIES: Duration = Duration::from_secs(5);

/// How long the thread may take to end: 1 s. The stop ends each of its waits.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

/// What the sentinels say.
pub(super) struct Sentinels {
    shared: Arc<Mutex<SentinelReplies>>,
    /// Has a byte when the replies name another master, or a round with news is over. Its end ends the thread.
    notice: UnixStream,
    /// ReadCount when this is dropped.
    thread: Option<Thread>,
}

/// The last reply of each sentinel, in the order of the address. The lock is held for a look or a store.
#[derive(Debug, Default)]
struct SentinelReplies {
    by_sentinel: Vec<Option<SentinelReply>>,
    /// How many times all of them were asked.
    rounds: u64,
    /// Why none of them has answered in the last round.
    failure: Option<Error>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SentinelReply {
    master: Node,
    /// Counted up by the sentinels at each failover: the higher one is the newer one.
    epoch: u64,
    at: Instant,
}

impl Sentinels {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives none, or no sockets.
    pub(super) fn start(
        address: &Address,
        master: &str,
        tls: Option<Arc<Connector>>,
        resolver: Arc<Resolver>,
        stop: &Shutdown,
    ) -> Result<Self, Error> {
        let (notice, theirs) = UnixStream::pair().map_err(Error::Thread)?;
        for end in [&notice, &theirs] {
            end.set_nonblocking(true).map_err(Error::Thread)?;
        }
        let shared = Arc::new(Mutex::new(SentinelReplies::new(address.nodes.len())));
        // The source's thread counts its rounds in its own waits.
        let (replies, stop, address) = (Arc::clone(&shared), stop.without_worker(), address.clone());
        let asked = master.to_owned();
        let run = move || {
            let context = ConnectContext {
                address: &address,
                tls: tls.as_ref(),
                max: MAX_REPLY,
                resolver: &resolver,
                stop: &stop,
            };
            query_forever(context, &asked, &replies, &theirs);
        };
        let thread = Thread::start("sentinels", run).map_err(Error::Thread)?;
        Ok(Self { shared, notice, thread: Some(thread) })
    }

    /// Returns the master that the sentinels name now. Waits until each of them was asked once, 5 s at most.
    ///
    /// # Errors
    /// `NoSentinel` if none has answered of late; before the first reply, why not.
    pub(super) fn master(&self, stop: &Shutdown) -> Result<Node, Error> {
        let deadline = Instant::now() + FIRST_REPLIES;
        let begun = self.lock().rounds;
        loop {
            let is_late = Instant::now() >= deadline || stop.is_triggered();
            {
                let mut replies = self.lock();
                let named = replies.named(Instant::now()).filter(|_| replies.rounds > 0 || is_late);
                if let Some(reply) = named {
                    return Ok(reply.master.clone());
                }
                if replies.rounds > begun || is_late || self.has_ended() {
                    return Err(replies.failure.take().unwrap_or(Error::NoSentinel(MAX_SILENCE)));
                }
            }
            stop.wait_readable(&self.notice, Some(deadline)).map_err(Error::from_io)?;
            self.clear();
        }
    }

    /// Checks that `node` is the master that the sentinels name now.
    ///
    /// # Errors
    /// `Renew` if it is another one, or has to be asked anew; `NoSentinel` if none has answered of late.
    pub(super) fn check(&self, node: &Node) -> Result<(), Error> {
        self.clear();
        if self.has_ended() {
            return Err(Error::Renew("the thread that asks the sentinels has ended"));
        }
        match self.lock().named(Instant::now()) {
            Some(reply) if reply.master == *node => Ok(()),
            Some(_) => Err(Error::Renew("the sentinels name another master")),
            None => Err(Error::NoSentinel(MAX_SILENCE)),
        }
    }

    /// Returns the master that they name now, if they do.
    pub(super) fn named(&self) -> Option<Node> {
        self.lock().named(Instant::now()).map(|reply| reply.master.clone())
    }

    /// Waits until they name another master than `named`, `until` has passed, or the stop.
    pub(super) fn wait_other(&self, named: Option<&Node>, until: Option<Instant>, stop: &Shutdown) {
        self.clear();
        while self.named().as_ref() == named && !self.has_ended() {
            match stop.wait_readable(&self.notice, until) {
                Ok(true) => self.clear(),
                // A wait that the system refuses ends early, as a time-out would.
                Ok(false) | Err(_) => return,
            }
        }
        if self.has_ended() {
            stop.pass(until);
        }
    }

    /// True if and only if the thread has ended, by a panic.
    pub(super) fn has_ended(&self) -> bool {
        // The other end is then closed.
        Arc::strong_count(&self.shared) == 1
    }

    /// Takes what was written to wake this end.
    fn clear(&self) {
        let mut bytes = [0; 64];
        // `WouldBlock`, or the end of the thread.
        while let Ok(1..) = (&self.notice).read(&mut bytes) {}
    }

    fn lock(&self) -> MutexGuard<'_, SentinelReplies> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For waiting until they may name another master.
impl AsFd for Sentinels {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notice.as_fd()
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        // The thread sees the end of the stream.
        let _ = self.notice.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join(JOIN_LIMIT);
        }
    }
}

impl SentinelReplies {
    fn new(sentinels: usize) -> Self {
        Self { by_sentinel: vec![None; sentinels], rounds: 0, failure: None }
    }

    /// Stores what the sentinel at `index` has said. One that did not tell the epoch this time has not forgotten it.
    fn store(&mut self, index: usize, mut reply: SentinelReply) {
        let slot = &mut self.by_sentinel[index];
        if let Some(before) = slot.as_ref().filter(|before| before.master == reply.master) {
            reply.epoch = reply.epoch.max(before.epoch);
        }
        *slot = Some(reply);
    }

    /// Returns the reply that counts: the newest configuration, as among the sentinels themselves. One that has named it
    /// counts until it says otherwise, 5 min at most, so that a sentinel that is behind is not believed when the others cannot be
    /// reached. Of equal ones, the first that has answered of late. `None` if none has answered of late.
    fn named(&self, now: Instant) -> Option<&SentinelReply> {
        let age = |reply: &SentinelReply| now.saturating_duration_since(reply.at);
        let is_fresh = |reply: &SentinelReply| age(reply) <= MAX_SILENCE;
        let replies = || self.by_sentinel.iter().flatten().filter(|reply| age(reply) <= MEMORY);
        // The last of equal ones is the greatest to `max_by_key`.
        replies().any(is_fresh).then(|| replies().rev().max_by_key(|reply| (reply.epoch, is_fresh(reply))))?
    }
}

/// One sentinel.
struct Sentinel {
    node: Node,
    /// Kept from one question to the next.
    connection: Option<Connection>,
    /// Until when it is left alone while another one replies.
    again_at: Option<Instant>,
}

/// Asks all of them for `master`, in their order, once a second, until the stop or the end of `notice`.
fn query_forever(context: ConnectContext<'_>, master: &str, replies: &Mutex<SentinelReplies>, mut notice: &UnixStream) {
    let lock = || replies.lock().unwrap_or_else(PoisonError::into_inner);
    let node = |node: &Node| Sentinel { node: node.clone(), connection: None, again_at: None };
    let mut sentinels: Vec<_> = context.address.nodes.iter().map(node).collect();
    let mut named = None;
    let mut some_answered = false;
    while !context.stop.is_triggered() {
        let next_round = Instant::now() + PERIOD;
        let mut failure: Option<Error> = None;
        let was_answered = std::mem::take(&mut some_answered);
        // Those that reply come first, and one that has failed waits for one that replies: each may hang.
        let mut order: Vec<usize> = (0..sentinels.len()).collect();
        order.sort_by_key(|index| sentinels[*index].again_at.is_some());
        let mut has_retried = false;
        for index in order {
            let sentinel = &mut sentinels[index];
            if let Some(at) = sentinel.again_at
                && (was_answered || some_answered)
            {
                if has_retried || Instant::now() < at {
                    continue;
                }
                has_retried = true;
            }
            match sentinel.ask(context, master) {
                Ok(reply) => {
                    (some_answered, sentinel.again_at) = (true, None);
                    lock().store(index, reply);
                }
                Err(error) => {
                    if matches!(error, Error::NoMaster) {
                        // It knows no such master any more: what it has said before is over.
                        lock().by_sentinel[index] = None;
                    }
                    log::debug!("sentinel {}: {error}", sentinel.node);
                    sentinel.again_at = Some(Instant::now() + AFTER_FAILURE);
                    // What one of them says is worth more than that another one is away.
                    if failure.as_ref().is_none_or(|before| before.kind() == Failure::Unreachable) {
                        failure = Some(error);
                    }
                }
            }
        }
        let is_news = {
            let mut replies = lock();
            replies.rounds += 1;
            replies.failure = failure.filter(|_| !some_answered);
            let before = named.clone();
            named = replies.named(Instant::now()).map(|reply| reply.master.clone());
            named != before || replies.failure.is_some() || replies.rounds == 1
        };
        // A reader that has not read the bytes before these is woken anyway.
        if is_news && notice.write(&[0]).is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
            return;
        }
        // Nothing is ever written to this end.
        if context.stop.wait_readable(notice, Some(next_round)).unwrap_or(true) {
            return;
        }
    }
}

impl Sentinel {
    /// Asks it, on a new connection if the one before has ended meanwhile.
    fn ask(&mut self, context: ConnectContext<'_>, master: &str) -> Result<SentinelReply, Error> {
        if let Some(connection) = self.connection.take() {
            match self.query_on(connection, context, master) {
                Err(Error::Closed | Error::ClosedAfter { .. } | Error::Connection(_)) => {}
                outcome => return outcome,
            }
        }
        self.query_on(Connection::open(&self.node, context)?, context, master)
    }

    /// Asks it on `connection`, and keeps that if it can be used again.
    fn query_on(
        &mut self,
        mut connection: Connection,
        context: ConnectContext<'_>,
        master: &str,
    ) -> Result<SentinelReply, Error> {
        let by_name = |what: &str| cmd("SENTINEL").arg(what).arg(master).to_owned();
        let found: Option<(String, u16)> = self.query(&mut connection, &by_name("GET-MASTER-ADDR-BY-NAME"), context)?;
        let at = Instant::now();
        let Some((host, port)) = found else {
            self.connection = Some(connection);
            return Err(Error::NoMaster);
        };
        let mut epoch = 0;
        // Where there is one, nothing has to be compared.
        if context.address.nodes.len() > 1 {
            match connection.ask::<Vec<String>>(&by_name("MASTER")) {
                Ok(fields) => epoch = config_epoch(&fields),
                // This user may not ask.
                Err(Error::Server { .. }) => {}
                Err(_) => return Ok(SentinelReply { master: Node::Tcp(host, port), epoch, at }),
            }
        }
        self.connection = Some(connection);
        Ok(SentinelReply { master: Node::Tcp(host, port), epoch, at })
    }

    /// Sends `command`; if the sentinel wants a password, gives it that of the master and sends it again. Not the other way
    /// round: a sentinel without a password refuses one.
    fn query<T: FromRedisValue>(
        &self,
        connection: &mut Connection,
        command: &Cmd,
        context: ConnectContext<'_>,
    ) -> Result<T, Error> {
        let password = context.address.password.as_ref();
        let outcome = match (connection.ask(command), password) {
            (Err(error), Some(password)) if error.code().is_some_and(|code| ["NOAUTH", "NOPERM"].contains(&code)) => {
                authenticate(connection, context.address.user.as_deref(), password)
                    .or_else(|error| match &context.address.user {
                        // The user may be the master's alone.
                        Some(_) if error.code().is_some() => authenticate(connection, None, password),
                        _ => Err(error),
                    })
                    .and_then(|()| connection.ask(command))
            }
            (outcome, _) => outcome,
        };
        outcome.map_err(|error| match error {
            error if error.is_temporary() => error,
            error => error.at_sentinel(&self.node.to_string(), password.is_some()),
        })
    }
}

/// Returns the epoch of the reply to `SENTINEL MASTER`, names and values by turns; 0 if there is none.
fn config_epoch(fields: &[String]) -> u64 {
    let pairs = fields.chunks_exact(2);
    let epoch = pairs.filter(|pair| pair[0] == "config-epoch").find_map(|pair| pair[1].parse().ok());
    epoch.unwrap_or(0)
}

/// The most bytes of one reply of a sentinel: 64 KiB. One has some thousand.
const MAX_REPLY: usize = 64 * 1024;

const _: () = assert!(FIRST_REPLIES.as_secs() > 2 * TIMEOUT.as_secs(), "two that hang, and a third that replies");

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(now: Instant, list: &[Option<(&str, u64, u64)>]) -> SentinelReplies {
        let reply = |(host, epoch, age): (&str, u64, u64)| SentinelReply {
            master: Node::Tcp(host.to_owned(), 1),
            epoch,
            at: now.checked_sub(Duration::from_secs(age)).unwrap(),
        };
        let by_sentinel = list.iter().map(|given| given.map(reply)).collect();
        SentinelReplies { by_sentinel, rounds: 1, failure: None }
    }

    #[test]
    fn the_newest_configuration_counts_and_of_equal_ones_the_first_fresh_one() {
        let now = Instant::now() + Duration::from_mins(1);
        for (list, wanted) in [
            (&[Some(("a", 1, 0)), Some(("b", 2, 0)), None][..], Some("b:1")),
            (&[Some(("a", 1, 0)), Some(("b", 1, 0))], Some("a:1")),
            (&[Some(("a", 1, 11)), Some(("b", 1, 0))], Some("b:1")),
            // The one that knows of the failover cannot be reached any more; the other one is behind.
            (&[Some(("b", 2, 60)), Some(("a", 1, 0))], Some("b:1")),
            // For so long that it may be gone for good.
            (&[Some(("b", 2, 301)), Some(("a", 1, 0))], Some("a:1")),
            (&[Some(("a", 1, 11)), Some(("b", 2, 11))], None),
            (&[None], None),
        ] {
            let replies = replies(now, list);
            let named = replies.named(now).map(|reply| reply.master.to_string());
            assert_eq!(named.as_deref(), wanted, "{list:?}");
        }
    }

    #[test]
    fn an_epoch_that_was_not_told_again_is_kept_for_the_same_master_alone() {
        let now = Instant::now();
        let reply = |host: &str, epoch| SentinelReply { master: Node::Tcp(host.to_owned(), 1), epoch, at: now };
        let mut replies = SentinelReplies::new(1);
        for (host, told, kept) in [("a", 7, 7), ("a", 0, 7), ("b", 0, 0)] {
            replies.store(0, reply(host, told));
            assert_eq!(replies.by_sentinel[0], Some(reply(host, kept)));
        }
    }

    #[test]
    fn the_epoch_is_one_of_many_fields() {
        let fields = ["name", "main", "config-epoch", "7", "odd"].map(str::to_owned);
        assert_eq!(config_epoch(&fields), 7);
        assert_eq!(config_epoch(&fields[..2]), 0);
    }
}
