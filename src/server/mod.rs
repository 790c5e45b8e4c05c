//! The server: listeners, one thread per client, limits and a clean stop. Independent of maps.

mod accept;
#[cfg(test)]
mod accept_tests;
mod admission;
mod arrivals;
mod backoff;
mod client;
mod connection_log;
#[cfg(test)]
mod first_frame_tests;
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

use crate::connection::UnexpectedInput;
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

/// The default maximum of clients: 10,000, as in Redis.
pub const DEFAULT_MAX_CONNECTIONS: u64 = 10_000;

/// The default time limit of one whole frame: 10 s, as in NATS.
pub const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The default time limit of the drain: 10 s.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The default idle time before the kernel sends keepalive probes: 60 s.
pub const DEFAULT_KEEPALIVE: Duration = platform::KEEPALIVE_IDLE;

/// The stack size of a connection's thread: 128 KiB. Resident memory does not depend on it (9.7 KiB per thread from 32 KiB
/// to 2 MiB, measured). A panic with a backtrace needs more than 24 KiB. A TLS handshake and what follows it need 32 KiB
/// (P-256 and RSA-2048, with and without a client certificate, X25519MLKEM768), and 72 KiB without optimization; found by
/// trying sizes in steps of 4 KiB.
const STACK_SIZE: usize = 128 * 1024;

/// The default maximum of connections that wait for a permit: 10,000.
pub const DEFAULT_MAX_WAITING: usize = 10_000;

/// The default time that a connection above a limit waits for a permit: 1 s.
pub const DEFAULT_ADMISSION_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the stop waits for the threads of cut connections to end: 1 s.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// How long the stop waits for the thread that reads the certificates: 500 ms, because their file system may hang.
const CERTIFICATES_LIMIT: Duration = Duration::from_millis(500);

/// The configuration of a server. Write `ServerConfig { max_connections: 100, ..ServerConfig::default() }`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Maximum number of clients at once. Default [`DEFAULT_MAX_CONNECTIONS`]. The server has no more connection threads than
    /// this and [`reserved_connections`](Self::reserved_connections) together. The sum over the servers of a process must not
    /// exceed [`Capacity::clients`].
    pub max_connections: u64,
    /// How long a client above a limit waits for a permit before it is closed: the server may not have noticed yet that
    /// another client has disconnected. The time restarts whenever a connection ends, up to five times as long in all, but
    /// not with [`reserved_connections`](Self::reserved_connections). Default [`DEFAULT_ADMISSION_TIMEOUT`].
    pub admission_timeout: Duration,
    /// Maximum number of clients that wait for a permit, each with a descriptor; others stay in the listeners' queues.
    /// Default [`DEFAULT_MAX_WAITING`].
    pub max_waiting: usize,
    /// Maximum number of clients at once from one address; others are closed. An IPv4-mapped IPv6 address counts as IPv4. Of
    /// an IPv6 address the first 64 bits count, because one machine has all the addresses below them. Default `None`: no
    /// such limit.
    pub max_connections_per_ip: Option<u64>,
    /// Maximum number of connections above the two limits, for services that then answer one request and close: see
    /// [`Connection::over_limit`](crate::connection::Connection::over_limit). One address has a quarter of them at most.
    /// Default 0: a client above a limit is closed.
    pub reserved_connections: u64,
    /// The networks that may connect; a client from another address is closed before its thread is started. Default empty:
    /// every address may connect.
    pub allow: Vec<IpNet>,
    /// What the log calls the limits. Default: the names of these fields. A program should pass the names of its options.
    pub limit_names: LimitNames,
    /// How long a connection is idle before the kernel sends keepalive probes, in whole seconds from 1 s to 32,767 s; `None`
    /// sends none. Default [`DEFAULT_KEEPALIVE`].
    pub keepalive: Option<Duration>,
    /// The time limit of one whole frame. Default [`DEFAULT_WRITE_TIMEOUT`].
    pub write_timeout: Duration,
    /// How long the stop waits for frames in flight before it cuts connections. Default [`DEFAULT_DRAIN_TIMEOUT`].
    pub drain_timeout: Duration,
    /// The stack size of a connection's thread in bytes. Default 128 KiB.
    pub stack_size: usize,
    /// Encrypts every connection. Default `None`: no TLS. Requires the feature `tls`.
    pub tls: Option<Arc<tls::Acceptor>>,
    /// Returns the fix for a failed handshake, such as an option of the program. It is appended to the error in the log.
    /// Default: no advice.
    pub handshake_advice: fn(&tls::HandshakeError) -> Option<String>,
    /// Returns the fix for a client that speaks another protocol, for the log. Default: no advice.
    pub input_advice: fn(UnexpectedInput) -> Option<String>,
    /// The time limit of a whole TLS handshake. Default [`tls::DEFAULT_HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// The kind of clients, for thread names and the log. Default [`Role::Clients`].
    pub role: Role,
    /// Lets other servers listen on the same ports (`SO_REUSEPORT`, socket(7)), each in its own process, all with this set
    /// and of the same user: the kernel distributes the clients. Default false.
    pub reuse_port: bool,
    /// The longest time between two rounds of the accept loop, which it counts ([`Stats::heartbeats`]): for a watchdog.
    /// Default `None`: the loop runs only when there is work.
    pub heartbeat: Option<Duration>,
    /// Where the server registers its long-lived threads, for a monitor. Default: a new set.
    pub threads: Threads,
}

