//! One client: its first frame, and its thread, which serves it to its last log line.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::connection_log::ConnectionLog;
use super::peer::Peer;
use super::permits::Permit;
use super::registry::Registry;
use super::slots::ThreadSlots;
use super::{Config, Role};
use crate::connection::{
    self, ClientSender, Connection, Error as ClientError, FrameSender, OverLimit, RESERVE_TIMEOUT, SendCounts, Watcher,
};
use crate::display::advice_suffix;
use crate::display::error_chain::ErrorChain;
use crate::display::throttle::{LOG_PERIOD, Throttle, more};
use crate::frame::{Frame, HEADER_LEN};
use crate::platform::Wakeup;
use crate::service::{CloseReason, Service, counted};
use crate::shutdown::Shutdown;
use crate::stats::{Closed, ConnectionGuard, Counter, Stats};
use crate::stream::Stream;
use crate::sync::Mutex;
use crate::threads::Notifier;
use crate::tls::{Acceptor, HandshakeError};

/// The largest first frame that the accept loop sends: a payload of 16 KiB, and its header. A new connection accepts that much
/// at once: ten segments (RFC 6928), and the 16 KiB of unsent bytes that its socket may hold. A larger frame would leave a part
/// to the connection's thread, and the accept loop would have copied the other one for nothing.
pub(super) const MAX_FIRST_FRAME: usize = HEADER_LEN + 16 * 1024;

/// The state shared by all connections of a server.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) stats: Arc<Stats>,
    pub(super) registry: Arc<Registry>,
    pub(super) slots: ThreadSlots,
    /// Wakes the accept loop when a permit or a slot is freed.
    pub(super) wakeup: Arc<Wakeup>,
    pub(super) log: ConnectionLog,
    pub(super) watcher: Arc<Watcher>,
    pub(super) stop: Shutdown,
    /// Guards the throttle of failed handshakes' log lines. Held for one call of it.
    pub(super) handshake_failures: Mutex<Throttle>,
    /// The same for clients that spoke another protocol.
    pub(super) unexpected_inputs: Mutex<Throttle>,
}

/// Everything that one connection's thread needs.
#[derive(Debug)]
pub(super) struct ConnectionTask {
    pub(super) id: u64,
    pub(super) peer: Peer,
    pub(super) transport: Transport,
    pub(super) permit: Permit,
    pub(super) guard: ConnectionGuard,
    pub(super) service: Arc<dyn Service>,
    pub(super) shared: Arc<Shared>,
}

/// What a connection's thread sends over.
#[derive(Debug)]
pub(super) enum Transport {
    /// The socket as it was accepted.
    Accepted(TcpStream),
    /// The sender of the first frame; the connection is counted, registered and logged.
    Started(Arc<ClientSender>),
}

impl ConnectionTask {
    /// Serves the client and retires the thread: the whole work of a connection's thread.
    pub(super) fn run(self) {
        let (id, class, shared) = (self.id, self.permit.class(), Arc::clone(&self.shared));
        let sent = self.serve();
        if let Some(thread) = shared.registry.leave(id, sent) {
            shared.slots.retire(thread, class);
        }
    }

    /// Ends the task of a connection for which the system refuses a thread. Returns the connection, which is counted no more; or
    /// `None` if it has been sent a first frame: then it is closed, because nothing would finish or repeat that.
    pub(super) fn give_up(self) -> Option<(TcpStream, Permit, Arc<dyn Service>)> {
        let Self { id, transport, permit, guard, service, shared, .. } = self;
        let sender = match transport {
            Transport::Accepted(socket) => {
                shared.registry.leave(id, SendCounts::default());
                return Some((socket, permit, service));
            }
            Transport::Started(sender) => sender,
        };
        drop(permit);
        connection::end_at_once(&sender);
        let (sent, elapsed) = (sender.sent(), sender.since().elapsed());
        drop(sender);
        shared.registry.leave(id, sent);
        shared.stats.count(Counter::FailedSpawn);
        shared.stats.count_closed(Closed::WriteError);
        shared.stats.lasted(elapsed);
        let (frames, reason) = (counted(sent.frames, "frame"), "the system refused a thread");
        shared.log.disconnected(id, elapsed, &frames, reason, guard.leave());
        None
    }

    /// Serves the client and closes its connection. Returns the counts of the frames that it was sent.
    fn serve(self) -> SendCounts {
        let Self { id, peer, transport, permit, guard, service, shared } = self;
        let peer = peer.addr();
        let started = Instant::now();
        let is_started = matches!(transport, Transport::Started(_));
        let opened = catch_unwind(AssertUnwindSafe(|| open(id, peer, transport, permit.over_limit(), &shared)));
        if opened.is_err() {
            shared.stats.count(Counter::Panicked);
        }
        let Ok(Some(mut connection)) = opened else {
            drop(permit);
            guard.leave();
            return SendCounts::default();
        };
        if !is_started {
            guard.serve();
            shared.log.connected(id, peer, guard.active_then());
        }
        let sender = Arc::clone(connection.sender());
        let served = catch_unwind(AssertUnwindSafe(|| {
            let outcome = service.serve(&mut connection, &shared.stop);
            (outcome, service.sent(&connection))
        }));
        shared.report_input(&connection);
        let (reason, sent) = end(connection, permit, served, &shared.stats);
        let total = sender.sent();
        // Dropping the last reference closes the socket.
        drop(sender);
        shared.stats.lasted(started.elapsed());
        shared.log.disconnected(id, started.elapsed(), &sent, &reason, guard.leave());
        total
    }
}

