//! The server: listeners, a thread a client, and a stop that leaves nobody behind. Knows no maps.

mod accept;
#[cfg(test)]
mod accept_tests;
mod admission;
mod arrivals;
mod backoff;
mod client;
mod connection_log;
mod handle;
mod limits;
mod monitor;
mod peer;
mod permits;
mod registry;
#[cfg(test)]
mod registry_tests;
mod reserve;
mod slots;
#[cfg(test)]
mod slots_tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::platform;
use crate::service::{ServerMonitor, Service, counted};
use crate::shutdown::Shutdown;
use crate::stats::{Counter, Stats};
use crate::threads::{ROUND, Thread, Threads};
use crate::tls;

use accept::{AcceptLoop, BoundListener};
use client::{Shared, join};
pub use handle::Handle;
pub use ipnet::IpNet;
pub use limits::{Capacity, Limit};
use monitor::Monitor;
use registry::Registry;

/// The most clients unless announced otherwise: 10,000, as in Redis.
pub const DEFAULT_MAX_CONNECTIONS: u64 = 10_000;

/// The deadline for one whole frame unless announced otherwise: 10 s, as in NATS.
pub const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time for a clean stop unless announced otherwise: 10 s.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is silent before the kernel asks whether the client is still there, unless announced otherwise: 60 s.
pub const DEFAULT_KEEPALIVE: Duration = platform::KEEPALIVE_IDLE;

/// The stack of a connection's thread: 128 KiB. Resident memory does not depend on it (9.7 KiB a thread from 32 KiB to
/// 2 MiB, measured); a panic with a backtrace needs more than 24 KiB. A TLS handshake and what follows it need 32 KiB
/// (P-256 and RSA-2048, with and without a client's certificate, X25519MLKEM768), and 72 KiB without optimization: found
/// by trying sizes in steps of 4 KiB.
const STACK_SIZE: usize = 128 * 1024;

/// How many connections above a limit wait for a permit at once, unless announced otherwise: 10,000.
pub const DEFAULT_MAX_WAITING: usize = 10_000;

/// How long a connection above a limit waits for a permit, unless announced otherwise: 1 s.
pub const DEFAULT_ADMISSION_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the threads of connections that were cut may take to notice.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// How long the end waits for the thread that reads the certificates: their file system may hang.
const CERTIFICATES_LIMIT: Duration = Duration::from_millis(500);

/// What a server is made with. Write `ServerConfig { max_connections: 100, ..ServerConfig::default() }`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Clients at once. Default [`DEFAULT_MAX_CONNECTIONS`]. The server has no more connection threads than this and
    /// [`reserved_connections`](Self::reserved_connections) together. The sum over the servers of a process must not be
    /// above [`Capacity::clients`].
    pub max_connections: u64,
    /// How long a client above a limit waits for a permit before it is closed: the client that leaves may not have been
    /// noticed yet. The time starts again whenever a connection ends, up to five times as long in all, but not where there are
    /// [`reserved_connections`](Self::reserved_connections). Default
    /// [`DEFAULT_ADMISSION_TIMEOUT`].
    pub admission_timeout: Duration,
    /// How many clients may wait for a permit, each with a descriptor; others wait in the listeners' queues. Default
    /// [`DEFAULT_MAX_WAITING`].
    pub max_waiting: usize,
    /// Clients at once from one address; those above it are closed. IPv4 that came as IPv6 is IPv4; of an IPv6 address
    /// the first 64 bits count, because a machine has all the addresses behind them. Default `None`: no such limit.
    pub max_connections_per_ip: Option<u64>,
    /// Connections at once above the two limits, for services that then answer one request and close: see
    /// [`Connection::over_limit`](crate::connection::Connection::over_limit). One address has a quarter of them at most.
    /// Default 0: who exceeds a limit is closed.
    pub reserved_connections: u64,
    /// Who may connect: a client whose address is in none of these networks is closed, before a thread is spent on it.
    /// Default empty: everyone.
    pub allow: Vec<IpNet>,
    /// How long a connection is silent before the kernel asks whether the client is still there, in whole seconds from
    /// 1 s to 32,767 s; `None` never asks. Default [`DEFAULT_KEEPALIVE`].
    pub keepalive: Option<Duration>,
    /// How long a client may take for one whole frame. Default [`DEFAULT_WRITE_TIMEOUT`].
    pub write_timeout: Duration,
    /// How long the stop waits for frames in flight before it cuts. Default [`DEFAULT_DRAIN_TIMEOUT`].
    pub drain_timeout: Duration,
    /// The stack of a connection's thread in bytes. Default 128 KiB.
    pub stack_size: usize,
    /// Encrypts every connection, if it is there. Default: none. Wants the feature `tls`.
    pub tls: Option<Arc<tls::Acceptor>>,
    /// How long a client may take for the whole TLS handshake. Default [`tls::DEFAULT_HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// Whom it serves, as the log has it. Default clients.
    pub role: Role,
    /// Has other servers listen on the same ports (`SO_REUSEPORT`, socket(7)), each in a process of its own, all with this
    /// set and of the same user: the kernel spreads the clients over them. Default false.
    pub reuse_port: bool,
    /// The accept loop comes round at least this often, and counts it ([`Stats::heartbeats`]): for a watchdog. Default
    /// `None`: it comes round when there is something to do.
    pub heartbeat: Option<Duration>,
    /// The long-lived threads that its own are to be among, for a monitor. Default: of its own.
    pub threads: Threads,
}

