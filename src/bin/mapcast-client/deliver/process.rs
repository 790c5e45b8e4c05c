//! Child processes with groups of their own, each ended and waited for as a whole.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use log::{debug, warn};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process_group, test_kill_process_group, wait};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

use crate::signals::is_blocked;

/// How often an ending group is looked at. Its members are children of this process as soon as their own parents have
/// ended, so that the reaper sees each end; only one whose parent lives on in another group ends unseen.
const POLL_PERIOD: Duration = Duration::from_millis(100);

/// How long after SIGKILL the members of a group may still be there: the kernel ends them at once, unless a device holds one.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// The processes that run. Guards the list, and the numbers in it: no child is started or reaped without the lock, so the
/// number of a listed group is not another group's. Nothing waits for another process while it is held, but for the start
/// of one.
static RUNNING: Mutex<Vec<RunningProcess>> = Mutex::new(Vec::new());

struct RunningProcess {
    group: Pid,
    /// `None` as long as the leader runs.
    status: Option<ExitStatus>,
    changed: Box<dyn Fn() + Send>,
}

/// A child that leads a process group of its own, so that what it has started can be signalled with it and a Ctrl-C in
/// the terminal is ours alone.
#[derive(Debug)]
pub(super) struct Process {
    group: Pid,
}

/// The end of a process and its group: asked for, granted some time, and enforced.
#[derive(Debug)]
pub(super) struct Termination {
    /// What the log calls it.
    name: &'static str,
    /// When it is killed; `None` is never.
    kill_at: Option<Instant>,
    killed_at: Option<Instant>,
}

impl Process {
    /// Starts `command`. `changed` is called by another thread when the process has ended, and as long as it is the last of
    /// its group that runs may be called again. [`start_reaper`] comes first.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(command: &mut Command, changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut running = running();
        let child = command.process_group(0).spawn()?;
        let group = Pid::from_child(&child);
        running.push(RunningProcess { group, status: None, changed: Box::new(changed) });
        Ok(Self { group })
    }

    /// Its number, and that of its group.
    pub(super) fn id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Signals it and all that it has started and that has not left its group.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(found) = running().iter().find(|found| found.group == self.group) {
            found.signal(signal);
        }
    }

    /// Returns how it has ended; `None` as long as it runs. What it has started may still run.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        running().iter().find(|found| found.group == self.group).and_then(|found| found.status)
    }

    /// True if and only if it has ended, and all of its group.
    pub(super) fn has_group_ended(&self) -> bool {
        running().iter().find(|found| found.group == self.group).is_none_or(RunningProcess::has_group_ended)
    }
}

impl Drop for Process {
    /// What is left of the group runs on by itself.
    fn drop(&mut self) {
        running().retain(|running| running.group != self.group);
    }
}

impl RunningProcess {
    fn has_group_ended(&self) -> bool {
        self.status.is_some() && test_kill_process_group(self.group) == Err(Errno::SRCH)
    }

    fn signal(&self, signal: Signal) {
        // The number of a group that is gone may be another's.
        if self.has_group_ended() {
            return;
        }
        if let Err(error) = kill_process_group(self.group, signal) {
            debug!("process group {} cannot be signalled: {error}", self.group.as_raw_nonzero());
        }
        if [Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal) {
            // One that is stopped, as by reading from the terminal, takes no signal but SIGKILL until it goes on.
            let _ = kill_process_group(self.group, Signal::CONT);
        }
    }
}

impl Termination {
    /// Returns the end of a process that has just been asked to end, and is killed after `grace`.
    pub(super) fn new(name: &'static str, grace: Duration) -> Self {
        Self { name, kill_at: Instant::now().checked_add(grace), killed_at: None }
    }

    /// When to call [`poll`](Self::poll) again, unless the process changes before.
    pub(super) fn next_check(&self) -> Instant {
        let look = Instant::now() + POLL_PERIOD;
        self.kill_at.filter(|_| self.killed_at.is_none()).map_or(look, |kill_at| kill_at.min(look))
    }

    /// Kills what is left of the group when the time is over. Returns true if and only if all of it has ended, or the
    /// process has and what is left cannot be killed.
    pub(super) fn poll(&mut self, process: &Process) -> bool {
        if process.has_group_ended() {
            return true;
        }
        if let Some(killed_at) = self.killed_at {
            return process.status().is_some() && killed_at.elapsed() >= KILL_GRACE;
        }
        if self.kill_at.is_some_and(|kill_at| kill_at <= Instant::now()) {
            if process.status().is_some() {
                warn!("what {} has started does not end: killed", self.name);
            } else {
                warn!("{} does not end: killed", self.name);
            }
            process.signal(Signal::KILL);
            self.killed_at = Some(Instant::now());
        }
        false
    }
}

/// Starts the thread that takes the status of every child that ends. What the children have left behind becomes a child
/// too, so that the end of a whole group is seen, and is reaped, also where this process is the first of a container.
///
/// # Errors
/// If the system refuses a handler or a thread.
pub(super) fn start_reaper() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(getpid())) {
        debug!("orphans go to another process: {error}");
    }
    let mut signals = Signals::new([SIGCHLD]).context("cannot handle signals")?;
    // A parent may have left it blocked; then nothing wakes this thread.
    let look_every = is_blocked(SIGCHLD).then_some(POLL_PERIOD);
    let reap = move || match look_every {
        Some(period) => loop {
            thread::park_timeout(period);
            reap();
        },
        None => signals.forever().for_each(|_| reap()),
    };
    // It ends with the process.
    thread::Builder::new().name("reaper".to_owned()).spawn(reap).context("cannot start a thread")?;
    Ok(())
}

fn reap() {
    let mut running = running();
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if let Some(found) = running.iter_mut().find(|found| found.group == pid && found.status.is_none()) {
            found.status = Some(ExitStatus::from_raw(status.as_raw()));
        }
    }
    for ended in running.iter().filter(|found| found.status.is_some()) {
        (ended.changed)();
    }
}

fn running() -> MutexGuard<'static, Vec<RunningProcess>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True if and only if this is the first process of its machine or container: what it leaves behind is killed by the kernel.
pub(super) fn is_init() -> bool {
    getpid().is_init()
}

/// Returns what the shell is told of `status`: 128 and the signal that ended it, as shells count.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Kills what runs, if anything does: the client leaves at once.
pub(crate) fn kill_running() {
    running().iter().for_each(|running| running.signal(Signal::KILL));
}