/// Returns the client's connection, after the TLS handshake if there is one. Returns `None` if and only if the handshake
/// failed; that has been logged, and the client received an alert.
// Not inlined, like `encrypt`, `shake_hands` and `end`: stack pages that a thread has touched stay resident for its client's
// lifetime, and a connection's thread needs only two.
#[inline(never)]
fn open(
    id: u64,
    peer: SocketAddr,
    transport: Transport,
    over_limit: Option<OverLimit>,
    shared: &Shared,
) -> Option<Connection> {
    let config = &shared.config;
    let sender = match transport {
        Transport::Started(sender) => {
            sender.notifier().adopt();
            sender
        }
        Transport::Accepted(socket) => {
            let stream = match config.tls.as_ref() {
                None => Stream::Plain(socket),
                Some(tls) => encrypt(id, peer, socket, tls, shared)?,
            };
            let sender = Arc::new(FrameSender::new(stream, Notifier::for_current_thread()));
            shared.registry.keep_client(id, &sender);
            sender
        }
    };
    let connection = Connection::new(
        id,
        peer,
        sender,
        Arc::clone(&shared.watcher),
        config.write_timeout,
        Arc::clone(shared.stats.waits()),
    )
    .over(over_limit);
    match config.tls.as_ref() {
        None => Some(connection),
        Some(tls) => shake_hands(connection, tls, shared),
    }
}

#[inline(never)]
fn encrypt(id: u64, peer: SocketAddr, socket: TcpStream, tls: &Acceptor, shared: &Shared) -> Option<Stream> {
    match tls.session(socket) {
        Ok(session) => Some(Stream::Tls(session)),
        Err(error) => {
            shared.handshake_failed(id, peer, &error);
            None
        }
    }
}

#[inline(never)]
fn shake_hands(connection: Connection, tls: &Acceptor, shared: &Shared) -> Option<Connection> {
    let timeout = match connection.over_limit() {
        None => shared.config.handshake_timeout,
        Some(_) => shared.config.handshake_timeout.min(RESERVE_TIMEOUT),
    };
    match connection.shake_hands(tls, timeout, &shared.stop) {
        Ok(()) => Some(connection),
        Err(error) => {
            shared.handshake_failed(connection.id(), connection.peer(), &error);
            // Closed gracefully: a reset would destroy the alert in transit.
            let _ = connection::finish(connection, ());
            None
        }
    }
}

impl Shared {
    /// Returns the shared state of a server's connections, and starts its watcher.
    ///
    /// # Errors
    /// If the system refuses a thread or a descriptor.
    pub(super) fn new(config: Config, stats: Arc<Stats>, registry: Arc<Registry>, stop: Shutdown) -> io::Result<Self> {
        let wakeup = Arc::new(Wakeup::new()?);
        Ok(Self {
            slots: ThreadSlots::new(config.max_connections, config.reserved_connections),
            log: ConnectionLog::new(config.role, Arc::clone(&stats), Arc::clone(&wakeup)),
            watcher: Arc::new(Watcher::start(&config.threads)?),
            handshake_failures: Mutex::new(Throttle::new(LOG_PERIOD)),
            unexpected_inputs: Mutex::new(Throttle::new(LOG_PERIOD)),
            wakeup,
            config,
            stats,
            registry,
            stop,
        })
    }

    /// Returns the first frame that the accept loop sends over a connection with `permit`; `None` if it sends none.
    pub(super) fn first_frame(&self, service: &dyn Service, permit: &Permit) -> Option<(Frame, u64)> {
        if self.config.tls.is_some() || permit.over_limit().is_some() {
            return None;
        }
        let first = catch_unwind(AssertUnwindSafe(|| service.first_frame())).unwrap_or_else(|_| {
            self.stats.count(Counter::Panicked);
            None
        });
        first.filter(|(frame, _)| frame.as_bytes().len() <= MAX_FIRST_FRAME)
    }

    /// Counts, registers and logs connection `id`, and then sends as much of its first frame as fits. So no client is ahead of
    /// what the server shows. Returns the sender, whose notifier the connection's thread must adopt; that finds out why a send
    /// has failed.
    ///
    /// A thread that never sends costs the kernel less: `docs/design.md`, "The first frame".
    pub(super) fn send_first(
        &self,
        id: u64,
        peer: SocketAddr,
        socket: TcpStream,
        (frame, version): &(Frame, u64),
        guard: &ConnectionGuard,
    ) -> Arc<ClientSender> {
        let sender = Arc::new(FrameSender::new(Stream::Plain(socket), Notifier::without_owner()));
        self.registry.keep_client(id, &sender);
        guard.serve();
        self.log.connected(id, peer, guard.active_then());
        // What is left is in flight, also after an error.
        let _ = sender.begin(frame, *version, None);
        sender
    }

