//! The server: listeners, a thread a client, and a stop that leaves nobody behind. Knows no maps.

mod accept;
mod limits;
mod registry;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::connection::Watcher;
use crate::platform;
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::stats::Stats;
use crate::throttle::Throttle;
use crate::tls;

use accept::{Acceptor, Door, Shared, join};
pub use limits::{Ceiling, Limit};
use registry::Registry;

/// The most clients unless told otherwise: 10,000, as in Redis.
pub const DEFAULT_MAX_CONNECTIONS: u64 = 10_000;

/// The deadline for one whole frame unless told otherwise: 10 s, as in NATS.
pub const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time for a clean stop unless told otherwise: 10 s.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The stack of a connection's thread: 128 KiB. Resident memory does not depend on it (9.7 KiB a thread from 32 KiB to
/// 2 MiB, measured); a panic with a backtrace needs more than 24 KiB. A TLS handshake and what follows it need 32 KiB
/// (P-256 and RSA-2048, with and without a client's certificate, X25519MLKEM768), and 72 KiB without optimization: found
/// by trying sizes in steps of 4 KiB.
const STACK_SIZE: usize = 128 * 1024;

/// How long the threads of connections that were cut may take to notice.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// What a server is made with. Write `ServerConfig { max_connections: 100, ..ServerConfig::default() }`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Clients at once; those above it are closed. Default [`DEFAULT_MAX_CONNECTIONS`].
    pub max_connections: u64,
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            write_timeout: DEFAULT_WRITE_TIMEOUT,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            stack_size: STACK_SIZE,
            tls: None,
            handshake_timeout: tls::DEFAULT_HANDSHAKE_TIMEOUT,
        }
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
    /// The accept loop cannot wait any more.
    #[error("waiting for clients failed")]
    Wait(#[source] io::Error),
}

fn listen_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => " (another program listens there: stop it, or choose another port)",
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
    doors: Vec<Door>,
}

impl Server {
    /// Returns a server that listens on nothing yet.
    pub fn new(config: Config) -> Self {
        Self { config, stats: Arc::default(), doors: Vec::new() }
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
            self.listen(platform::listen(*addr, only_v6).map_err(failed)?, Arc::clone(&service)).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes a listener that is already bound, for clients of `service`, and sets the options that its connections
    /// inherit: no delay, keepalive, a bounded send buffer. Its queue is as long as whoever bound it asked for.
    ///
    /// # Errors
    /// If the system refuses an option.
    pub fn listen(&mut self, listener: TcpListener, service: Arc<dyn Service>) -> io::Result<()> {
        platform::tune(&listener, self.config.write_timeout)?;
        self.doors.push(Door { listener, service });
        Ok(())
    }

    /// The addresses that are listened on, with the ports that were picked.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter_map(|door| door.listener.local_addr().ok()).collect()
    }

    /// The counters; they outlive the server.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Serves until `stop` is requested, then stops: the listeners close, frames in flight are finished, every client
    /// sees the end of the stream on a frame boundary, every thread is joined. What is left after the drain timeout is
    /// cut.
    ///
    /// # Errors
    /// `NoListener`, or what kept the server from beginning. Nothing that a client does is an error here.
    pub fn run(self, stop: &Shutdown) -> Result<Summary, Error> {
        if self.doors.is_empty() {
            return Err(Error::NoListener);
        }
        if let Some(tls) = &self.config.tls {
            log::info!("{}", tls.describe());
        }
        let with_tls = if self.config.tls.is_some() { " with TLS" } else { "" };
        for door in &self.doors {
            door.service.start().map_err(Error::Start)?;
            let addr = door.listener.local_addr().map_err(Error::Start)?;
            log::info!("listening on {addr}{with_tls}: {}, pid {}", door.service.describe(), std::process::id());
        }
        let certificates = self.config.tls.clone().map(|tls| follow(tls, stop)).transpose().map_err(Error::Start)?;
        let shared = Arc::new(Shared {
            handshake_failures: Mutex::new(Throttle::new(accept::LOG_PERIOD)),
            config: self.config,
            stats: self.stats,
            registry: Registry::default(),
            watcher: Arc::new(Watcher::start().map_err(Error::Start)?),
            stop: stop.clone(),
        });
        let accepted = Acceptor::new(Arc::clone(&shared)).run(self.doors);
        // Where accepting failed, the clients in place still get their orderly end.
        stop.trigger();
        let summary = drain(&shared);
        certificates.into_iter().for_each(join);
        accepted.map(|()| summary)
    }

    /// Runs the server on a thread of its own.
    ///
    /// # Errors
    /// `Start` if the system gives no thread.
    pub fn spawn(self, stop: Shutdown) -> Result<Handle, Error> {
        let (addrs, stats, requested) = (self.local_addrs(), self.stats(), stop.clone());
        let builder = thread::Builder::new().name("accept".to_owned());
        let thread = builder.spawn(move || self.run(&requested)).map_err(Error::Start)?;
        Ok(Handle { addrs, stats, stop, thread })
    }
}

/// Has the certificates read again when they change, by a thread of its own.
fn follow(tls: Arc<tls::Acceptor>, stop: &Shutdown) -> io::Result<JoinHandle<()>> {
    let stop = stop.clone();
    thread::Builder::new().name("certificates".to_owned()).spawn(move || tls.follow(&stop))
}

/// The stop, step by step; `docs/design.md` numbers them.
fn drain(shared: &Shared) -> Summary {
    let active = shared.stats.active();
    log::info!("stopping: {active} active connection{}", if active == 1 { "" } else { "s" });
    shared.registry.ring_stop();
    if !shared.registry.wait_empty(Instant::now().checked_add(shared.config.drain_timeout)) {
        let left = shared.registry.cut();
        log::warn!("cutting {left} connections that did not end within the drain timeout");
        if !shared.registry.wait_empty(Instant::now().checked_add(CUT_GRACE)) {
            log::error!("some connections' threads do not end; leaving them behind");
        }
    }
    shared.registry.take_ended().into_iter().for_each(join);
    // A thread that does not even end after the cut was cut all the same.
    let summary = Summary { served: shared.stats.served(), cut: shared.stats.cut() + shared.stats.active() };
    log::info!("stopped: {} clients served, {} cut", summary.served, summary.cut);
    summary
}

/// A server that runs on a thread of its own.
#[derive(Debug)]
pub struct Handle {
    addrs: Vec<SocketAddr>,
    stats: Arc<Stats>,
    stop: Shutdown,
    thread: JoinHandle<Result<Summary, Error>>,
}

impl Handle {
    /// The addresses that are listened on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Requests the stop and waits for it.
    ///
    /// # Errors
    /// What kept the server from running.
    pub fn stop(self) -> Result<Summary, Error> {
        self.stop.trigger();
        self.join()
    }

    /// Waits until the server has stopped.
    ///
    /// # Errors
    /// What kept the server from running.
    pub fn join(self) -> Result<Summary, Error> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
