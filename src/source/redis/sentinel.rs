//! Sentinels: a thread asks each of them once a second for the master, as long as the source runs.
//!
//! Asking at each connection is not enough: a partitioned master may still answer here after the sentinels have promoted
//! another server. The thread is separate because a sentinel that hangs takes seconds.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, cmd};

use super::address::{Address, Node};
use super::connection::{ConnectContext, Connection};
use super::error::Error;
use super::limits::TIMEOUT;
use super::login::authenticate;
use crate::client::Resolver;
use crate::display::error_chain::ErrorChain;
use crate::display::escape::escape;
use crate::platform::{self, AsFd, BorrowedFd, LocalStream};
use crate::shutdown::Shutdown;
use crate::stats::health::Failure;
use crate::sync::Mutex;
use crate::threads::{Thread, Threads};
use crate::tls::Connector;

/// How often the sentinels are asked: once a second, as the revision.
const PERIOD: Duration = Duration::from_secs(1);

/// The pause before a failed sentinel is asked again, while another one replies: 10 s.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// How long without any reply until the master counts as unknown: 10 s. By default sentinels promote another server 30 s
/// after they lose the master (`down-after-milliseconds`), or later.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// How long the last reply of an unreachable sentinel counts: 5 min. After that it may be gone for good, or have a new
/// configuration.
const MEMORY: Duration = Duration::from_mins(5);

/// How long to wait for the first replies: 5 s, for two sentinels that hang and a third that replies.
const FIRST_REPLIES: Duration = Duration::from_secs(5);

/// How long to wait for the thread at the end: 1 s. A shutdown ends each of its waits.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

/// The thread that asks the sentinels, and their replies.
pub(super) struct Sentinels {
    shared: Arc<Mutex<SentinelReplies>>,
    /// Readable when the replies name another master, or a round with a change is over. Closing it ends the thread.
    notice: LocalStream,
    /// `None` after this is dropped.
    thread: Option<Thread>,
}

/// The last reply of each sentinel, in the order of the address. Its lock is held only to read or store one.
#[derive(Debug, Default)]
struct SentinelReplies {
    by_sentinel: Vec<Option<SentinelReply>>,
    /// The number of rounds in which all of them were asked.
    rounds: u64,
    /// The error if no sentinel replied in the last round.
    failure: Option<Error>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SentinelReply {
    master: Node,
    /// The sentinels increment it at each failover: the higher one is newer.
    epoch: u64,
    at: Instant,
}

impl Sentinels {
    /// Starts the thread, one of `threads`.
    ///
    /// # Errors
    /// If the system refuses the thread or its sockets.
    pub(super) fn start(
        address: &Address,
        master: &str,
        tls: Option<Arc<Connector>>,
        resolver: Arc<Resolver>,
        (stop, threads): (&Shutdown, &Threads),
    ) -> Result<Self, Error> {
        let (notice, theirs) = platform::local_pair().map_err(Error::Thread)?;
        for end in [&notice, &theirs] {
            end.set_nonblocking(true).map_err(Error::Thread)?;
        }
        let shared = Arc::new(Mutex::new(SentinelReplies::new(address.nodes.len())));
        // A password may be in a file.
        let worker = threads.register_io("sentinels", &format!("asking the sentinels for {}", escape(master)));
        let (replies, stop, address) = (Arc::clone(&shared), stop.for_worker(&worker), address.clone());
        let (asked, counted) = (master.to_owned(), Arc::clone(&worker));
        let run = move || {
            let context = ConnectContext {
                address: &address,
                tls: tls.as_ref(),
                max: MAX_REPLY,
                resolver: &resolver,
                stop: &stop,
            };
            let has_ended = || stop.is_triggered();
            let pause = |pause| stop.wait_readable(&theirs, Instant::now().checked_add(pause)).unwrap_or(true);
            counted.run(|time| pause(time) || has_ended(), || query_forever(context, &asked, &replies, &theirs));
        };
        let thread = Thread::start("sentinels", run).inspect_err(|_| worker.end()).map_err(Error::Thread)?;
        Ok(Self { shared, notice, thread: Some(thread) })
    }

