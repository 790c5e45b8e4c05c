//! The servers under attack, each in its own process.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::time::ClockId;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, set_parent_process_death_signal, setrlimit,
};

use crate::gauge::{Gauge, Reading, Sampler};
use crate::log::Log;

const MAPCAST: &str = env!("CARGO_BIN_EXE_mapcast-server");

/// The address of the servers. Clients come from 127.0.0.1 and 127.0.1.0/24, so that their ports do not collide with those of servers.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The longest time for a server to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest time for a killed process with thousands of threads to exit.
const DYING: Duration = Duration::from_secs(10);

/// The period of polling.
pub const POLL_PERIOD: Duration = Duration::from_millis(20);

/// The configuration of a server.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub name: &'static str,
    pub args: Vec<OsString>,
    /// Whether it has HTTP.
    pub has_page: bool,
    /// Whether it reads its maps from standard input.
    pub has_input: bool,
    /// Its `--drain-timeout`.
    pub drain: Duration,
    /// Resource limits, as [`Limit`] parses them.
    pub limits: Vec<String>,
}

/// A resource limit for a server: `nofile=128`, `as=200000000`, `fsize=4096`.
#[derive(Debug, Clone, Copy)]
pub struct Limit(Resource, u64);

impl std::str::FromStr for Limit {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').context("no =")?;
        let resource = match name {
            "nofile" => Resource::Nofile,
            "as" => Resource::As,
            "fsize" => Resource::Fsize,
            _ => bail!("unknown resource: {name}"),
        };
        Ok(Self(resource, value.parse()?))
    }
}

/// Replaces this process by the program in `command`, under `limits`. It is killed when the thread that started it ends
/// (`PR_SET_PDEATHSIG`). Returns only if it fails.
pub fn exec(command: &[OsString], limits: &[Limit]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for Limit(resource, value) in limits {
        setrlimit(*resource, Rlimit { current: Some(*value), maximum: Some(*value) })?;
    }
    let [program, args @ ..] = command else { bail!("no program") };
    Err(Command::new(program).args(args).exec()).with_context(|| program.display().to_string())
}

/// The exit of a server.
#[derive(Debug, Clone, Copy)]
pub struct Exit {
    pub status: ExitStatus,
    /// The time since its start.
    pub after: Duration,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal().and_then(Signal::from_named_raw)) {
            (Some(code), _) => write!(f, "exit code {code}")?,
            (None, Some(signal)) => write!(f, "killed by SIG{}", name_of(signal))?,
            (None, None) => write!(f, "{}", self.status)?,
        }
        write!(f, " {:.1} s after its start", self.after.as_secs_f64())
    }
}

/// Returns the name of a signal as in `ABRT`. rustix formats it as `Signal::ABORT`.
fn name_of(signal: Signal) -> String {
    let name = match signal {
        Signal::ABORT => "ABRT",
        Signal::KILL => "KILL",
        Signal::SEGV => "SEGV",
        Signal::XFSZ => "XFSZ",
        Signal::BUS => "BUS",
        Signal::TERM => "TERM",
        other => return other.as_raw().to_string(),
    };
    name.to_owned()
}

/// A server. Killed and waited for on drop.
pub struct Server {
    plan: Plan,
    pub addr: SocketAddr,
    /// Its HTTP address, if it has HTTP.
    pub page: Option<SocketAddr>,
    child: Child,
    pub log: Arc<Log>,
    pub gauge: Arc<Gauge>,
    sampler: Sampler,
    began: Instant,
    exit: Option<Exit>,
    /// Panics of earlier processes.
    past_panics: u64,
}

impl Server {
    /// Starts a server on free ports, and waits until it listens.
    pub fn start(plan: Plan, sampler: &Sampler) -> anyhow::Result<Self> {
        let addr = free_addr()?;
        let page = plan.has_page.then(free_addr).transpose()?;
        let child = spawn(&plan, addr, page)?;
        let mut server = Self::follow(plan, addr, page, child, sampler)?;
        server.wait_listening()?;
        Ok(server)
    }

    fn follow(
        plan: Plan,
        addr: SocketAddr,
        page: Option<SocketAddr>,
        mut child: Child,
        sampler: &Sampler,
    ) -> anyhow::Result<Self> {
        let log = Log::follow(plan.name, child.stderr.take().context("no pipe for its log")?)?;
        let (gauge, sampler) = (sampler.gauge(plan.name, child.id()), sampler.clone());
        let began = Instant::now();
        Ok(Self { plan, addr, page, child, log, gauge, sampler, began, exit: None, past_panics: 0 })
    }