/// The niceness that HTTP's threads add (nice(1)): 10. Each then gets a tenth of the CPU of a thread that sends the map on
/// the same core, and all of an idle core. At 19, a sixtieth, 9,000 clients received a change no earlier (p99 64.1 and
/// 64.4 ms, measured), and on a busy machine a health check would have failed.
const HTTP_NICENESS: i32 = 10;

/// The kind of clients of a server: determines thread names and log levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Clients of the map: log lines at info, threads `client-N`.
    #[default]
    Clients,
    /// HTTP clients, possibly a thousand per second: log lines at debug, threads `http-N`.
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

    /// The level of log lines about normal operation.
    fn level(self) -> log::Level {
        match self {
            Self::Clients => log::Level::Info,
            Self::Http => log::Level::Debug,
        }
    }
}

/// The names that the log gives to a server's limits, so that the operator knows what to change.
#[derive(Debug, Clone, Copy)]
pub struct LimitNames {
    /// The name of [`Config::max_connections`].
    pub max_connections: &'static str,
    /// The name of [`Config::max_connections_per_ip`].
    pub max_connections_per_ip: &'static str,
    /// The name of [`Config::allow`].
    pub allow: &'static str,
}

impl Default for LimitNames {
    fn default() -> Self {
        Self { max_connections: "max_connections", max_connections_per_ip: "max_connections_per_ip", allow: "allow" }
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
            limit_names: LimitNames::default(),
            keepalive: Some(DEFAULT_KEEPALIVE),
            write_timeout: DEFAULT_WRITE_TIMEOUT,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            stack_size: STACK_SIZE,
            tls: None,
            handshake_advice: |_| None,
            input_advice: |_| None,
            handshake_timeout: tls::DEFAULT_HANDSHAKE_TIMEOUT,
            role: Role::default(),
            reuse_port: false,
            heartbeat: None,
            threads: Threads::default(),
        }
    }
}

impl Config {
    /// True if and only if every host that can reach a listener is served.
    fn is_open(&self) -> bool {
        self.allow.is_empty() && self.tls.is_none()
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server cannot listen on the address.
    #[error("cannot listen on {addr}{}", listen_advice(source))]
    Listen {
        /// The requested address.
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The server has no listener.
    #[error("no listener: call Server::bind or Server::listen first")]
    NoListener,
    /// The system refused a thread or a descriptor for the server itself.
    #[error("cannot start the server's own threads or open its descriptors")]
    Start(#[source] io::Error),
}

fn listen_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => platform::REFUSED_PORT,
        io::ErrorKind::AddrNotAvailable => " (this machine has no such address)",
        _ => "",
    }
}

/// The outcome of a server's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Clients that were served.
    pub served: u64,
    /// Clients that were cut at the end of the drain.
    pub cut: u64,
}

/// A server that is not running yet. The crate documentation has an example.
#[derive(Debug)]
pub struct Server {
    config: Config,
    stats: Arc<Stats>,
    registry: Arc<Registry>,
    listeners: Vec<BoundListener>,
}

impl Server {
    /// Returns a server without listeners.
    pub fn new(config: Config) -> Self {
        Self { config, stats: Arc::default(), registry: Arc::default(), listeners: Vec::new() }
    }

