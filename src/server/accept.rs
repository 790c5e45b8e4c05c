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
use crate::throttle::{Throttle, more};

/// Connections taken from one listener before the next one has its turn.
const BATCH: usize = 64;

/// The pause after an `accept` or a thread that failed for lack of something: 10 ms, doubling to 1 s. NATS does the
/// same; a loop without it burns a core for as long as the lack lasts.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long, after the stop, those who are still in a listener's queue are turned away in order: 50 ms, enough for the
/// 4096 of a full queue (12 us of the server's for each, measured). Whoever keeps coming must not keep the listener open.
const TURNING_AWAY: Duration = Duration::from_millis(50);

/// At most one log line of a kind in this time.
pub(super) const LOG_PERIOD: Duration = Duration::from_secs(1);

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
            if self.waiting.is_empty() && self.is_backing_off() {
                stop.wait(self.resume_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now())));
            } else {
                if self.waiting.is_empty() {
                    let heartbeat = self.shared.config.heartbeat.and_then(|every| Instant::now().checked_add(every));
                    platform::wait_any(&waited_for, heartbeat).map_err(Error::Wait)?;
                }
                for door in &doors {
                    self.accept_batch(door);
                }
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
                Err(error) if is_lack(&error) => {
                    self.shared.stats.count(Event::FailedAccept);
                    self.shared.stats.count_accept_error(kind_of(&error));
                    self.back_off("cannot accept a client", &error);
                    return;
                }
                // The client's own failure, come early: gone before it was accepted, a broken network (accept(2)).
                Err(error) => {
                    self.shared.stats.count_accept_error(kind_of(&error));
                    log::debug!("a client was gone before it was accepted: {error}");
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
            log::error!(
                "{what}: {error}; raise the limit (ulimit -n, ulimit -u), or lower --max-connections{}",
                more(held)
            );
        }
        self.resume_at = Instant::now().checked_add(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// True if and only if `accept` failed for lack of descriptors or memory: it will fail again until some are free.
fn is_lack(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
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