    /// Restarts it at the same address, and waits until it listens.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let child = spawn(&self.plan, self.addr, self.page)?;
        let next = Self::follow(self.plan.clone(), self.addr, self.page, child, &self.sampler)?;
        let panics = self.panics();
        *self = next;
        self.past_panics = panics;
        self.wait_listening()
    }

    fn wait_listening(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.log.is_listening() {
            if let Some(exit) = self.exit() {
                bail!("{}: {exit}: {}", self.plan.name, self.log.last());
            }
            if Instant::now() > deadline {
                bail!("{}: not listening after {PATIENCE:?}: {}", self.plan.name, self.log.last());
            }
            thread::park_timeout(POLL_PERIOD);
        }
        Ok(())
    }

    pub fn name(&self) -> &'static str {
        self.plan.name
    }

    pub fn drain(&self) -> Duration {
        self.plan.drain
    }

    /// Takes its standard input. Returns it once per start.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Returns its exit; `None` while it runs.
    pub fn exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            // Fails only if it was waited for already.
            let status = self.child.try_wait().ok().flatten();
            self.exit = status.map(|status| Exit { status, after: self.began.elapsed() });
        }
        self.exit
    }

    /// Returns its exit; `None` while it runs. Waits for a process that is exiting, which takes seconds with thousands of threads.
    pub fn wait_exit(&mut self) -> Option<Exit> {
        let deadline = Instant::now() + DYING;
        // A process has no memory as soon as it starts to exit.
        while self.exit().is_none() && self.read().is_err() && Instant::now() < deadline {
            thread::park_timeout(POLL_PERIOD);
        }
        self.exit()
    }

    /// Returns the number of log lines that contain `panicked`, including those before a restart.
    pub fn panics(&self) -> u64 {
        self.past_panics + self.log.panics()
    }

    /// Returns its usage now. Fails if it has exited.
    pub fn read(&self) -> anyhow::Result<Reading> {
        Reading::of(self.child.id())
    }

    /// Returns its CPU time so far, by the process's own clock (`clock_getcpuclockid`).
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        Ok(ClockId::pid_cpu_clock_id(pid)?.now().context("the server has exited")?.into())
    }

    /// Sends SIGTERM and waits for the exit. Returns the exit and how long it took; `None` if it took longer than `patience`. Then the
    /// server is killed.
    pub fn terminate(&mut self, patience: Duration) -> Option<(Exit, Duration)> {
        let asked = Instant::now();
        // Fails only if it has exited.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        while self.exit().is_none() && asked.elapsed() < patience {
            thread::park_timeout(POLL_PERIOD);
        }
        let took = asked.elapsed();
        let exit = self.exit();
        self.kill();
        exit.map(|exit| (exit, took))
    }

    /// Kills it, if it runs, and waits for its exit.
    pub fn kill(&mut self) {
        // Both fail only if it has exited and was waited for.
        let _ = self.child.kill();
        if let Ok(status) = self.child.wait() {
            self.exit.get_or_insert(Exit { status, after: self.began.elapsed() });
        }
        self.log.resume();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server that is expected to refuse its options. Returns its exit, whether it listens, and its last log line. The exit
/// is `None` if it does not exit within `patience`. Then it is killed.
pub fn try_start(plan: Plan, sampler: &Sampler, patience: Duration) -> anyhow::Result<(Option<Exit>, bool, String)> {
    let addr = free_addr()?;
    let page = plan.has_page.then(free_addr).transpose()?;
    let child = spawn(&plan, addr, page)?;
    let mut server = Server::follow(plan, addr, page, child, sampler)?;
    let deadline = Instant::now() + patience;
    while server.exit().is_none() && !server.log.is_listening() && Instant::now() < deadline {
        thread::park_timeout(POLL_PERIOD);
    }
    let exit = server.exit();
    // The thread that reads the log may not have reached its end.
    thread::park_timeout(5 * POLL_PERIOD);
    Ok((exit, server.log.is_listening(), server.log.last()))
}

fn spawn(plan: &Plan, addr: SocketAddr, page: Option<SocketAddr>) -> anyhow::Result<Child> {
    // Through this program, so that the child is killed with it and has its limits from the start.
    let mut command = Command::new(env::current_exe()?);
    command.args(["--role", "exec"]).args(plan.limits.iter().flat_map(|limit| ["--limit", limit]));
    command.args(["--", MAPCAST, "--format", "json", "--listen", &addr.to_string()]);
    command.args(page.map(|page| format!("--http={page}")));
    command.arg(format!("--drain-timeout={}s", plan.drain.as_secs())).args(&plan.args);
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    if plan.limits.iter().any(|limit| limit.starts_with("as=")) {
        // Otherwise the allocator reserves the whole address space for its arenas, and the server refuses to start.
        command.env("MALLOC_ARENA_MAX", "1");
    }
    let input = if plan.has_input { Stdio::piped() } else { Stdio::null() };
    Ok(command.stdin(input).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
}

/// Returns an address with a free port. The port is released before a server binds it; nothing else listens on this address.
fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((HOST, 0))?.local_addr()?)
}

/// Returns the descriptor limit of this process.
pub fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