/// How much nicer HTTP's threads are (nice(1)): each has a tenth of what one that sends the map has of the same core, and all
/// of a core that is idle. At 19, with a sixtieth, 9,000 clients had a change no earlier (p99 64.1 and 64.4 ms, measured), and
/// on a machine that others keep busy a health check would have failed.
const HTTP_NICENESS: i32 = 10;

/// Whom a server serves: how its connections are called, and how loudly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Clients: each is worth a line in the log, at info, and a thread `client-N`.
    #[default]
    Clients,
    /// Whoever looks at a server of clients over HTTP, a thousand times a second: lines at debug, threads `http-N`.
    Http,
}

impl Role {
    fn noun(self) -> &'static str {
        match self {
            Self::Clients => "client",
            Self::Http => "http client",
        }
    }

    fn thread_name(self) -> &'static str {
        match self {
            Self::Clients => "client",
            Self::Http => "http",
        }
    }

    /// What a user raises if there are too many of them.
    fn limit_option(self) -> &'static str {
        match self {
            Self::Clients => "--max-connections",
            Self::Http => "--http-max-connections",
        }
    }

    /// For the lines of the ordinary course of things.
    fn level(self) -> log::Level {
        match self {
            Self::Clients => log::Level::Info,
            Self::Http => log::Level::Debug,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            admission_timeout: DEFAULT_ADMISSION_TIMEOUT,
            max_waiting: DEFAULT_MAX_WAITING,
            max_connections_per_ip: None,
            reserved_connections: 0,
            allow: Vec::new(),
            keepalive: Some(DEFAULT_KEEPALIVE),
            write_timeout: DEFAULT_WRITE_TIMEOUT,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            stack_size: STACK_SIZE,
            tls: None,
            handshake_timeout: tls::DEFAULT_HANDSHAKE_TIMEOUT,
            role: Role::default(),
            reuse_port: false,
            heartbeat: None,
            threads: Threads::default(),
        }
    }
}

impl Config {
    /// True if and only if whoever reaches a listener is served.
    fn is_open(&self) -> bool {
        self.allow.is_empty() && self.tls.is_none()
    }
}

/// Why a server could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}{}", listen_advice(source))]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The server was given nothing to listen on.
    #[error("no listener: call Server::bind or Server::listen first")]
    NoListener,
    /// The system gave no thread or descriptor for the server itself.
    #[error("the system gives no thread or descriptor for the server itself")]
    Start(#[source] io::Error),
}

fn listen_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            " (another program listens there, or another option of this one: stop it, or choose another port)"
        }
        io::ErrorKind::PermissionDenied => " (ports below 1024 are the system's: choose another port)",
        io::ErrorKind::AddrNotAvailable => " (this machine has no such address)",
        _ => "",
    }
}

/// How a server came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Clients that were given a thread.
    pub served: u64,
    /// Clients that had to be cut because the drain was over.
    pub cut: u64,
}

/// A server before it runs. The crate's page has an example.
#[derive(Debug)]
pub struct Server {
    config: Config,
    stats: Arc<Stats>,
    registry: Arc<Registry>,
    listeners: Vec<BoundListener>,
}

impl Server {
    /// Returns a server that listens on nothing yet.
    pub fn new(config: Config) -> Self {
        Self { config, stats: Arc::default(), registry: Arc::default(), listeners: Vec::new() }
    }

