//! Child processes, each with a process group that is terminated and waited for as a whole.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use log::debug;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process_group, test_kill_process_group, wait};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

use crate::signals::is_blocked;

/// How often a terminating group is polled. The reaper sees the exit of each member, because orphans become children
/// of this process; it misses only a process whose parent lives on in another group.
const POLL_PERIOD: Duration = Duration::from_millis(100);

/// The running processes. The lock guards the list and its process numbers: no child is started or reaped without it,
/// so the number of a listed group cannot belong to another one. No thread waits for another process while it holds
/// the lock, except to start one.
static RUNNING: Mutex<Vec<RunningProcess>> = Mutex::new(Vec::new());

struct RunningProcess {
    group: Pid,
    /// `None` while the leader runs.
    status: Option<ExitStatus>,
    changed: Box<dyn Fn() + Send>,
}

/// A child that leads a process group of its own: signals reach its descendants too, and Ctrl-C in the terminal
/// reaches only this process.
#[derive(Debug)]
pub(crate) struct Process {
    group: Pid,
}

impl Process {
    /// Starts `command`. Another thread calls `changed` when the process has exited, and possibly again while other
    /// members of its group run. Call [`start_reaper`] first.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub(crate) fn start(command: &mut Command, changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut running = running();
        let child = command.process_group(0).spawn()?;
        let group = Pid::from_child(&child);
        running.push(RunningProcess { group, status: None, changed: Box::new(changed) });
        Ok(Self { group })
    }

    /// The number of the process and of its group.
    pub(crate) fn id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Signals all processes of the group.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(found) = running().iter().find(|found| found.group == self.group) {
            found.signal(signal);
        }
    }

    /// Returns the exit status; `None` while the process runs. Its descendants may still run.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        running().iter().find(|found| found.group == self.group).and_then(|found| found.status)
    }

    /// True if and only if all processes of the group have exited.
    pub(crate) fn has_group_ended(&self) -> bool {
        running().iter().find(|found| found.group == self.group).is_none_or(RunningProcess::has_group_ended)
    }
}

impl Drop for Process {
    /// Remaining processes of the group keep running.
    fn drop(&mut self) {
        running().retain(|running| running.group != self.group);
    }
}

impl RunningProcess {
    fn has_group_ended(&self) -> bool {
        self.status.is_some() && test_kill_process_group(self.group) == Err(Errno::SRCH)
    }

    fn signal(&self, signal: Signal) {
        // The number may belong to another group by now.
        if self.has_group_ended() {
            return;
        }
        if let Err(error) = kill_process_group(self.group, signal) {
            debug!("cannot signal process group {}: {error}", self.group.as_raw_nonzero());
        }
        if [Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal) {
            // A stopped process, for example one that has read from the terminal, accepts only SIGKILL until it
            // continues.
            let _ = kill_process_group(self.group, Signal::CONT);
        }
    }
}

/// Starts the thread that reaps every child. Orphaned descendants become children of this process too, so that the end
/// of a whole group is noticed, also where this process is the first of a container.
///
/// # Errors
/// If the system refuses a handler or a thread.
pub(crate) fn start_reaper() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(getpid())) {
        debug!("cannot become the parent of orphaned processes: {error}");
    }
    let mut signals = Signals::new([SIGCHLD]).context("cannot handle signals")?;
    // A parent may have blocked the signal; then it wakes no thread.
    let look_every = is_blocked(SIGCHLD).then_some(POLL_PERIOD);
    let reap = move || match look_every {
        Some(period) => loop {
            thread::park_timeout(period);
            reap();
        },
        None => signals.forever().for_each(|_| reap()),
    };
    // The thread ends with the process.
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

/// True if and only if this is the first process of its machine or container: when it exits, the kernel kills its
/// descendants.
pub(crate) fn is_init() -> bool {
    getpid().is_init()
}

/// Returns the exit code for `status`: 128 plus the number of the signal that ended it, as in shells.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Kills all running process groups, for an immediate exit.
pub(crate) fn kill_running() {
    running().iter().for_each(|running| running.signal(Signal::KILL));
}