    fn handshake_failed(&self, id: u64, peer: SocketAddr, error: &HandshakeError) {
        let noun = self.config.role.noun();
        if self.stop.is_triggered() {
            return log::debug!("{noun} {id} from {peer}: no TLS handshake: {}", ErrorChain(error));
        }
        self.stats.count(Counter::FailedHandshake);
        let mut failures = self.handshake_failures.lock();
        let (passed, is_first_suppressed) = (failures.pass(), failures.has_first());
        drop(failures);
        match passed {
            Some(suppressed) => {
                let advice = advice_suffix((self.config.handshake_advice)(error));
                let (error, more) = (ErrorChain(error), more(suppressed));
                log::warn!("{noun} {id} from {peer}: no TLS handshake: {error}{advice}{more}");
            }
            // The accept loop logs it when it is due.
            None if is_first_suppressed => self.wakeup.wake(),
            None => {}
        }
    }

    /// Logs that the client spoke another protocol, if it did. HTTP's own clients may.
    #[inline(never)]
    fn report_input(&self, connection: &Connection) {
        let Some(input) = connection.unexpected_input().filter(|_| self.config.role == Role::Clients) else { return };
        let mut inputs = self.unexpected_inputs.lock();
        let (passed, is_first_suppressed) = (inputs.pass(), inputs.has_first());
        drop(inputs);
        match passed {
            Some(suppressed) => {
                let advice = (self.config.input_advice)(input).map_or_else(String::new, |advice| format!("; {advice}"));
                let (id, peer, more) = (connection.id(), connection.peer(), more(suppressed));
                log::warn!("client {id} from {peer}: sent {input} to a port of the map{advice}{more}");
            }
            None if is_first_suppressed => self.wakeup.wake(),
            None => {}
        }
    }

    /// When suppressed failed handshakes and inputs are due for the log; `None` if there are none.
    pub(super) fn suppressed_due(&self) -> Option<Instant> {
        [self.handshake_failures.lock().due(), self.unexpected_inputs.lock().due()].into_iter().flatten().min()
    }

    /// Logs the suppressed failed handshakes and inputs that are due; at the end of the server, all of them.
    pub(super) fn log_suppressed(&self, is_end: bool) {
        let suppressed = self.unexpected_inputs.lock().release(is_end);
        if let Some(suppressed) = suppressed {
            log::warn!("{}: sent another protocol to a port of the map", counted(suppressed, "more client"));
        }
        let suppressed = self.handshake_failures.lock().release(is_end);
        if let Some(suppressed) = suppressed {
            log::warn!("{}: no TLS handshake", counted(suppressed, &format!("more {}", self.config.role.noun())));
        }
    }
}

/// Closes the connection according to its outcome, and frees its permit before the client can see that. Returns the reason
/// and the amount sent, for the log.
#[inline(never)]
fn end(
    connection: Connection,
    permit: Permit,
    served: thread::Result<(Result<CloseReason, ClientError>, String)>,
    stats: &Stats,
) -> (String, String) {
    match served {
        Ok((Ok(close_reason), sent)) => match connection::finish(connection, permit) {
            Ok(()) => {
                stats.count_closed(match close_reason {
                    CloseReason::Client => Closed::Client,
                    CloseReason::Done => Closed::Done,
                    CloseReason::Stopping => Closed::Drain,
                });
                (close_reason.to_string(), sent)
            }
            Err(error) => (count_error(&error, stats), sent),
        },
        Ok((Err(error), sent)) => {
            drop(permit);
            connection::abort(connection);
            (count_error(&error, stats), sent)
        }
        Err(_) => {
            stats.count(Counter::Panicked);
            stats.count_closed(Closed::Panic);
            let sent = format!("{} bytes", connection.bytes());
            drop(permit);
            connection::abort(connection);
            ("its thread panicked".to_owned(), sent)
        }
    }
}

/// Counts a connection's failure. Returns its text.
fn count_error(error: &ClientError, stats: &Stats) -> String {
    stats.count_closed(match error {
        ClientError::TimedOut(_) => {
            stats.count(Counter::TimedOut);
            Closed::WriteTimeout
        }
        ClientError::Cut => {
            stats.count(Counter::Cut);
            Closed::Drain
        }
        ClientError::Backlog => Closed::Backlog,
        ClientError::TooMuchInput => Closed::Flooded,
        _ => Closed::WriteError,
    });
    error.to_string()
}

pub(super) fn join(thread: thread::JoinHandle<()>) {
    if thread.join().is_err() {
        // A panic of the service is caught in `serve`; this one is the server's own.
        log::error!("a connection's thread panicked outside its service");
    }
}