    /// Listens on each of `addrs` for clients of `service`; port 0 picks one. `[::]` takes IPv4 too, unless an IPv4
    /// address with the same port is among `addrs`.
    ///
    /// # Errors
    /// `Listen`, naming the address.
    pub fn bind(&mut self, addrs: &[SocketAddr], service: impl Service) -> Result<(), Error> {
        let service: Arc<dyn Service> = Arc::new(service);
        for addr in addrs {
            let only_v6 = addrs.iter().any(|other| other.is_ipv4() && other.port() == addr.port());
            let failed = |source| Error::Listen { addr: *addr, source };
            let listener = platform::listen(*addr, only_v6, self.config.reuse_port).map_err(failed)?;
            self.listen(listener, Arc::clone(&service)).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes a listener that is already bound, for clients of `service`, and sets the options that its connections
    /// inherit: no delay, keepalive, a bounded send buffer. Its queue is as long as whoever bound it asked for.
    ///
    /// # Errors
    /// `InvalidInput` if the socket does not listen. If the system refuses an option.
    pub fn listen(&mut self, listener: TcpListener, service: Arc<dyn Service>) -> io::Result<()> {
        self.open(listener, service, false)
    }

    /// As [`listen`](Self::listen), for a listener that another process holds open too, as systemd does with those of a
    /// socket unit. At the stop its queue is left alone: whoever waits there is served by the next server.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub fn take_over(&mut self, listener: TcpListener, service: Arc<dyn Service>) -> io::Result<()> {
        self.open(listener, service, true)
    }

    fn open(&mut self, listener: TcpListener, service: Arc<dyn Service>, is_shared: bool) -> io::Result<()> {
        platform::tune(&listener, self.config.write_timeout)?;
        platform::keep_alive(&listener, self.config.keepalive)?;
        self.listeners.push(BoundListener { socket: listener, service, is_shared });
        Ok(())
    }

    /// The addresses that are listened on, with the ports that were picked.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.socket.local_addr().ok()).collect()
    }

    /// The counters; they outlive the server.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// What the server tells of its clients; it outlives the server.
    pub fn monitor(&self) -> Arc<dyn ServerMonitor> {
        let (stats, registry) = (Arc::clone(&self.stats), Arc::clone(&self.registry));
        Arc::new(Monitor::new(stats, registry, &self.config))
    }

    /// Serves until `stop` is requested, then stops: the listeners close, frames in flight are finished, every client
    /// sees the end of the stream on a frame boundary, every thread is joined. What is left after the drain timeout is
    /// cut.
    ///
    /// # Errors
    /// `NoListener`, or what kept the server from beginning. Nothing that a client does is an error here.
    pub fn run(self, stop: &Shutdown) -> Result<Summary, Error> {
        self.begin(stop).map(Running::serve)
    }

    /// Starts everything that accepting needs, and then says where the server listens: who reads that may connect, and
    /// nothing that it needs can be lacking any more.
    fn begin(self, stop: &Shutdown) -> Result<Running, Error> {
        if self.listeners.is_empty() {
            return Err(Error::NoListener);
        }
        // HTTP beside the clients has their certificates: they are read again once.
        let own_tls = self.config.tls.clone().filter(|_| self.config.role == Role::Clients);
        if let Some(tls) = &own_tls {
            log::info!("{}", tls.describe());
        }
        let certificates =
            own_tls.map(|tls| follow(tls, stop, &self.config.threads)).transpose().map_err(Error::Start)?;
        self.listeners.iter().try_for_each(|listener| listener.service.start()).map_err(Error::Start)?;
        let addrs = self.local_addrs();
        let shared = Shared::new(self.config, self.stats, self.registry, stop.clone()).map_err(Error::Start)?;
        let shared = Arc::new(shared);
        let reaper = start_reaper(&shared).map_err(Error::Start)?;
        let with_tls = if shared.config.tls.is_some() { " with TLS" } else { "" };
        for (listener, addr) in self.listeners.iter().zip(&addrs) {
            let (level, service) = (shared.config.role.level(), listener.service.describe());
            log::log!(level, "listening on {addr}{with_tls}: {service}, pid {}", std::process::id());
        }
        shared.config.warn_if_open(&addrs);
        Ok(Running { listeners: self.listeners, shared, reaper, certificates })
    }