    /// Returns the master that the sentinels name. Waits until each of them was asked once, 5 s at most.
    ///
    /// # Errors
    /// `NoSentinel` if none has replied within 10 s; before the first reply, the reason.
    pub(super) fn master(&self, stop: &Shutdown) -> Result<Node, Error> {
        let deadline = Instant::now() + FIRST_REPLIES;
        let begun = self.shared.lock().rounds;
        loop {
            let is_late = Instant::now() >= deadline || stop.is_triggered();
            {
                let mut replies = self.shared.lock();
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

    /// Checks that `node` is the master that the sentinels name.
    ///
    /// # Errors
    /// `Renew` if it is another server, or the thread has ended; `NoSentinel` if none has replied within 10 s.
    pub(super) fn check(&self, node: &Node) -> Result<(), Error> {
        self.clear();
        if self.has_ended() {
            return Err(Error::Renew("the thread that asks the sentinels has ended"));
        }
        match self.shared.lock().named(Instant::now()) {
            Some(reply) if reply.master == *node => Ok(()),
            Some(_) => Err(Error::Renew("the sentinels name another master")),
            None => Err(Error::NoSentinel(MAX_SILENCE)),
        }
    }

    /// Returns the master that the sentinels name, if they do.
    pub(super) fn named(&self) -> Option<Node> {
        self.shared.lock().named(Instant::now()).map(|reply| reply.master.clone())
    }

    /// Waits until the sentinels name another master than `named`, `until` has passed, or the program shuts down.
    pub(super) fn wait_other(&self, named: Option<&Node>, until: Option<Instant>, stop: &Shutdown) {
        self.clear();
        while self.named().as_ref() == named && !self.has_ended() {
            match stop.wait_readable(&self.notice, until) {
                Ok(true) => self.clear(),
                // A wait that fails ends early, like a timeout.
                Ok(false) | Err(_) => return,
            }
        }
        if self.has_ended() {
            stop.wait_until(until);
        }
    }

    /// True if and only if the thread has ended: the system has refused a wait.
    pub(super) fn has_ended(&self) -> bool {
        // The thread has dropped its reference.
        Arc::strong_count(&self.shared) == 1
    }

    /// Reads the bytes that made `notice` readable.
    fn clear(&self) {
        let mut bytes = [0; 64];
        // Ends at `WouldBlock`, or when the thread has ended.
        while let Ok(1..) = (&self.notice).read(&mut bytes) {}
    }
}

/// For waiting until the sentinels may name another master.
impl AsFd for Sentinels {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notice.as_fd()
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        // The thread reads the end of the stream.
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

    /// Stores the reply of the sentinel at `index`. Keeps the last epoch for the same master if the reply has none.
    fn store(&mut self, index: usize, mut reply: SentinelReply) {
        let slot = &mut self.by_sentinel[index];
        if let Some(before) = slot.as_ref().filter(|before| before.master == reply.master) {
            reply.epoch = reply.epoch.max(before.epoch);
        }
        *slot = Some(reply);
    }

    /// Returns the reply with the newest configuration, as the sentinels choose among themselves. It counts until that sentinel
    /// replies otherwise, 5 min at most, so that an outdated sentinel does not win while the others are unreachable. Of equal
    /// ones, the first that has replied within 10 s. `None` if no sentinel has replied within 10 s.
    fn named(&self, now: Instant) -> Option<&SentinelReply> {
        let age = |reply: &SentinelReply| now.saturating_duration_since(reply.at);
        let is_fresh = |reply: &SentinelReply| age(reply) <= MAX_SILENCE;
        let replies = || self.by_sentinel.iter().flatten().filter(|reply| age(reply) <= MEMORY);
        // `max_by_key` returns the last of equal elements.
        replies().any(is_fresh).then(|| replies().rev().max_by_key(|reply| (reply.epoch, is_fresh(reply))))?
    }
}

/// One sentinel.
struct Sentinel {
    node: Node,
    /// Kept between queries.
    connection: Option<Connection>,
    /// When a failed sentinel is asked again while another one replies.
    again_at: Option<Instant>,
}

/// Asks all sentinels for `master`, in their order, once a second, until the shutdown or the end of `notice`.
fn query_forever(
    context: ConnectContext<'_>,
    master: &str,
    replies: &Mutex<SentinelReplies>,
    mut notice: &LocalStream,
) {
    let node = |node: &Node| Sentinel { node: node.clone(), connection: None, again_at: None };
    let mut sentinels: Vec<_> = context.address.nodes.iter().map(node).collect();
    let mut named = None;
    let mut some_answered = false;
    while !context.stop.is_triggered() {
        let next_round = Instant::now() + PERIOD;
        let mut failure: Option<Error> = None;
        let was_answered = std::mem::take(&mut some_answered);
        // Working sentinels come first, and at most one failed sentinel is retried in a round: each may hang.
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
                    replies.lock().store(index, reply);
                }
                Err(error) => {
                    if matches!(error, Error::NoMaster) {
                        // The sentinel has dropped this master: its last reply does not count any more.
                        replies.lock().by_sentinel[index] = None;
                    }
                    log::debug!("sentinel {}: {}", sentinel.node, ErrorChain(&error));
                    sentinel.again_at = Some(Instant::now() + AFTER_FAILURE);
                    // An error reply of one sentinel is more useful than another sentinel that is unreachable.
                    if failure.as_ref().is_none_or(|before| before.kind() == Failure::Unreachable) {
                        failure = Some(error);
                    }
                }
            }
        }
        let is_news = {
            let mut replies = replies.lock();
            replies.rounds += 1;
            replies.failure = failure.filter(|_| !some_answered);
            let before = named.clone();
            named = replies.named(Instant::now()).map(|reply| reply.master.clone());
            named != before || replies.failure.is_some() || replies.rounds == 1
        };
        // `WouldBlock`: the reader has unread bytes, and wakes anyway.
        if is_news && notice.write(&[0]).is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
            return;
        }
        // No bytes are written to this end: it becomes readable when it is closed.
        if context.stop.wait_readable(notice, Some(next_round)).unwrap_or(true) {
            return;
        }
    }
}

