//! The accept loop: one thread a client, and no error that ends it.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown as Direction, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::Error;
use super::admission::Admission;
use super::arrivals::{Arrival, Arrivals};
use super::client::{Client, Shared};
use super::places::{Place, Reason};
use super::slots::Class;
use crate::connection::{RESERVE_TIMEOUT, Sent};
use crate::platform;
use crate::service::Service;
use crate::stats::{AcceptError, Event};
use crate::throttle::{LOG_PERIOD, Throttle, more};

/// Connections taken from one listener before the next one has its turn.
const BATCH: usize = 64;

/// The pause after an `accept` or a thread that failed for lack of something: 10 ms, doubling to 1 s. NATS does the
/// same; a loop without it burns a core for as long as the lack lasts.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many times [`Config::place_timeout`](super::Config::place_timeout) connections are left in the listeners' queues while
/// too many arrivals are held, where there is a reserve: with HTTP's 200 ms, health checks are answered within 1 s.
const MOST_DEFERRALS: u32 = 2;

/// How long a connection that is refused an ordinary place waits for a reserved one, where there are any: five times as long
/// as a silent peer may hold one.
const RESERVE_WAIT: Duration = RESERVE_TIMEOUT.saturating_mul(5);

/// How long, after the stop, those who are still in a listener's queue are turned away in order: 50 ms, enough for the
/// 4096 of a full queue (12 us of the server's for each, measured). Whoever keeps coming must not keep the listener open.
const TURNING_AWAY: Duration = Duration::from_millis(50);

/// A listener and what is done for those who come to it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) service: Arc<dyn Service>,
    /// True if another process holds the listener open: closing it resets nobody.
    pub(super) is_shared: bool,
}

/// The accept loop's own state.
pub(super) struct Acceptor {
    shared: Arc<Shared>,
    next_id: u64,
    /// Accepted, and without a thread yet. A thread takes ten times as long to start as a connection to accept: in a
    /// burst the kernel's queue is emptied before each start, so that it does not overflow and no client's SYN is sent
    /// again a second later.
    arrivals: Arrivals,
    /// Has a place, and waits for a slot: a thread that has given up its place is about to end.
    ready: Option<(Arrival, Place)>,
    /// Refused an ordinary place, why, and until when they wait for a reserved one. The first one is the oldest.
    for_reserve: VecDeque<(Arrival, Reason, Instant)>,
    /// Since when connections have been left in the listeners' queues because too many arrivals were held; `None` once the
    /// queues have been empty.
    deferred_since: Option<Instant>,
    /// Accepting is resumed then, after it failed for lack of something.
    resume_at: Option<Instant>,
    pause: Duration,
    admission: Admission,
    failures: Throttle,
}

