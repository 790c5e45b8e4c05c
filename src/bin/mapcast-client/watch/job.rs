//! Ctrl-Z and SIGTSTP: the client stops as a job of its shell, with the terminal given back.

use std::sync::mpsc::SyncSender;
use std::thread;

use anyhow::Context;
use rustix::process::{Signal, getpgid, getpid, getppid, getsid, kill_current_process_group, kill_process};
use signal_hook::consts::{SIGCONT, SIGTSTP};
use signal_hook::iterator::Signals;

use super::message::Message;
use crate::signals::not_ignored;

/// Sends SIGTSTP and SIGCONT to `messages`, unless SIGTSTP is ignored, or nothing would make the client run again.
///
/// # Errors
/// If the system refuses a handler or a thread.
pub(super) fn tell(messages: SyncSender<Message>) -> anyhow::Result<()> {
    let mut heeded = not_ignored(&[SIGTSTP]);
    heeded.push(SIGCONT);
    let mut signals = Signals::new(heeded).context("cannot handle signals")?;
    let tell = move || {
        for signal in signals.forever() {
            let message = if signal == SIGCONT { Message::Continue } else { Message::Suspend };
            if messages.send(message).is_err() {
                return;
            }
        }
    };
    // It ends with the process.
    thread::Builder::new().name("job".to_owned()).spawn(tell).context("cannot start a thread")?;
    Ok(())
}

/// Does what the terminal does at Ctrl-Z, where it is not raw: stops every process of the job.
pub(super) fn suspend() {
    // A process may always signal itself.
    let _ = kill_current_process_group(Signal::TSTP);
}

/// Stops this process, if it is a job of a shell's, which makes it run again. What the kernel does at SIGTSTP by itself: a
/// process group without such a parent is not stopped (setpgid(2), orphaned).
pub(super) fn stop() {
    let is_job = getppid().is_some_and(|parent| {
        let (group, session) = (getpgid(Some(parent)), getsid(Some(parent)));
        group.is_ok() && group != getpgid(None) && session.is_ok() && session == getsid(None)
    });
    // Without a stop this is what follows one.
    let signal = if is_job { Signal::STOP } else { Signal::CONT };
    let _ = kill_process(getpid(), signal);
}
