//! A server process of the soak.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::certificates::Certificates;
use crate::reading::Reading;

/// N, the longest time that a well-behaved client may be without a frame.
pub const INTERVAL: Duration = Duration::from_secs(5);

const MAPCAST: &str = env!("CARGO_BIN_EXE_mapcast-server");

/// The longest time for a server to listen, or to exit.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest time until only the steady clients are connected: the write timeout, after which a stalled client is disconnected,
/// and some reserve.
const SETTLE: Duration = Duration::from_secs(30);

/// The period of polling.
const POLL_PERIOD: Duration = Duration::from_millis(50);

/// A server process. Killed on drop.
pub struct Server {
    pub name: &'static str,
    pub addr: SocketAddr,
    child: Child,
    log: Arc<Log>,
}

/// Figures from its log.
#[derive(Default)]
struct Log {
    /// The last number of `active connections`.
    active: AtomicU64,
    panics: AtomicU64,
}

impl Server {
    /// Starts a server that reads its maps from standard input, and waits until it listens.
    pub fn start(name: &'static str, certificates: Option<&Arc<Certificates>>) -> anyhow::Result<Self> {
        // Released before the server binds it; no other program here takes a port meanwhile.
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(MAPCAST);
        command.args(["--source", "-", "--format", "json", "--listen", &addr.to_string()]);
        command.args(["--interval", &format!("{}s", INTERVAL.as_secs())]);
        if let Some(certificates) = certificates {
            command.arg("--tls-cert").arg(certificates.file("cert.pem"));
            command.arg("--tls-key").arg(certificates.file("key.pem"));
        }
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let log = Arc::new(Log::default());
        let (read, stderr) = (Arc::clone(&log), child.stderr.take().context("no pipe for its log")?);
        thread::Builder::new().name(format!("log of {name}")).spawn(move || read.follow(stderr))?;
        let mut server = Self { name, addr, child, log };
        server.wait_listening()?;
        Ok(server)
    }

    fn wait_listening(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.addr).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the {} server has exited: {status}", self.name);
            }
            ensure!(Instant::now() < deadline, "the {} server does not listen", self.name);
            thread::park_timeout(POLL_PERIOD);
        }
        Ok(())
    }

    /// Takes its standard input. Can be called once.
    pub fn take_input(&mut self) -> anyhow::Result<ChildStdin> {
        self.child.stdin.take().context("its standard input was taken already")
    }

    /// Waits until its log reports `active` connections. `visit` connects and disconnects a client, so that the log has a new number;
    /// failed handshakes do not log one.
    pub fn wait_active(&self, active: u64, visit: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLE;
        loop {
            visit()?;
            thread::park_timeout(POLL_PERIOD);
            let last = self.log.active.load(Ordering::SeqCst);
            if last == active {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the {} server has {last} active connections instead of {active}",
                self.name
            );
        }
    }

    /// Reads its usage (proc(5)).
    pub fn read(&self) -> anyhow::Result<Reading> {
        let directory = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{directory}/status")).context("the server has exited")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).with_context(|| format!("no {name}"))
        };
        Ok(Reading {
            resident: field("VmRSS:")?,
            threads: field("Threads:")?,
            descriptors: fs::read_dir(format!("{directory}/fd"))?.count() as u64,
            maps: fs::read_to_string(format!("{directory}/maps"))?.lines().count() as u64,
            active: self.log.active.load(Ordering::SeqCst),
            panics: self.log.panics.load(Ordering::SeqCst),
        })
    }

    /// Stops it cleanly.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the {} server stopped with {status}", self.name);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the {} server does not stop", self.name);
            thread::park_timeout(POLL_PERIOD);
        }
    }
}

impl Log {
    fn follow(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(active) = line.split("(active connections: ").nth(1).and_then(|rest| rest.split(')').next()) {
                self.active.store(active.parse().unwrap_or(u64::MAX), Ordering::SeqCst);
            }
            if line.contains("panic") {
                eprintln!("{line}");
                self.panics.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if it has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
