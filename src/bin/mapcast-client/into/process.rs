//! A child process with a group of its own, which is told of its end and signalled as a whole.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use log::debug;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// The group that runs now, 0 if none does: there is one at most, and whoever leaves at once must not leave it behind.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// A child that leads a process group of its own, so that what it has started can be signalled with it and a Ctrl-C in
/// the terminal is ours alone.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
}

impl Process {
    /// Starts `command`, and has `ended` called by another thread when it has ended. Until [`reap`](Self::reap) its
    /// number stays taken, so that no signal goes to another process.
    ///
    /// # Errors
    /// If it cannot be started, or there is no thread to wait for it.
    pub(super) fn start(command: &mut Command, ended: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let group = Pid::from_child(&child);
        let mut process = Self { child, group };
        RUNNING.store(group.as_raw_nonzero().get(), Ordering::SeqCst);
        let wait = move || {
            // Not reaped here: its number would be free at once.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(group), options), Err(Errno::INTR)) {}
            ended();
        };
        match thread::Builder::new().name("waiter".to_owned()).spawn(wait) {
            Ok(_) => Ok(process),
            Err(error) => {
                process.signal(Signal::KILL);
                process.reap()?;
                Err(error)
            }
        }
    }

    /// Its number, and that of its group.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Signals it and all that it has started and that has not left its group.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.group, signal) {
            debug!("process group {} cannot be signalled: {error}", self.group.as_raw_nonzero());
        }
    }

    /// Takes the status of one that has ended; waits for it if it has not.
    pub(super) fn reap(&mut self) -> io::Result<ExitStatus> {
        RUNNING.store(0, Ordering::SeqCst);
        self.child.wait()
    }
}

/// Returns what the shell is told of `status`: 128 and the signal that ended it, as shells count.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Kills what runs, if anything does: the client leaves at once.
pub(crate) fn kill_running() {
    if let Some(group) = Pid::from_raw(RUNNING.swap(0, Ordering::SeqCst)) {
        // It may have ended in this moment.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
