//! The accept loop: starts one thread per client; no error ends it.

use std::io;
use std::net::{Shutdown as Direction, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::admission::Admission;
use super::arrivals::{Arrival, Arrivals};
use super::backoff::Backoff;
use super::client::{ConnectionTask, Shared, Transport};
use super::permits::{Permit, RefusalReason};
use super::reserve::Reserve;
use super::slots::Class;
use crate::display::throttle::{LOG_PERIOD, Throttle, more};
use crate::platform::{self, AsFd, BorrowedFd};
use crate::service::{Service, counted};
use crate::stats::{AcceptError, Counter};
use crate::sync::Mutex;

/// Connections accepted from one listener before the loop goes to the next: 64.
const BATCH: usize = 64;

/// How long connections are left in the listeners' queues while too many arrivals are held and there is a reserve, in
/// multiples of [`Config::admission_timeout`](super::Config::admission_timeout): 2. With HTTP's 200 ms, health checks are
/// answered within 1 s.
const MAX_DEFERRALS: u32 = 2;

/// How long, after the stop, connections in a listener's queue are closed gracefully: 50 ms, enough for the 4096 of a full
/// queue (12 us of the server's time each, measured). A flood of connects must not keep the listener open.
const REJECT_PERIOD: Duration = Duration::from_millis(50);

/// A listener and the service of its clients.
#[derive(Debug)]
pub(super) struct BoundListener {
    pub(super) socket: TcpListener,
    pub(super) service: Arc<dyn Service>,
    /// True if another process holds the listener open, so that closing it here resets no connection.
    pub(super) is_shared: bool,
}

/// How long after a refused thread the accept loop sends no first frames: 10 s. While threads are short, each one that becomes
/// free would otherwise cost the next client its connection.
const FIRST_FRAME_PAUSE: Duration = Duration::from_secs(10);

/// The state of the accept loop.
pub(super) struct AcceptLoop {
    pub(super) shared: Arc<Shared>,
    next_id: u64,
    /// Accepted connections without a thread. Starting a thread takes ten times as long as accepting: in a burst the kernel's
    /// queue is emptied before each start, so that it does not overflow and no client must retransmit its SYN after 1 s.
    pub(super) arrivals: Arrivals,
    /// A connection that has a permit and waits for a slot (the thread that freed the permit is about to end) or a thread.
    pub(super) ready: Option<(Arrival, Permit)>,
    /// Connections that were refused an ordinary permit.
    reserve: Reserve,
    /// Since when connections have been left in the listeners' queues because too many arrivals were held; `None` once the
    /// queues have been empty.
    deferred_since: Option<Instant>,
    /// Pauses after `accept` failed for lack of a resource.
    accepting: Backoff,
    /// Pauses after the system refused a thread.
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

    /// Starts a thread for each client until the stop is requested, then closes the listeners. Connections in their queues are
    /// closed gracefully, because closing a listener resets them; the queue of a shared listener is left to its next holder.
    pub(super) fn run(&mut self, listeners: Vec<BoundListener>) {
        let (stop, wakeup) = (self.shared.stop.clone(), Arc::clone(&self.shared.wakeup));
        let mut polled: Vec<BorrowedFd<'_>> = listeners.iter().map(|listener| listener.socket.as_fd()).collect();
        polled.extend([stop.as_fd(), wakeup.as_fd()]);
        while !stop.is_triggered() {
            self.log_suppressed(false);
            self.refuse_expired();
            self.start_reserved();
            if self.start_next() {
                self.shared.stats.count(Counter::Heartbeat);
            } else {
                // The listeners are not polled while accepting is paused.
                let polled = if self.accepts() { &polled } else { &polled[listeners.len()..] };
                match platform::wait_any(polled, self.next_round()) {
                    Ok(ready) => {
                        self.shared.stats.count(Counter::Heartbeat);
                        if ready.last() == Some(&true) {
                            wakeup.clear();
                        }
                    }
                    // The failed poll has paused for a moment. Until a poll succeeds, the loop tries all its work, and counts no
                    // rounds, so that the monitor reports it.
                    Err(error) => self.log_failure("cannot wait for clients", &error, "; raise the limit (ulimit -n)"),
                }
            }
            if !self.is_backing_off() {
                // Tries every listener even if one fails: the next round starts with the same one.
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
        self.log_suppressed(true);
    }

    /// Logs the suppressed lines that are due; at the end, all of them. The drain logs those that threads add later.
    fn log_suppressed(&mut self, is_end: bool) {
        self.admission.flush_suppressed(is_end);
        self.shared.log.flush(false);
        self.shared.log_suppressed(is_end);
        if let Some(suppressed) = self.failures.release(is_end) {
            log::error!(
                "{} to accept or serve {}s",
                counted(suppressed, "more failure"),
                self.shared.config.role.noun()
            );
        }
    }

    /// When the next round is due without a new client; `None` if none is.
    fn next_round(&self) -> Option<Instant> {
        let heartbeat = self.shared.config.heartbeat.and_then(|every| Instant::now().checked_add(every));
        let (accepting, starting) = (self.accepting.resume_at(), self.starting.resume_at());
        let (expiry, recheck) = (self.arrivals.deadline(&self.admission), self.reserve.next_check());
        let (refusals, failures) = (self.admission.due(), self.failures.due());
        let (suppressed, log) = (self.shared.suppressed_due(), self.shared.log.due());
        let all =
            [heartbeat, accepting, starting, expiry, recheck, self.has_room_at(), refusals, failures, suppressed, log];
        all.into_iter().flatten().min()
    }

    /// True if and only if accepting is paused after a failure. New connections wait in the kernel's queue.
    fn is_backing_off(&self) -> bool {
        self.accepting.resume_at().is_some() || self.starting.resume_at().is_some()
    }

    /// True if and only if connections may be accepted now; otherwise they wait in the kernel's queue.
    fn accepts(&self) -> bool {
        !self.is_backing_off() && self.has_room_at().is_none()
    }

    /// When connections are accepted although too many arrivals are held: those without a permit by then are refused. `None`
    /// if there is room, or if no permit has been freed for the admission timeout. With a reserve, also `None` if connections
    /// have been left in the queues for too long: a health check may be among them.
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

    /// Starts the thread of the next connection that has a permit. Returns false if and only if no thread can be started before
    /// another event; the loop's wakeup is armed then, if it matters.
    fn start_next(&mut self) -> bool {
        if self.try_start() {
            return true;
        }
        let is_idle = self.ready.is_none() && self.arrivals.is_empty() && self.reserve.is_empty();
        if is_idle && self.has_room_at().is_none() {
            return false;
        }
        self.shared.wakeup.arm();
        // A permit that was freed before the arming did not notify the wakeup.
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

    /// Closes and counts the connections that have been held for the admission timeout while the system refused threads. The
    /// others are tried again after the pause.
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

    /// Refuses the connections whose wait for a permit or a thread has timed out.
    pub(super) fn refuse_expired(&mut self) {
        self.close_without_thread();
        while let Some((arrival, reason)) = self.arrivals.expire(&self.admission) {
            self.refuse(arrival, reason);
        }
        for (arrival, reason) in self.reserve.recheck() {
            self.reject(&arrival, reason);
        }
    }

    /// Queues the connection for a reserved permit, or closes it: its client sees the end of the stream.
    fn refuse(&mut self, arrival: Arrival, reason: RefusalReason) {
        let rejected =
            if reason == RefusalReason::Denied { Some((arrival, reason)) } else { self.reserve.push(arrival, reason) };
        if let Some((arrival, reason)) = rejected {
            self.reject(&arrival, reason);
        }
        self.start_reserved();
    }

    /// Starts the threads of queued connections that get a reserved permit. Skips those whose address has its share.
    fn start_reserved(&mut self) {
        while self.reserve.has_request()
            && self.starting.resume_at().is_none()
            && self.shared.slots.take(Class::Reserved)
        {
            let taken = self.reserve.take(|peer, reason| self.admission.admit_reserved(peer, reason));
            let Some((arrival, reason, permit)) = taken else {
                return self.shared.slots.give_back(Class::Reserved);
            };
            // If the system refuses a thread, the connection waits on until its time-out.
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

    /// Accepts a batch of connections. Returns true if and only if the listener's queue is empty.
    fn accept_batch(&mut self, listener: &BoundListener) -> bool {
        let now = Instant::now();
        for _ in 0..BATCH {
            if self.has_room_at().is_some() {
                self.deferred_since.get_or_insert(now);
                return false;
            }
            if listener.is_shared {
                // Another holder may have made it blocking: all share the flag (fcntl(2)), and Go's os/exec clears it.
                let _ = listener.socket.set_nonblocking(true);
            }
            match platform::accept(&listener.socket) {
                Ok((socket, peer)) => {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    let service = Arc::clone(&listener.service);
                    self.arrivals.push(Arrival { peer, socket, service, since: now });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_peer_failure(&error) => {
                    self.shared.stats.count_accept_error(accept_error_of(&error));
                    log::debug!("a client disconnected before it was accepted: {error}");
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

    /// Sends the connection's first frame and starts its thread in a slot that has been taken. If the system refuses a thread,
    /// the slot is free then, and the connection is returned, or closed if a first frame was sent.
    fn start(&mut self, arrival: Arrival, permit: Permit) -> Option<(Arrival, Permit)> {
        let Arrival { peer, socket, service, since } = arrival;
        let (id, shared) = (self.next_id, Arc::clone(&self.shared));
        let (guard, class) = (shared.stats.connect(), permit.class());
        shared.registry.enter(id, peer);
        // A connection with a first frame cannot wait for a thread.
        let may_send = self.starting.is_quiet(FIRST_FRAME_PAUSE);
        let first = if may_send { shared.first_frame(&*service, &permit) } else { None };
        let transport = match first {
            Some(first) => Transport::Started(shared.send_first(id, peer, socket, &first, &guard)),
            None => Transport::Accepted(socket),
        };
        let task =
            ConnectionTask { id, peer: peer.into(), transport, permit, guard, service, shared: Arc::clone(&shared) };
        let role = shared.config.role;
        let builder =
            thread::Builder::new().name(format!("{}-{id}", role.thread_name())).stack_size(shared.config.stack_size);
        // A failed spawn drops its closure, but must not drop the connection. Locked only for the hand-over.
        let hand_over = Arc::new(Mutex::new(Some(task)));
        let taken = Arc::clone(&hand_over);
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
                let task = hand_over.lock().take();
                shared.slots.give_back(class);
                self.log_failure(&format!("cannot start a thread for {} {peer}", role.noun()), &error, advice(&error));
                self.starting.record_failure();
                let task = task?;
                // The log has it already.
                self.next_id += u64::from(matches!(task.transport, Transport::Started(_)));
                let (socket, permit, service) = task.give_up()?;
                Some((Arrival { peer, socket, service, since }, permit))
            }
        }
    }

    fn log_failure(&mut self, what: &str, error: &io::Error, advice: &str) {
        if let Some(suppressed) = self.failures.pass() {
            log::error!("{what}: {error}{advice}{}", more(suppressed));
        }
    }
}

/// The main function of a connection's thread.
fn run(hand_over: Arc<Mutex<Option<ConnectionTask>>>) {
    let task = hand_over.lock().take();
    // Freed early.
    drop(hand_over);
    if let Some(task) = task {
        task.run();
    }
}

/// True if and only if `accept` failed because of the client: it has disconnected, its network is broken, or a packet
/// filter rejects it (accept(2)). Any other failure may recur at once.
fn is_peer_failure(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| platform::PEER_FAILURES.contains(&errno))
}

/// Advice about `error`, if a limit of the system caused it.
fn advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(errno) if platform::RESOURCE_LIMITS.contains(&errno) => {
            "; raise the limit (ulimit -n, ulimit -u), or lower the limit on connections"
        }
        Some(Errno::INVAL) => "; has another program that holds the listener shut it down?",
        _ => "",
    }
}

/// Closes the connections in the listener's queue gracefully until it is empty or `deadline` has passed.
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

/// Returns the counter for a failure of `accept`.
fn accept_error_of(error: &io::Error) -> AcceptError {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => AcceptError::ProcessDescriptors,
        errno if errno.is_some() && errno == platform::SYSTEM_DESCRIPTORS => AcceptError::SystemDescriptors,
        Some(Errno::CONNABORTED) => AcceptError::Aborted,
        _ => AcceptError::Other,
    }
}

/// Closes a client that gets no thread: it sees the end of the stream.
fn reject(socket: &TcpStream) {
    // Fails only if the client has disconnected.
    let _ = socket.shutdown(Direction::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_a_listeners_queue_ends_at_its_deadline() {
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
    fn an_accept_failure_that_no_client_caused_is_backed_off() {
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
