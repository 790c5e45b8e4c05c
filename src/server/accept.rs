//! The accept loop: one thread a client, and no error that ends it.

use std::io;
use std::net::{Shutdown as Direction, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::admission::Admission;
use super::arrivals::{Arrival, Arrivals};
use super::backoff::Backoff;
use super::client::{ConnectionTask, Shared};
use super::permits::{Permit, RefusalReason};
use super::reserve::Reserve;
use super::slots::Class;
use crate::connection::SendCounts;
use crate::display::throttle::{LOG_PERIOD, Throttle, more};
use crate::platform;
use crate::service::{Service, counted};
use crate::stats::{AcceptError, Counter};

/// Connections taken from one listener before the next one has its turn.
const BATCH: usize = 64;

/// How many times [`Config::admission_timeout`](super::Config::admission_timeout) connections are left in the listeners' queues while
/// too many arrivals are held, where there is a reserve: with HTTP's 200 ms, health checks are answered within 1 s.
const MAX_DEFERRALS: u32 = 2;

/// How long, after the stop, those who are still in a listener's queue are rejected in order: 50 ms, enough for the
/// 4096 of a full queue (12 us of the server's for each, measured). Whoever keeps coming must not keep the listener open.
const REJECT_PERIOD: Duration = Duration::from_millis(50);

/// A listener and what is done for those who come to it.
#[derive(Debug)]
pub(super) struct BoundListener {
    pub(super) socket: TcpListener,
    pub(super) service: Arc<dyn Service>,
    /// True if another process holds the listener open: closing it resets nobody.
    pub(super) is_shared: bool,
}

/// The accept loop's own state.
pub(super) struct AcceptLoop {
    pub(super) shared: Arc<Shared>,
    next_id: u64,
    /// Accepted, and without a thread yet. A thread takes ten times as long to start as a connection to accept: in a
    /// burst the kernel's queue is emptied before each start, so that it does not overflow and no client's SYN is sent
    /// again a second later.
    pub(super) arrivals: Arrivals,
    /// Has a permit, and waits for a slot, because a thread that has given up its permit is about to end; or for a thread.
    pub(super) ready: Option<(Arrival, Permit)>,
    /// Refused an ordinary permit.
    reserve: Reserve,
    /// Since when connections have been left in the listeners' queues because too many arrivals were held; `None` once the
    /// queues have been empty.
    deferred_since: Option<Instant>,
    /// After `accept` failed for lack of something.
    accepting: Backoff,
    /// After the system gave no thread.
    pub(super) starting: Backoff,
    admission: Admission,
    failures: Throttle,
}

impl AcceptLoop {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let config = &shared.config;
        Self {
            next_id: 1,
            arrivals: Arrivals::new(config.max_waiting, config.admission_timeout, config.reserved_connections > 0),
            ready: None,
            reserve: Reserve::new(config),
            deferred_since: None,
            accepting: Backoff::default(),
            starting: Backoff::default(),
            admission: Admission::new(config, &shared.stats, Arc::clone(&shared.wakeup)),
            failures: Throttle::new(LOG_PERIOD),
            shared,
        }
    }

    /// Gives a thread to each client until the stop is requested. Then closes the listeners: those who are still in their
    /// queues get an orderly end instead of the reset that closing a listener sends them; the queue of a listener that is
    /// shared is its next holder's.
    pub(super) fn run(&mut self, listeners: Vec<BoundListener>) {
        let (stop, wakeup) = (self.shared.stop.clone(), Arc::clone(&self.shared.wakeup));
        let mut polled: Vec<BorrowedFd<'_>> = listeners.iter().map(|listener| listener.socket.as_fd()).collect();
        polled.extend([stop.as_fd(), wakeup.as_fd()]);
        while !stop.is_triggered() {
            self.log_held(false);
            self.refuse_expired();
            self.start_reserved();
            if self.start_next() {
                self.shared.stats.count(Counter::Heartbeat);
            } else {
                // While accepting is put off, what waits at the listeners is not checked_at at.
                let polled = if self.accepts() { &polled } else { &polled[listeners.len()..] };
                match platform::wait_any(polled, self.next_round()) {
                    Ok(ready) => {
                        self.shared.stats.count(Counter::Heartbeat);
                        if ready.last() == Some(&true) {
                            wakeup.clear();
                        }
                    }
                    // The refusal has taken a moment: until the system lets the loop wait again, it tries whatever there may be
                    // to do. It counts no rounds meanwhile, so that the monitor reports it.
                    Err(error) => self.log_failure("cannot wait for clients", &error, "; raise the limit (ulimit -n)"),
                }
            }
            if !self.is_backing_off() {
                // All of them, although one fails: the next round begins with the same one.
                let emptied = listeners.iter().filter(|listener| self.accept_batch(listener)).count();
                if emptied == listeners.len() {
                    self.deferred_since = None;
                }
            }
        }
        let ready = self.ready.take().map(|(arrival, _)| arrival);
        for arrival in ready.into_iter().chain(self.arrivals.drain()).chain(self.reserve.drain()) {
            reject(&arrival.socket);
        }
        let deadline = Instant::now() + REJECT_PERIOD;
        for listener in listeners.into_iter().filter(|listener| !listener.is_shared) {
            drain_backlog(&listener.socket, deadline);
        }
        self.log_held(true);
    }

    /// Logs what was held back and is due; at the end, all. What threads hold back after that, the drain logs.
    fn log_held(&mut self, is_end: bool) {
        self.admission.flush_suppressed(is_end);
        self.shared.log.flush(false);
        self.shared.log_handshakes(is_end);
        if let Some(held) = self.failures.release(is_end) {
            log::error!("{} to accept or serve {}s", counted(held, "more failure"), self.shared.config.role.noun());
        }
    }

    /// When the loop comes round even if nobody comes; `None` if it need not.
    fn next_round(&self) -> Option<Instant> {
        let heartbeat = self.shared.config.heartbeat.and_then(|every| Instant::now().checked_add(every));
        let (accepting, starting) = (self.accepting.resume_at(), self.starting.resume_at());
        let (expiry, recheck) = (self.arrivals.deadline(&self.admission), self.reserve.next_check());
        let (refusals, failures) = (self.admission.due(), self.failures.due());
        let (handshakes, log) = (self.shared.handshakes_due(), self.shared.log.due());
        let all =
            [heartbeat, accepting, starting, expiry, recheck, self.has_room_at(), refusals, failures, handshakes, log];
        all.into_iter().flatten().min()
    }

    /// True if and only if accepting is not to be tried yet. Without threads, who comes waits in the kernel's queue.
    fn is_backing_off(&self) -> bool {
        self.accepting.resume_at().is_some() || self.starting.resume_at().is_some()
    }

    /// True if and only if connections may be accepted now. Others wait in the kernel's queue.
    fn accepts(&self) -> bool {
        !self.is_backing_off() && self.has_room_at().is_none()
    }

    /// When connections may be accepted all the same, though too many arrivals are held: those that do not get a permit by
    /// then are refused. `None` if there is room, or no permit has been freed for as long as connections wait for one. Where
    /// there is a reserve, also if connections have been left in the queues for long: a health check may be among them.
    fn has_room_at(&self) -> Option<Instant> {
        if !self.arrivals.is_full(self.admission.free()) {
            return None;
        }
        let config = &self.shared.config;
        let quiet = self.admission.permits().last_freed()?.checked_add(config.admission_timeout);
        let deferred = self.deferred_since.filter(|_| config.reserved_connections > 0);
        let overdue =
            deferred.and_then(|since| since.checked_add(config.admission_timeout.saturating_mul(MAX_DEFERRALS)));
        quiet.into_iter().chain(overdue).min().filter(|at| *at > Instant::now())
    }

    /// Starts the thread of the next connection that has a permit. Returns false if and only if none can be started before
    /// something happens: the loop's wakeup is armed then, if it matters.
    fn start_next(&mut self) -> bool {
        if self.try_start() {
            return true;
        }
        let is_idle = self.ready.is_none() && self.arrivals.is_empty() && self.reserve.is_empty();
        if is_idle && self.has_room_at().is_none() {
            return false;
        }
        self.shared.wakeup.arm();
        // What was freed before it was armed did not notify it.
        self.start_reserved();
        self.try_start()
    }

    pub(super) fn try_start(&mut self) -> bool {
        if self.starting.resume_at().is_some() {
            return false;
        }
        if self.ready.is_none() {
            let mut refused = Vec::new();
            self.ready = self.arrivals.next(&self.admission, &mut refused);
            for (arrival, reason) in refused {
                self.refuse(arrival, reason);
            }
        }
        if self.ready.is_none() || !self.shared.slots.take(Class::Ordinary) {
            return false;
        }
        self.ready = self.ready.take().and_then(|(arrival, permit)| self.start(arrival, permit));
        self.ready.is_none()
    }

    /// Closes and counts the connections that have been held since the system began to give no threads, for as long as one
    /// waits for a permit. The others are tried again after the pause.
    fn close_without_thread(&mut self) {
        let timeout = self.shared.config.admission_timeout;
        let now = Instant::now();
        let Some(before) =
            now.checked_sub(timeout).filter(|before| self.starting.since().is_some_and(|at| at <= *before))
        else {
            return;
        };
        let ready = self.ready.take_if(|(arrival, _)| arrival.since <= before).map(|(arrival, _)| arrival);
        let mut closed = 0;
        for arrival in ready.into_iter().chain(std::iter::from_fn(|| self.arrivals.take_new(before))) {
            self.shared.stats.count(Counter::FailedSpawn);
            reject(&arrival.socket);
            closed += 1;
        }
        if closed > 0 {
            log::warn!("{} closed: no thread within {timeout:?}", counted(closed, self.shared.config.role.noun()));
        }
    }

    /// Refuses the connections that have waited for a permit, or for a thread, long enough.
    pub(super) fn refuse_expired(&mut self) {
        self.close_without_thread();
        while let Some((arrival, reason)) = self.arrivals.expire(&self.admission) {
            self.refuse(arrival, reason);
        }
        for (arrival, reason) in self.reserve.recheck() {
            self.reject(&arrival, reason);
        }
    }

    /// Gives the connection a reserved permit, now or soon, or closes it: its client sees the end of the stream.
    fn refuse(&mut self, arrival: Arrival, reason: RefusalReason) {
        let rejected =
            if reason == RefusalReason::Denied { Some((arrival, reason)) } else { self.reserve.push(arrival, reason) };
        if let Some((arrival, reason)) = rejected {
            self.reject(&arrival, reason);
        }
        self.start_reserved();
    }

    /// Starts the threads of the connections that have a reserved permit now. One whose address has its share lets others
    /// pass.
    fn start_reserved(&mut self) {
        while self.reserve.has_request()
            && self.starting.resume_at().is_none()
            && self.shared.slots.take(Class::Reserved)
        {
            let taken = self.reserve.take(|peer, reason| self.admission.admit_reserved(peer, reason));
            let Some((arrival, reason, permit)) = taken else {
                return self.shared.slots.give_back(Class::Reserved);
            };
            // Without a thread it waits on, as long as it may.
            let rejected = self.start(arrival, permit).and_then(|(arrival, _)| self.reserve.push(arrival, reason));
            if let Some((arrival, reason)) = rejected {
                self.reject(&arrival, reason);
            }
        }
    }

    fn reject(&mut self, arrival: &Arrival, reason: RefusalReason) {
        self.admission.refuse(reason, arrival.peer);
        reject(&arrival.socket);
    }

    /// Accepts some of those that wait at the listener. Returns true if and only if none is left.
    fn accept_batch(&mut self, listener: &BoundListener) -> bool {
        let now = Instant::now();
        for _ in 0..BATCH {
            if self.has_room_at().is_some() {
                self.deferred_since.get_or_insert(now);
                return false;
            }
            if listener.is_shared {
                // Another holder may have had it wait: all share the flag (fcntl(2)), and Go's os/exec clears it.
                let _ = listener.socket.set_nonblocking(true);
            }
            match platform::accept(&listener.socket) {
                Ok((socket, peer)) => {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    self.arrivals.push(Arrival { peer, socket, service: Arc::clone(&listener.service), since: now });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_peer_failure(&error) => {
                    self.shared.stats.count_accept_error(accept_error_of(&error));
                    log::debug!("a client was gone before it was accepted: {error}");
                }
                Err(error) => {
                    self.shared.stats.count(Counter::FailedAccept);
                    self.shared.stats.count_accept_error(accept_error_of(&error));
                    self.log_failure("cannot accept a client", &error, advice(&error));
                    self.accepting.record_failure();
                    return false;
                }
            }
        }
        false
    }

    /// Starts the connection's thread, in a slot that has been taken. Returns the connection if the system gives no thread; its
    /// slot is free then.
    fn start(&mut self, arrival: Arrival, permit: Permit) -> Option<(Arrival, Permit)> {
        let Arrival { peer, socket, service, since } = arrival;
        let (id, shared) = (self.next_id, Arc::clone(&self.shared));
        let (guard, class) = (shared.stats.connect(), permit.class());
        let client =
            ConnectionTask { id, peer: peer.into(), socket, permit, guard, service, shared: Arc::clone(&shared) };
        shared.registry.enter(id, peer);
        let role = shared.config.role;
        let builder =
            thread::Builder::new().name(format!("{}-{id}", role.thread_name())).stack_size(shared.config.stack_size);
        // A closure is dropped if there is no thread for it: the connection must not be. Held while it changes hands.
        let handed = Arc::new(Mutex::new(Some(client)));
        let taken = Arc::clone(&handed);
        match builder.spawn(move || run(taken)) {
            Ok(thread) => {
                self.next_id += 1;
                if let Some(ended) = shared.registry.keep_thread(id, thread) {
                    shared.slots.retire(ended, class);
                }
                self.accepting.reset();
                self.starting.reset();
                None
            }
            Err(error) => {
                let client = handed.lock().unwrap_or_else(PoisonError::into_inner).take();
                shared.registry.leave(id, SendCounts::default());
                shared.slots.give_back(class);
                self.log_failure(&format!("no thread for {} {peer}", role.noun()), &error, advice(&error));
                self.starting.record_failure();
                client.map(|ConnectionTask { socket, permit, service, .. }| {
                    (Arrival { peer, socket, service, since }, permit)
                })
            }
        }
    }

    fn log_failure(&mut self, what: &str, error: &io::Error, advice: &str) {
        if let Some(held) = self.failures.pass() {
            log::error!("{what}: {error}{advice}{}", more(held));
        }
    }
}

/// What a connection's thread does.
fn run(handed: Arc<Mutex<Option<ConnectionTask>>>) {
    let client = handed.lock().unwrap_or_else(PoisonError::into_inner).take();
    // It has no more use, and lives no longer.
    drop(handed);
    if let Some(client) = client {
        client.run();
    }
}

/// True if and only if `accept` failed with what was the client's own, come early: it had gone, its network is broken, a
/// packet filter has something against it (accept(2)). Any other failure may come again at once.
fn is_peer_failure(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(
            Errno::CONNABORTED
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::TIMEDOUT
                | Errno::PERM
        )
    )
}

