//! The accept loop: one thread a client, and no error that ends it.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown as Direction, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::admission::{Admission, Place};
use super::registry::Registry;
use super::{Config, Error};
use crate::chain::Chain;
use crate::connection::{Bell, Connection, Error as ClientError, Outlet, Sent, Watcher};
use crate::platform;
use crate::service::{Goodbye, Service};
use crate::shutdown::Shutdown;
use crate::stats::{AcceptError, Closed, ConnectionGuard, Event, Stats};
use crate::stream::Stream;
use crate::throttle::Throttle;
use crate::tls::HandshakeError;

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

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) stats: Arc<Stats>,
    pub(super) registry: Arc<Registry>,
    pub(super) watcher: Arc<Watcher>,
    pub(super) stop: Shutdown,
    /// Guards when a failed handshake was last logged. Held for one look.
    pub(super) handshake_failures: Mutex<Throttle>,
}

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
        self.waiting.push_back(Client { id: self.next_id, peer, socket, place, guard, service, shared });
        self.next_id += 1;
    }

    fn start(&mut self, client: Client) {
        let (id, peer, shared) = (client.id, client.peer, Arc::clone(&self.shared));
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

/// ` (and 17 more)`, for a log line that stands for several.
pub(super) fn more(held: u64) -> String {
    if held == 0 { String::new() } else { format!(" (and {held} more like this)") }
}

pub(super) fn join(thread: thread::JoinHandle<()>) {
    if thread.join().is_err() {
        // A service's panic is caught where it happens; this one is the server's own.
        log::error!("a connection's thread panicked outside its service");
    }
}

/// A client on its way to its thread.
#[derive(Debug)]
struct Client {
    id: u64,
    peer: SocketAddr,
    socket: TcpStream,
    place: Place,
    guard: ConnectionGuard,
    service: Arc<dyn Service>,
    shared: Arc<Shared>,
}

impl Client {
    /// The whole life of a connection's thread.
    fn run(self) {
        let Self { id, peer, socket, place, guard, service, shared } = self;
        let started = Instant::now();
        guard.serve();
        let opened = catch_unwind(AssertUnwindSafe(|| open(id, peer, socket, &shared)));
        if opened.is_err() {
            shared.stats.count(Event::Panicked);
        }
        let Ok(Some(mut connection)) = opened else {
            guard.leave();
            shared.registry.leave(id, Sent::default()).into_iter().for_each(join);
            return;
        };
        let (noun, level) = (shared.config.role.noun(), shared.config.role.level());
        log::log!(level, "{noun} {id} connected from {peer} (active connections: {})", guard.active_then());
        let outlet = Arc::clone(connection.outlet());
        let served = catch_unwind(AssertUnwindSafe(|| {
            let outcome = service.serve(&mut connection, &shared.stop);
            (outcome, service.sent(&connection))
        }));
        let (reason, sent) = end(connection, served, &shared.stats);
        let total = outlet.sent();
        // The last one closes the socket.
        drop(outlet);
        // Before it is counted off: whoever sees the count fall finds the place free.
        drop(place);
        shared.stats.lasted(started.elapsed());
        let (elapsed, active) = (started.elapsed().as_secs_f64(), guard.leave());
        log::log!(
            level,
            "{noun} {id} disconnected after {elapsed:.1}s and {sent}: {reason} (active connections: {active})"
        );
        shared.registry.leave(id, total).into_iter().for_each(join);
    }
}

/// Returns the client's connection, after the TLS handshake if there is one. Returns `None` if and only if that has failed;
/// the client has been told, and the log.
fn open(id: u64, peer: SocketAddr, socket: TcpStream, shared: &Shared) -> Option<Connection> {
    let config = &shared.config;
    let stream = match config.tls.as_ref() {
        None => Stream::Plain(socket),
        Some(tls) => match tls.session(socket) {
            Ok(session) => Stream::Tls(session),
            Err(error) => {
                shared.handshake_failed(id, peer, &error);
                return None;
            }
        },
    };
    let outlet = Arc::new(Outlet::new(stream, Bell::for_this_thread()));
    shared.registry.keep_client(id, &outlet);
    let connection = Connection::new(id, peer, outlet, Arc::clone(&shared.watcher), config.write_timeout);
    let Some(tls) = config.tls.as_ref() else { return Some(connection) };
    match connection.shake_hands(tls, config.handshake_timeout, &shared.stop) {
        Ok(()) => Some(connection),
        Err(error) => {
            shared.handshake_failed(id, peer, &error);
            // In order: an alert is on its way, and the end of a half-finished handshake is no reason for a reset.
            let _ = connection.finish();
            None
        }
    }
}

impl Shared {
    fn handshake_failed(&self, id: u64, peer: SocketAddr, error: &HandshakeError) {
        if self.stop.is_triggered() {
            return log::debug!("client {id} from {peer}: no TLS handshake: {}", Chain(error));
        }
        self.stats.count(Event::FailedHandshake);
        let held = self.handshake_failures.lock().unwrap_or_else(PoisonError::into_inner).pass();
        if let Some(held) = held {
            log::warn!("client {id} from {peer}: no TLS handshake: {}{}", Chain(error), more(held));
        }
    }
}

/// Closes the connection as its outcome asks. Returns the reason, and what was sent, for the log.
fn end(
    connection: Connection,
    served: thread::Result<(Result<Goodbye, ClientError>, String)>,
    stats: &Stats,
) -> (String, String) {
    match served {
        Ok((Ok(goodbye), sent)) => match connection.finish() {
            Ok(()) => {
                stats.count_closed(match goodbye {
                    Goodbye::Client => Closed::Client,
                    Goodbye::Done => Closed::Done,
                    Goodbye::Stopping => Closed::Drain,
                });
                (goodbye.to_string(), sent)
            }
            Err(error) => (count_error(&error, stats), sent),
        },
        Ok((Err(error), sent)) => {
            connection.abort();
            (count_error(&error, stats), sent)
        }
        Err(_) => {
            stats.count(Event::Panicked);
            stats.count_closed(Closed::Panic);
            let sent = format!("{} bytes", connection.bytes());
            connection.abort();
            ("its thread panicked".to_owned(), sent)
        }
    }
}

/// Counts what a connection failed with, where that is counted. Returns its text.
fn count_error(error: &ClientError, stats: &Stats) -> String {
    stats.count_closed(match error {
        ClientError::TimedOut(_) => {
            stats.count(Event::TimedOut);
            Closed::WriteTimeout
        }
        ClientError::Cut => {
            stats.count(Event::Cut);
            Closed::Drain
        }
        ClientError::Flooded => Closed::Flooded,
        _ => Closed::WriteError,
    });
    error.to_string()
}