impl Acceptor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let config = &shared.config;
        Self {
            next_id: 1,
            arrivals: Arrivals::new(config.max_waiting, config.place_timeout, config.reserved_connections > 0),
            ready: None,
            for_reserve: VecDeque::new(),
            deferred_since: None,
            resume_at: None,
            pause: SHORTEST_PAUSE,
            admission: Admission::new(config, &shared.stats, Arc::clone(&shared.wakeup)),
            failures: Throttle::new(LOG_PERIOD),
            shared,
        }
    }

    /// Gives a thread to each client until the stop is requested. Then closes the doors: those who are still in their
    /// queues get an orderly end instead of the reset that closing a listener sends them; the queue of a listener that is
    /// shared is its next holder's.
    pub(super) fn run(&mut self, doors: Vec<Door>) -> Result<(), Error> {
        let (stop, wakeup) = (self.shared.stop.clone(), Arc::clone(&self.shared.wakeup));
        let mut waited_for: Vec<BorrowedFd<'_>> = doors.iter().map(|door| door.listener.as_fd()).collect();
        waited_for.extend([stop.as_fd(), wakeup.as_fd()]);
        while !stop.is_triggered() {
            self.shared.stats.count(Event::Heartbeat);
            self.admission.settle();
            self.shared.log.flush(false);
            self.refuse_expired();
            self.start_reserved();
            if !self.start_next() {
                // While accepting is put off, what waits at the listeners is not looked at.
                let waited_for = if self.accepts() { &waited_for } else { &waited_for[doors.len()..] };
                let ready = platform::wait_any(waited_for, self.next_round()).map_err(Error::Wait)?;
                if ready.last() == Some(&true) {
                    wakeup.clear();
                }
            }
            if !self.is_backing_off() {
                // All of them, although one fails: the next round begins with the same one.
                let emptied = doors.iter().filter(|door| self.accept_batch(door)).count();
                if emptied == doors.len() {
                    self.deferred_since = None;
                }
            }
        }
        let waiting = self.for_reserve.drain(..).map(|(arrival, ..)| arrival);
        let held =
            self.ready.take().map(|(arrival, _)| arrival).into_iter().chain(self.arrivals.drain()).chain(waiting);
        for arrival in held {
            turn_away(&arrival.socket);
        }
        let deadline = Instant::now() + TURNING_AWAY;
        for door in doors.into_iter().filter(|door| !door.is_shared) {
            empty(&door.listener, deadline);
        }
        Ok(())
    }

    /// When the loop comes round even if nobody comes; `None` if it need not.
    fn next_round(&self) -> Option<Instant> {
        let heartbeat = self.shared.config.heartbeat.and_then(|every| Instant::now().checked_add(every));
        let resume_at = self.resume_at.filter(|_| self.is_backing_off());
        let expiry = self.arrivals.deadline(&self.admission);
        let reserve = self.for_reserve.front().map(|(_, _, deadline)| *deadline);
        [heartbeat, resume_at, expiry, reserve, self.has_room_at(), self.admission.due(), self.shared.log.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// True if and only if accepting is not to be tried yet.
    fn is_backing_off(&self) -> bool {
        self.resume_at.is_some_and(|at| Instant::now() < at)
    }

    /// True if and only if connections may be accepted now. Others wait in the kernel's queue.
    fn accepts(&self) -> bool {
        !self.is_backing_off() && self.has_room_at().is_none()
    }

    /// When connections may be accepted all the same, though too many arrivals are held: those that do not get a place by
    /// then are refused. `None` if there is room, or no place has been freed for as long as connections wait for one. Where
    /// there is a reserve, also if connections have been left in the queues for long: a health check may be among them.
    fn has_room_at(&self) -> Option<Instant> {
        if !self.arrivals.is_full(self.admission.free()) {
            return None;
        }
        let config = &self.shared.config;
        let quiet = self.admission.places().last_freed()?.checked_add(config.place_timeout);
        let deferred = self.deferred_since.filter(|_| config.reserved_connections > 0);
        let overdue = deferred.and_then(|since| since.checked_add(config.place_timeout.saturating_mul(MOST_DEFERRALS)));
        quiet.into_iter().chain(overdue).min().filter(|at| *at > Instant::now())
    }

    /// Starts the thread of the next connection that has a place. Returns false if and only if none can be started before
    /// something happens: the loop's wakeup is armed then, if it matters.
    fn start_next(&mut self) -> bool {
        if self.try_start() {
            return true;
        }
        let is_idle = self.ready.is_none() && self.arrivals.is_empty() && self.for_reserve.is_empty();
        if is_idle && self.has_room_at().is_none() {
            return false;
        }
        self.shared.wakeup.arm();
        // What was freed before it was armed did not notify it.
        self.start_reserved();
        self.try_start()
    }

    fn try_start(&mut self) -> bool {
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
        if let Some((arrival, place)) = self.ready.take() {
            self.start(arrival, place);
        }
        true
    }

    /// Refuses the connections that have waited for a place long enough.
    fn refuse_expired(&mut self) {
        while let Some((arrival, reason)) = self.arrivals.expire(&self.admission) {
            self.refuse(arrival, reason);
        }
    }

    /// Gives the connection a reserved place, now or soon, or closes it: its client sees the end of the stream.
    fn refuse(&mut self, arrival: Arrival, reason: Reason) {
        let config = &self.shared.config;
        let may_wait = config.reserved_connections > 0 && reason != Reason::Denied;
        if may_wait && self.for_reserve.len() < config.max_waiting {
            self.for_reserve.push_back((arrival, reason, Instant::now() + RESERVE_WAIT));
            self.start_reserved();
        } else {
            self.turn_away(&arrival, reason);
        }
    }

    /// Starts the threads of the connections that have a reserved place now, and closes those that have waited for one long
    /// enough. One whose address has its share lets others pass.
    fn start_reserved(&mut self) {
        for _ in 0..self.for_reserve.len() {
            let Some((arrival, reason, deadline)) = self.for_reserve.pop_front() else { return };
            match self.admission.admit_reserved(arrival.peer, reason) {
                Some(place) if self.shared.slots.take(Class::Reserved) => self.start(arrival, place),
                _ if deadline <= Instant::now() => self.turn_away(&arrival, reason),
                _ => self.for_reserve.push_back((arrival, reason, deadline)),
            }
        }
    }

    fn turn_away(&mut self, arrival: &Arrival, reason: Reason) {
        self.admission.refuse(reason, arrival.peer);
        turn_away(&arrival.socket);
    }

    /// Accepts some of those that wait at the listener. Returns true if and only if none is left.
    fn accept_batch(&mut self, door: &Door) -> bool {
        let now = Instant::now();
        for _ in 0..BATCH {
            if self.has_room_at().is_some() {
                self.deferred_since.get_or_insert(now);
                return false;
            }
            if door.is_shared {
                // Another holder may have had it wait: all share the flag (fcntl(2)), and Go's os/exec clears it.
                let _ = door.listener.set_nonblocking(true);
            }
            match platform::accept(&door.listener) {
                Ok((socket, peer)) => {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    self.arrivals.push(Arrival { peer, socket, service: Arc::clone(&door.service), since: now });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_the_clients(&error) => {
                    self.shared.stats.count_accept_error(kind_of(&error));
                    log::debug!("a client was gone before it was accepted: {error}");
                }
                Err(error) => {
                    self.shared.stats.count(Event::FailedAccept);
                    self.shared.stats.count_accept_error(kind_of(&error));
                    self.back_off("cannot accept a client", &error);
                    return false;
                }
            }
        }
        false
    }

    /// Starts the connection's thread, in a slot that has been taken.
    fn start(&mut self, arrival: Arrival, place: Place) {
        let Arrival { peer, socket, service, .. } = arrival;
        let (id, shared) = (self.next_id, Arc::clone(&self.shared));
        self.next_id += 1;
        let (guard, class) = (shared.stats.connect(), place.class());
        let client = Client { id, peer: peer.into(), socket, place, guard, service, shared: Arc::clone(&shared) };
        shared.registry.enter(id, peer);
        let role = shared.config.role;
        let builder =
            thread::Builder::new().name(format!("{}-{id}", role.thread_name())).stack_size(shared.config.stack_size);
        match builder.spawn(move || client.run()) {
            Ok(thread) => {
                if let Some(ended) = shared.registry.keep_thread(id, thread) {
                    shared.slots.retire(ended, class);
                }
                (self.pause, self.resume_at) = (SHORTEST_PAUSE, None);
            }
            Err(error) => {
                // The closure went with the attempt, and with it the socket and the guard.
                shared.registry.leave(id, Sent::default());
                shared.slots.give_back(class);
                shared.stats.count(Event::FailedSpawn);
                self.back_off(&format!("no thread for {} {peer}, closed", role.noun()), &error);
            }
        }
    }

    /// Puts the next try off, longer each time in a row, so that a lack is neither a spin nor a full disk.
    fn back_off(&mut self, what: &str, error: &io::Error) {
        if let Some(held) = self.failures.pass() {
            log::error!("{what}: {error}{}{}", advice(error), more(held));
        }
        self.resume_at = Instant::now().checked_add(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// True if and only if `accept` failed with what was the client's own, come early: it had gone, its network is broken, a
/// packet filter has something against it (accept(2)). Any other failure may come again at once.
fn is_the_clients(error: &io::Error) -> bool {
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
fn empty(listener: &TcpListener, deadline: Instant) {
    loop {
        for _ in 0..BATCH {
            let Ok((socket, _)) = platform::accept(listener) else { return };
            turn_away(&socket);
        }
        if deadline <= Instant::now() {
            return;
        }
    }
}

/// What `accept` failed with, as it is counted.
fn kind_of(error: &io::Error) -> AcceptError {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => AcceptError::ProcessDescriptors,
        Some(Errno::NFILE) => AcceptError::SystemDescriptors,
        Some(Errno::CONNABORTED) => AcceptError::Aborted,
        _ => AcceptError::Other,
    }
}

/// Closes a client that gets no thread: it sees the end of the stream.
fn turn_away(socket: &TcpStream) {
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
        empty(&listener, Instant::now());
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
            assert!(is_the_clients(&error(own)), "{own}");
        }
        for other in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INVAL, Errno::BADF, Errno::OPNOTSUPP] {
            assert!(!is_the_clients(&error(other)), "{other}");
        }
        assert!(
            advice(&error(Errno::MFILE)).contains("ulimit") && advice(&error(Errno::INVAL)).contains("shut it down")
        );
    }
}
