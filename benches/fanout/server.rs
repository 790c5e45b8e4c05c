//! The measured servers, each in its own process.

use std::env;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mapcast::Shutdown;
use nix::time::ClockId;
use rustix::process::{Pid, Signal, kill_process};

use crate::change::Publisher;
use crate::command_line::command_line;
use crate::kind::Kind;
use crate::memory;
use crate::peer::mosquitto;
use crate::scenario::Scenario;

/// The longest time for a server to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server. Killed and waited for on drop.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    child: Child,
    addr: SocketAddr,
    page: Option<SocketAddr>,
    clock: ClockId,
    /// The upstream, if this value started it.
    upstream: Option<Box<Self>>,
}

impl Server {
    /// Starts the upstream, if any, and then a server on a free port of 127.0.0.1. Waits until it listens.
    pub fn start(kind: Kind, scenario: &Scenario) -> anyhow::Result<Self> {
        let upstream = kind.upstream().map(|kind| Self::start(kind, scenario)).transpose()?;
        let mut server = Self::start_at(kind, free_addr()?, upstream.as_ref().map(Self::addr), scenario)?;
        server.upstream = upstream.map(Box::new);
        Ok(server)
    }

    /// Starts a server at `addr` that follows the one at `upstream`, and waits until it listens.
    pub fn start_at(
        kind: Kind,
        addr: SocketAddr,
        upstream: Option<SocketAddr>,
        scenario: &Scenario,
    ) -> anyhow::Result<Self> {
        let has_page = kind == Kind::Mapcast && scenario.http_load.is_some();
        let page = has_page.then(free_addr).transpose()?;
        // Through this program, so that the child is killed with its parent and has the raised descriptor limit.
        let mut command = Command::new(env::current_exe()?);
        match kind {
            Kind::Floor => command.args(["--role", "floor", &addr.to_string()]),
            _ => command.args(["--role", "exec"]).arg("--").args(command_line(kind, addr, page, upstream, scenario)),
        };
        command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let clock = ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(i32::try_from(child.id())?))?;
        if kind == Kind::Mosquitto {
            let mut stdin = child.stdin.take().context("standard input is not a pipe")?;
            stdin.write_all(mosquitto::config(addr).as_bytes())?;
        }
        let mut server = Self { kind, child, addr, page, clock, upstream: None };
        server.wait_listening().with_context(|| format!("{} does not start", kind.name()))?;
        Ok(server)
    }

    fn wait_listening(&mut self) -> anyhow::Result<()> {
        let (deadline, pause) = (Instant::now() + PATIENCE, Shutdown::new()?);
        while TcpStream::connect(self.addr).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server has exited: {status}");
            }
            if Instant::now() > deadline {
                bail!("the server does not listen on {} after {PATIENCE:?}", self.addr);
            }
            pause.wait(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns its HTTP address, if it has one.
    pub fn page(&self) -> Option<SocketAddr> {
        self.page
    }

    /// Returns the address of its upstream.
    pub fn upstream_addr(&self) -> Option<SocketAddr> {
        self.upstream.as_ref().map(|upstream| upstream.addr)
    }

    /// Returns the publisher of changes of `size` bytes, to it or to its upstream. Can be called once.
    pub fn publisher(&mut self, size: usize) -> anyhow::Result<Publisher> {
        let mut sink: Box<dyn Write + Send> = match self.kind {
            Kind::Relay => return self.upstream.as_mut().context("the server has no upstream")?.publisher(size),
            Kind::Hash => {
                let stream = TcpStream::connect(self.upstream_addr().context("the server has no upstream")?)?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            // Its replies are a few bytes per change and stay unread.
            Kind::Redis | Kind::Nats | Kind::Mosquitto => {
                let stream = TcpStream::connect(self.addr)?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            _ => Box::new(self.child.stdin.take().context("the server already has a publisher")?),
        };
        let (hello, wrap) = self.kind.publishing();
        sink.write_all(hello)?;
        Ok(Publisher::new(sink, wrap, size))
    }

    /// Returns the CPU time of all its threads so far, user and system, including ended threads, by the process's own clock
    /// (`clock_getcpuclockid`). `/proc/PID/stat` has the same sum in steps of 10 ms.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(self.clock.now().context("the server has exited")?.into())
    }

    /// Returns the CPU time of its HTTP threads so far, by the scheduler (`/proc/PID/task/TID/schedstat`, whose first field is
    /// nanoseconds on a CPU). It is a part of [`cpu`](Self::cpu), but not of the cost of a delivery.
    pub fn http_cpu(&self) -> anyhow::Result<Duration> {
        if self.page.is_none() {
            return Ok(Duration::ZERO);
        }
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id())).context("the server has exited")? {
            let thread = thread?.path();
            // A thread that has ended meanwhile has no files.
            let name = fs::read_to_string(thread.join("comm")).unwrap_or_default();
            if name.starts_with("http-") {
                let schedule = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
                nanos += schedule.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0);
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Returns the CPU time since it was `before`.
    pub fn cpu_since(&self, before: Duration) -> anyhow::Result<Duration> {
        Ok(self.cpu()?.saturating_sub(before))
    }

    /// Returns its resident memory in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        memory::resident(self.child.id())
    }

    /// Sends SIGTERM, as a service manager does.
    pub fn terminate(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Returns its exit status; `None` while it runs.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // Fails only if it has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns an address with a free port. The port is released before a server binds it; no other program here takes one.
pub fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