    /// Runs the server on a thread of its own. Returns when it listens.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn spawn(self, stop: Shutdown) -> Result<Handle, Error> {
        let (addrs, monitor, requested) = (self.local_addrs(), self.monitor(), stop.clone());
        let builder = thread::Builder::new().name(format!("{}-accept", self.config.role.thread_name()));
        let (started, has_started) = mpsc::sync_channel(1);
        let run = move || {
            if self.config.role == Role::Http
                && let Err(error) = platform::lower_priority(HTTP_NICENESS)
            {
                log::debug!("HTTP has the clients' priority: {error}");
            }
            let running = self.begin(&requested)?;
            // It fails only if the caller has panicked.
            let _ = started.send(());
            Ok(running.serve())
        };
        let handle = Handle { addrs, monitor, stop, thread: builder.spawn(run).map_err(Error::Start)? };
        match has_started.recv() {
            Ok(()) => Ok(handle),
            // It has ended, with the reason.
            Err(_) => handle.join().and(Err(Error::NoListener)),
        }
    }
}

/// A server that listens.
struct Running {
    listeners: Vec<BoundListener>,
    shared: Arc<Shared>,
    reaper: JoinHandle<()>,
    /// Reads the files of TLS.
    certificates: Option<Thread>,
}

impl Running {
    /// Accepts until the stop, and drains.
    fn serve(self) -> Summary {
        let Self { listeners, shared, reaper, certificates } = self;
        AcceptLoop::new(Arc::clone(&shared)).run(listeners);
        let summary = drain(&shared);
        shared.slots.close();
        join(reaper);
        certificates.map(|thread| thread.join(CERTIFICATES_LIMIT));
        summary
    }
}

impl Config {
    /// Tells once of the listeners that others than this machine can reach, if whoever reaches them is served.
    fn warn_if_open(&self, addrs: &[SocketAddr]) {
        let beyond = |addr: &SocketAddr| !addr.ip().to_canonical().is_loopback();
        let reached: Vec<_> = addrs.iter().filter(|addr| beyond(addr)).map(ToString::to_string).collect();
        if self.is_open() && !reached.is_empty() {
            log::warn!(
                "whoever reaches {} is served: say who may connect (--allow), or listen on 127.0.0.1",
                reached.join(", ")
            );
        }
    }
}

/// Has the certificates read again when they change, by a thread of its own.
fn follow(tls: Arc<tls::Acceptor>, stop: &Shutdown, threads: &Threads) -> io::Result<Thread> {
    let worker = threads.register_io("certificates", "reading the files of TLS");
    let (stop, counted) = (stop.for_worker(&worker), Arc::clone(&worker));
    let run = move || counted.run(|pause| stop.wait(pause), || tls.follow(&stop));
    Thread::start("certificates", run).inspect_err(|_| worker.end())
}

/// Starts the thread that joins the threads of connections.
fn start_reaper(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let name = match shared.config.role {
        Role::Clients => "reaper",
        Role::Http => "http-reaper",
    };
    let worker = shared.config.threads.register(name, "joining the threads of connections");
    let reap = move || {
        shared.slots.reap(ROUND, || worker.round(), join, || shared.wakeup.notify());
        worker.end();
    };
    thread::Builder::new().name(name.to_owned()).spawn(reap)
}

/// The stop, step by step; `docs/design.md` numbers them.
fn drain(shared: &Shared) -> Summary {
    let (active, level) = (shared.stats.active(), shared.config.role.level());
    log::log!(level, "stopping: {active} active connection{}", if active == 1 { "" } else { "s" });
    shared.registry.notify_stop();
    if !wait_drained(shared) {
        let left = shared.registry.cut();
        log::warn!("cutting {} that did not end within the drain timeout", counted(left as u64, "connection"));
    }
    let left = shared.slots.wait_all_free(Instant::now().checked_add(CUT_GRACE));
    if left > 0 {
        log::error!("{} did not end; leaving it to the end of the process", counted(left, "connection thread"));
    }
    shared.log.flush(true);
    shared.log_handshakes(true);
    // A thread that does not even end after the cut was cut all the same.
    let summary = Summary { served: shared.stats.served(), cut: shared.stats.cut() + shared.stats.active() };
    log::log!(level, "stopped: {} served, {} cut", counted(summary.served, shared.config.role.noun()), summary.cut);
    summary
}

/// Waits until every connection has left, or the drain timeout is over. Returns true if and only if all have. Counts rounds as
/// the accept loop does: the thread is not stuck, however long the drain takes.
fn wait_drained(shared: &Shared) -> bool {
    let deadline = Instant::now().checked_add(shared.config.drain_timeout);
    loop {
        shared.stats.count(Counter::Heartbeat);
        let round = shared.config.heartbeat.and_then(|every| Instant::now().checked_add(every));
        let has_drained = shared.registry.wait_empty(deadline.into_iter().chain(round).min());
        if has_drained || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return has_drained;
        }
    }
}
