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
use super::client::{Client, Shared, join};
use crate::connection::Sent;
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
    /// again a second later. Counted as active, so `max_connections` bounds it.
    waiting: VecDeque<Client>,
    /// Accepting is resumed then, after it failed for lack of something.
    resume_at: Option<Instant>,
    pause: Duration,
    admission: Admission,
    failures: Throttle,
}

impl Acceptor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            next_id: 1,
            waiting: VecDeque::new(),
            resume_at: None,
            pause: SHORTEST_PAUSE,
            admission: Admission::new(&shared.config, &shared.stats),
            failures: Throttle::new(LOG_PERIOD),
            shared,
        }
    }

    /// Gives a thread to each client until the stop is requested. Then closes the doors: those who are still in their
    /// queues get an orderly end instead of the reset that closing a listener sends them; the queue of a listener that is
    /// shared is its next holder's.
    pub(super) fn run(&mut self, doors: Vec<Door>) -> Result<(), Error> {
        let stop = self.shared.stop.clone();
        let mut waited_for: Vec<BorrowedFd<'_>> = doors.iter().map(|door| door.listener.as_fd()).collect();
        waited_for.push(stop.as_fd());
        while !stop.is_triggered() {
            self.shared.stats.count(Event::Heartbeat);
            self.admission.settle();
            if self.waiting.is_empty() {
                // While it backs off, what waits at the listeners is not looked at.
                let waited_for = if self.is_backing_off() { &waited_for[doors.len()..] } else { &waited_for };
                platform::wait_any(waited_for, self.next_round()).map_err(Error::Wait)?;
            }
            for door in &doors {
                self.accept_batch(door);
            }
            if let Some(client) = self.waiting.pop_front() {
                self.start(client);
            }
        }
        for client in self.waiting.drain(..) {
            turn_away(&client.socket);
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
        [heartbeat, resume_at, self.admission.due()].into_iter().flatten().min()
    }

    /// True if and only if accepting is not to be tried yet.
    fn is_backing_off(&self) -> bool {
        self.resume_at.is_some_and(|at| Instant::now() < at)
    }

    fn accept_batch(&mut self, door: &Door) {
        if self.is_backing_off() {
            return;
        }
        for _ in 0..BATCH {
            match platform::accept(&door.listener) {
                Ok((socket, peer)) => self.admit(door, socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_the_clients(&error) => {
                    self.shared.stats.count_accept_error(kind_of(&error));
                    log::debug!("a client was gone before it was accepted: {error}");
                }
                Err(error) => {
                    self.shared.stats.count(Event::FailedAccept);
                    self.shared.stats.count_accept_error(kind_of(&error));
                    self.back_off("cannot accept a client", &error);
                    return;
                }
            }
        }
    }

    /// Has the client wait for its thread, if it may connect.
    fn admit(&mut self, door: &Door, socket: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let Some(place) = self.admission.admit(peer) else { return turn_away(&socket) };
        let guard = self.shared.stats.connect();
        let (service, shared) = (Arc::clone(&door.service), Arc::clone(&self.shared));
        self.waiting.push_back(Client { id: self.next_id, peer: peer.into(), socket, place, guard, service, shared });
        self.next_id += 1;
    }

    fn start(&mut self, client: Client) {
        let (id, peer, shared) = (client.id, client.peer.addr(), Arc::clone(&self.shared));
        shared.registry.enter(id, peer);
        let role = shared.config.role;
        let builder =
            thread::Builder::new().name(format!("{}-{id}", role.thread_name())).stack_size(shared.config.stack_size);
        match builder.spawn(move || client.run()) {
            Ok(thread) => {
                shared.registry.keep_thread(id, thread);
                (self.pause, self.resume_at) = (SHORTEST_PAUSE, None);
            }
            Err(error) => {
                // The closure went with the attempt, and with it the socket and the guard.
                shared.registry.leave(id, Sent::default()).into_iter().for_each(join);
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
    fn what_is_no_clients_own_failure_is_backed_off_from() {
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        for own in [Errno::CONNABORTED, Errno::PROTO, Errno::HOSTUNREACH, Errno::PERM] {
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
