//! Ctrl-Z and SIGTSTP: restores the terminal and stops the client as a job of its shell.

use std::thread;

use anyhow::Context;
use rustix::process::{Signal, getpgid, getpid, getppid, getsid, kill_current_process_group, kill_process};
use signal_hook::consts::{SIGCONT, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::signals::not_ignored;

/// Calls `tell` in a thread of its own until it returns false: with true at SIGTSTP, unless that is ignored, and with false at
/// SIGCONT.
///
/// # Errors
/// If the system refuses a handler or a thread.
pub(crate) fn on_job_control(mut tell: impl FnMut(bool) -> bool + Send + 'static) -> anyhow::Result<()> {
    let mut heeded = not_ignored(&[SIGTSTP]);
    heeded.push(SIGCONT);
    let mut signals = Signals::new(heeded).context("cannot handle signals")?;
    let run = move || {
        for signal in signals.forever() {
            if !tell(signal == SIGTSTP) {
                return;
            }
        }
    };
    // The thread ends with the process.
    thread::Builder::new().name("job".to_owned()).spawn(run).context("cannot start a thread")?;
    Ok(())
}

/// Stops every process of the job, as the terminal does at Ctrl-Z outside raw mode.
pub(crate) fn suspend() {
    // A process may always signal itself.
    let _ = kill_current_process_group(Signal::TSTP);
}

/// Stops this process if a shell can continue it, as the kernel does at SIGTSTP: it does not stop a process group
/// without such a parent (setpgid(2), orphaned).
pub(crate) fn stop() {
    let is_job = getppid().is_some_and(|parent| {
        let (group, session) = (getpgid(Some(parent)), getsid(Some(parent)));
        group.is_ok() && group != getpgid(None) && session.is_ok() && session == getsid(None)
    });
    // Continues at once instead.
    let signal = if is_job { Signal::STOP } else { Signal::CONT };
    let _ = kill_process(getpid(), signal);
}
