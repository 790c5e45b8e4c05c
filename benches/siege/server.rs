//! The servers under attack, each a process of its own.

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

/// Where the servers listen. Clients come from 127.0.0.1 and 127.0.1.0/24: none of their ports is a server's.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a process with thousands of threads may take to end when it was killed.
const DYING: Duration = Duration::from_secs(10);

/// The time between two looks at something that cannot be waited for.
pub const POLL_PERIOD: Duration = Duration::from_millis(20);

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub name: &'static str,
    pub args: Vec<OsString>,
    /// It has HTTP.
    pub has_page: bool,
    /// It reads its maps from standard input.
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
            _ => bail!("no resource: {name}"),
        };
        Ok(Self(resource, value.parse()?))
    }
}

/// Becomes the program in `command`, under `limits`. Ends with the thread that started this process, however it ends
/// (`PR_SET_PDEATHSIG`). Returns if and only if it fails.
pub fn exec(command: &[OsString], limits: &[Limit]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for Limit(resource, value) in limits {
        setrlimit(*resource, Rlimit { current: Some(*value), maximum: Some(*value) })?;
    }
    let [program, args @ ..] = command else { bail!("no program") };
    Err(Command::new(program).args(args).exec()).with_context(|| program.display().to_string())
}

/// How a server has ended.
#[derive(Debug, Clone, Copy)]
pub struct Exit {
    pub status: ExitStatus,
    /// Since its start.
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

/// `ABRT`. rustix names them `Signal::ABORT`.
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

/// A server; killed and waited for when dropped.
pub struct Server {
    plan: Plan,
    pub addr: SocketAddr,
    /// Where it has HTTP, if it does.
    pub page: Option<SocketAddr>,
    child: Child,
    pub log: Arc<Log>,
    pub gauge: Arc<Gauge>,
    sampler: Sampler,
    began: Instant,
    exit: Option<Exit>,
    /// Of the processes before this one.
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

    /// Starts it again where it was, after it has ended, and waits until it listens.
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
                bail!("{}: does not listen within {PATIENCE:?}: {}", self.plan.name, self.log.last());
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

    /// Takes its standard input, once a start.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// How it has ended; `None` while it runs.
    pub fn exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            // It fails only if somebody else has waited for it.
            let status = self.child.try_wait().ok().flatten();
            self.exit = status.map(|status| Exit { status, after: self.began.elapsed() });
        }
        self.exit
    }

    /// How it has ended; `None` while it runs. Waits for a process that is about to end: one with thousands of threads takes
    /// seconds to.
    pub fn wait_exit(&mut self) -> Option<Exit> {
        let deadline = Instant::now() + DYING;
        // A process has no memory any more as soon as it begins to end.
        while self.exit().is_none() && self.read().is_err() && Instant::now() < deadline {
            thread::park_timeout(POLL_PERIOD);
        }
        self.exit()
    }

    /// Lines of its log that contain `panicked`, of the processes before a restart too.
    pub fn panics(&self) -> u64 {
        self.past_panics + self.log.panics()
    }

    /// What it has now. Fails if it has ended.
    pub fn read(&self) -> anyhow::Result<Reading> {
        Reading::of(self.child.id())
    }

    /// CPU that it has used so far, by the process's own clock (`clock_getcpuclockid`).
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        Ok(ClockId::pid_cpu_clock_id(pid)?.now().context("the server has ended")?.into())
    }

    /// Sends SIGTERM, and waits for the end. Returns how it ended and how long that took; `None` if it did not within
    /// `patience`: then it is killed.
    pub fn terminate(&mut self, patience: Duration) -> Option<(Exit, Duration)> {
        let asked = Instant::now();
        // It fails only if it has ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        while self.exit().is_none() && asked.elapsed() < patience {
            thread::park_timeout(POLL_PERIOD);
        }
        let took = asked.elapsed();
        let exit = self.exit();
        self.kill();
        exit.map(|exit| (exit, took))
    }

    /// Ends it at once, if it runs, and waits for that.
    pub fn kill(&mut self) {
        // Both fail only if it has ended and was waited for.
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

/// Starts a server with `args` that is expected to refuse. Returns how it ended and its last line; with `None` for the
/// exit if it listens, or has neither ended nor listened within `patience`. It is killed then.
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
    // The reader of the log may be behind the end.
    thread::park_timeout(5 * POLL_PERIOD);
    Ok((exit, server.log.is_listening(), server.log.last()))
}

fn spawn(plan: &Plan, addr: SocketAddr, page: Option<SocketAddr>) -> anyhow::Result<Child> {
    // Through this program, so that the child dies with it, and has its limits from the first instruction on.
    let mut command = Command::new(env::current_exe()?);
    command.args(["--role", "exec"]).args(plan.limits.iter().flat_map(|limit| ["--limit", limit]));
    command.args(["--", MAPCAST, "--format", "json", "--listen", &addr.to_string()]);
    command.args(page.map(|page| format!("--http={page}")));
    command.arg(format!("--drain-timeout={}s", plan.drain.as_secs())).args(&plan.args);
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    if plan.limits.iter().any(|limit| limit.starts_with("as=")) {
        // The allocator would take the whole address space for its arenas, and the server refuses to start then.
        command.env("MALLOC_ARENA_MAX", "1");
    }
    let input = if plan.has_input { Stdio::piped() } else { Stdio::null() };
    Ok(command.stdin(input).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
}

/// Returns an address with a free port, given back before a server takes it: nothing else listens on this host.
fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((HOST, 0))?.local_addr()?)
}

/// How many descriptors this process may have.
pub fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