impl Sentinel {
    /// Queries the sentinel, over a new connection if the last one has ended.
    fn ask(&mut self, context: ConnectContext<'_>, master: &str) -> Result<SentinelReply, Error> {
        if let Some(connection) = self.connection.take() {
            match self.query_on(connection, context, master) {
                Err(Error::Closed | Error::ClosedAfter { .. } | Error::Connection(_)) => {}
                outcome => return outcome,
            }
        }
        self.query_on(Connection::open(&self.node, context)?, context, master)
    }

    /// Queries the sentinel over `connection`, and keeps the connection if it can be used again.
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
        // The epoch of a single sentinel is not needed.
        if context.address.nodes.len() > 1 {
            match connection.ask::<Vec<String>>(&by_name("MASTER")) {
                Ok(fields) => epoch = config_epoch(&fields),
                // This user may not use the command.
                Err(Error::Server { .. }) => {}
                Err(_) => return Ok(SentinelReply { master: Node::Tcp(host, port), epoch, at }),
            }
        }
        self.connection = Some(connection);
        Ok(SentinelReply { master: Node::Tcp(host, port), epoch, at })
    }

    /// Sends `command`; if the sentinel requires a password, authenticates with that of the master and sends it again. In
    /// this order, because a sentinel without a password rejects AUTH.
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
                        // The user may exist on the master only.
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

/// Returns the epoch in the reply to `SENTINEL MASTER`, names and values in turn; 0 if there is none.
fn config_epoch(fields: &[String]) -> u64 {
    let pairs = fields.chunks_exact(2);
    let epoch = pairs.filter(|pair| pair[0] == "config-epoch").find_map(|pair| pair[1].parse().ok());
    epoch.unwrap_or(0)
}

/// The largest reply of a sentinel: 64 KiB. Usual replies have some thousand bytes.
const MAX_REPLY: usize = 64 * 1024;

const _: () = assert!(FIRST_REPLIES.as_secs() > 2 * TIMEOUT.as_secs(), "two that hang, and a third that replies");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::STUCK_AFTER;

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
    fn the_thread_counts_rounds_until_it_ends() {
        let (threads, stop) = (Threads::default(), Shutdown::new().unwrap());
        // A port without a listener.
        let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = bound.local_addr().unwrap().port();
        drop(bound);
        let address: Address = format!("redis+sentinel://127.0.0.1:{port}/0?master=m&key=k").parse().unwrap();
        let resolver = Arc::new(Resolver::new());
        let sentinels = Sentinels::start(&address, "m", None, resolver, (&stop, &threads)).unwrap();
        assert_eq!(threads.unfinished(), ["sentinels"]);
        for _ in 0..3 {
            threads.check_after(STUCK_AFTER);
            while !threads.problems().is_empty() {
                std::thread::park_timeout(Duration::from_millis(10));
                threads.check_after(Duration::ZERO);
            }
        }
        drop(sentinels);
        while !threads.unfinished().is_empty() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    #[test]
    fn the_newest_configuration_wins_then_the_first_fresh_reply() {
        let now = Instant::now() + Duration::from_mins(1);
        for (list, wanted) in [
            (&[Some(("a", 1, 0)), Some(("b", 2, 0)), None][..], Some("b:1")),
            (&[Some(("a", 1, 0)), Some(("b", 1, 0))], Some("a:1")),
            (&[Some(("a", 1, 11)), Some(("b", 1, 0))], Some("b:1")),
            // The sentinel with the failover is unreachable; the other one is outdated.
            (&[Some(("b", 2, 60)), Some(("a", 1, 0))], Some("b:1")),
            // Unreachable for so long that it may be gone for good.
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
    fn a_missing_epoch_is_kept_for_the_same_master_only() {
        let now = Instant::now();
        let reply = |host: &str, epoch| SentinelReply { master: Node::Tcp(host.to_owned(), 1), epoch, at: now };
        let mut replies = SentinelReplies::new(1);
        for (host, told, kept) in [("a", 7, 7), ("a", 0, 7), ("b", 0, 0)] {
            replies.store(0, reply(host, told));
            assert_eq!(replies.by_sentinel[0], Some(reply(host, kept)));
        }
    }

    #[test]
    fn the_epoch_is_found_among_other_fields() {
        let fields = ["name", "main", "config-epoch", "7", "odd"].map(str::to_owned);
        assert_eq!(config_epoch(&fields), 7);
        assert_eq!(config_epoch(&fields[..2]), 0);
    }
}
