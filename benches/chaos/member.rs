//! A mapcast server of the tree: a process on its own host, and the events in its log.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::network::Host;
use crate::timing::INTERVAL;

const MAPCAST: &str = env!("CARGO_BIN_EXE_mapcast-server");

/// The port of every server; each has its own host.
const PORT: u16 = 8080;

/// `--drain-timeout` of every server.
pub const DRAIN: Duration = Duration::from_secs(2);

/// The longest time for a server to listen, and to exit after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(20);

/// The period of polling.
const POLL_PERIOD: Duration = Duration::from_millis(20);

/// Events from the logs of all its processes.
#[derive(Debug, Default)]
pub struct Log {
    is_listening: AtomicBool,
    is_up: AtomicBool,
    panics: AtomicU64,
    /// When its source was lost. Locked for one change or query.
    losses: Mutex<Vec<Instant>>,
}

/// A server, running or not.
pub struct Member {
    pub name: String,
    pub host: Host,
    source: String,
    /// Whether to print its log, with all lines about its source.
    shows_log: bool,
    child: Option<Child>,
    pub log: Arc<Log>,
}

impl Member {
    /// Returns a server on `host` with the map of `source`. It is not started yet.
    pub fn new(name: String, host: Host, source: String, shows_log: bool) -> Self {
        Self { name, host, source, shows_log, child: None, log: Arc::default() }
    }

    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        (self.host.addr, PORT).into()
    }

    /// Returns the `--source` value for this server.
    pub fn as_source(&self) -> String {
        format!("tcp://{}?format=json", self.addr())
    }

    /// Starts it. Waits for the exit of the previous process, which was signalled, and returns its status.
    pub fn start(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let ended = self.wait_end()?;
        self.log.is_up.store(false, Ordering::SeqCst);
        self.log.is_listening.store(false, Ordering::SeqCst);
        let mut command = self.host.command(Path::new(MAPCAST));
        command.args(["--format", "json", "--listen", &self.addr().to_string(), "--source", &self.source]);
        command.arg(format!("--interval={}s", INTERVAL.as_secs()));
        command.arg(format!("--drain-timeout={}s", DRAIN.as_secs()));
        if self.shows_log {
            command.env("RUST_LOG", "info,mapcast::source=debug,mapcast::client=debug");
        }
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("no pipe for its log")?;
        let (name, log, shows) = (self.name.clone(), Arc::clone(&self.log), self.shows_log);
        thread::Builder::new().name(format!("log of {name}")).spawn(move || log.follow(&name, stderr, shows))?;
        self.child = Some(child);
        Ok(ended)
    }

    /// Waits until it listens.
    pub fn wait_listening(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.log.is_listening.load(Ordering::SeqCst) {
            if let Some(status) = self.end()? {
                bail!("{} has exited: {status}", self.name);
            }
            ensure!(Instant::now() < deadline, "{} did not listen within {PATIENCE:?}", self.name);
            thread::park_timeout(POLL_PERIOD);
        }
        Ok(())
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} is not running", self.name))?;
        kill_process(Pid::from_child(child), signal).with_context(|| self.name.clone())
    }

    /// Returns the exit status of its process; `None` while it runs.
    pub fn end(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.as_mut().map(Child::try_wait).transpose()?.flatten())
    }

    fn wait_end(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + PATIENCE;
        while self.child.is_some() {
            if let Some(status) = self.end()? {
                return Ok(Some(status));
            }
            ensure!(Instant::now() < deadline, "{} did not exit within {PATIENCE:?}", self.name);
            thread::park_timeout(POLL_PERIOD);
        }
        Ok(None)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only if it has exited and was waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Log {
    /// Returns true if and only if the source of its process is up.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::SeqCst)
    }

    /// Returns when its source was first lost at or after `since`; `None` if it was not.
    pub fn lost_since(&self, since: Instant) -> Option<Instant> {
        let losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.iter().find(|at| **at >= since).copied()
    }

    /// Returns the number of panics.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::SeqCst)
    }

    fn follow(&self, name: &str, stderr: ChildStderr, shows: bool) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // Without the lines about each client.
            if shows && !line.contains("] client ") {
                eprintln!("{name}: {line}");
            }
            if line.contains("source down: ") {
                self.is_up.store(false, Ordering::SeqCst);
                self.losses.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            } else if line.contains("source up: ") {
                self.is_up.store(true, Ordering::SeqCst);
            } else if line.contains("listening on ") {
                self.is_listening.store(true, Ordering::SeqCst);
            } else if line.contains("panicked") {
                self.panics.fetch_add(1, Ordering::SeqCst);
                if !shows {
                    eprintln!("{name}: {line}");
                }
            }
        }
    }
}