/// What to do about `error`, if it is a limit of the system's.
fn advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN) => {
            "; raise the limit (ulimit -n, ulimit -u), or lower --max-connections"
        }
        Some(Errno::INVAL) => "; has another program that holds the listener shut it down?",
        _ => "",
    }
}

/// Turns away those who are in the listener's queue, until it is empty or `deadline` has passed.
fn drain_backlog(listener: &TcpListener, deadline: Instant) {
    loop {
        for _ in 0..BATCH {
            let Ok((socket, _)) = platform::accept(listener) else { return };
            reject(&socket);
        }
        if deadline <= Instant::now() {
            return;
        }
    }
}

/// What `accept` failed with, as it is counted.
fn accept_error_of(error: &io::Error) -> AcceptError {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => AcceptError::ProcessDescriptors,
        Some(Errno::NFILE) => AcceptError::SystemDescriptors,
        Some(Errno::CONNABORTED) => AcceptError::Aborted,
        _ => AcceptError::Other,
    }
}

/// Closes a client that gets no thread: it sees the end of the stream.
fn reject(socket: &TcpStream) {
    // It fails only if the client has gone.
    let _ = socket.shutdown(Direction::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_left_when_the_time_for_turning_away_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let _clients: Vec<_> = (0..BATCH + 3).map(|_| TcpStream::connect(addr).unwrap()).collect();
        drain_backlog(&listener, Instant::now());
        for _ in 0..3 {
            platform::accept(&listener).unwrap();
        }
        assert_eq!(platform::accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_no_clients_own_failure_is_backed_off_from() {
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        // Linux accepts a connection that was reset in the queue (measured); other systems fail with the first of these.
        for own in [
            Errno::CONNABORTED,
            Errno::PROTO,
            Errno::NOPROTOOPT,
            Errno::NETDOWN,
            Errno::NETUNREACH,
            Errno::HOSTDOWN,
            Errno::HOSTUNREACH,
            Errno::TIMEDOUT,
            Errno::PERM,
        ] {
            assert!(is_peer_failure(&error(own)), "{own}");
        }
        for other in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INVAL, Errno::BADF, Errno::OPNOTSUPP] {
            assert!(!is_peer_failure(&error(other)), "{other}");
        }
        assert!(
            advice(&error(Errno::MFILE)).contains("ulimit") && advice(&error(Errno::INVAL)).contains("shut it down")
        );
    }
}