    /// Listens on each of `addrs` for clients of `service`; the system chooses the port for port 0. `[::]` accepts IPv4 too,
    /// unless an IPv4 address with the same port is among `addrs`.
    ///
    /// # Errors
    /// `Listen`, with the address.
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

    /// Adds a listener that is already bound, for clients of `service`, and sets the options that its connections inherit: no
    /// delay, keepalive, a bounded send buffer. The length of its queue stays as it is.
    ///
    /// # Errors
    /// `InvalidInput` if the socket does not listen; the system's error if an option cannot be set.
    pub fn listen(&mut self, listener: TcpListener, service: Arc<dyn Service>) -> io::Result<()> {
        self.open(listener, service, false)
    }

    /// As [`listen`](Self::listen), for a listener that another process holds open too, such as systemd with a socket unit.
    /// The stop does not empty its queue: the next server serves the clients in it.
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

    /// The listeners' addresses, with the ports that the system has chosen.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.socket.local_addr().ok()).collect()
    }

    /// The counters; they outlive the server.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// The server's monitor, for a service that shows its clients; it outlives the server.
    pub fn monitor(&self) -> Arc<dyn ServerMonitor> {
        let (stats, registry) = (Arc::clone(&self.stats), Arc::clone(&self.registry));
        Arc::new(Monitor::new(stats, registry, &self.config))
    }

    /// Serves until `stop` is requested, then stops: closes the listeners, finishes frames in flight, ends every stream on a
    /// frame boundary and joins every thread. Cuts the connections that are left after the drain timeout.
    ///
    /// # Errors
    /// `NoListener`, or why the server could not start. A client's failure is not an error here.
    pub fn run(self, stop: &Shutdown) -> Result<Summary, Error> {
        self.begin(stop).map(Running::serve)
    }

    /// Starts everything that accepting needs, then logs the addresses: from then on clients can connect, and no resource
    /// that the server itself needs is missing.
    fn begin(self, stop: &Shutdown) -> Result<Running, Error> {
        if self.listeners.is_empty() {
            return Err(Error::NoListener);
        }
        // HTTP uses the same certificates as the clients' server: only that one reloads them.
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

    /// Runs the server on its own thread. Returns when it accepts clients.
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
                log::debug!("cannot lower the priority of HTTP's threads: {error}");
            }
            let running = self.begin(&requested)?;
            // Fails only if the caller has panicked.
            let _ = started.send(());
            Ok(running.serve())
        };
        let handle = Handle { addrs, monitor, stop, thread: builder.spawn(run).map_err(Error::Start)? };
        match has_started.recv() {
            Ok(()) => Ok(handle),
            // The thread has ended; the join returns the reason.
            Err(_) => handle.join().and(Err(Error::NoListener)),
        }
    }
}

/// A server that is ready to accept.
struct Running {
    listeners: Vec<BoundListener>,
    shared: Arc<Shared>,
    reaper: JoinHandle<()>,
    /// Reloads the certificates.
    certificates: Option<Thread>,
}

impl Running {
    /// Accepts clients until the stop, then drains.
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
    /// Logs a warning if other hosts can reach a listener and are served without restriction.
    fn warn_if_open(&self, addrs: &[SocketAddr]) {
        let beyond = |addr: &SocketAddr| !addr.ip().to_canonical().is_loopback();
        let reached: Vec<_> = addrs.iter().filter(|addr| beyond(addr)).map(ToString::to_string).collect();
        if self.is_open() && !reached.is_empty() {
            log::warn!(
                "any host that reaches {} is served: set the allowed networks ({}), or listen on 127.0.0.1",
                reached.join(", "),
                self.limit_names.allow
            );
        }
    }
}

/// Starts the thread that reloads the certificates when they change.
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

/// Drains the connections; `docs/design.md` numbers the steps.
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
        log::error!("{} did not end; abandoned until the process exits", counted(left, "connection thread"));
    }
    shared.log.flush(true);
    shared.log_suppressed(true);
    // A connection whose thread did not end after the cut counts as cut.
    let summary = Summary { served: shared.stats.served(), cut: shared.stats.cut() + shared.stats.active() };
    log::log!(level, "stopped: {} served, {} cut", counted(summary.served, shared.config.role.noun()), summary.cut);
    summary
}

/// Waits until every connection has ended, for the drain timeout at most. Returns true if and only if all have. Counts
/// rounds as the accept loop does, so that the thread does not count as stuck during a long drain.
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

#[cfg(test)]
mod tests;
