//! Signals.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::Context;
pub(crate) use rustix::process::Signal;
pub(crate) use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::consts::{SIGUSR1, SIGUSR2};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::Signals;

use crate::signals::not_ignored;

/// The signals that are forwarded. Without a running program the first four end the client.
pub(crate) const FORWARDED: &[i32] = &[SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// The signals for `--signal`.
pub(crate) const SIGNALS: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("CONT", Signal::CONT),
];

/// Calls `tell` with each signal of `wanted` in a thread of its own, instead of the default action, until it returns false.
/// Ignored signals stay ignored.
///
/// # Errors
/// If the system refuses a handler or a thread.
pub(crate) fn on_signals(wanted: &[i32], mut tell: impl FnMut(i32) -> bool + Send + 'static) -> anyhow::Result<()> {
    let mut signals = Signals::new(not_ignored(wanted)).context("cannot handle signals")?;
    let run = move || {
        for signal in signals.forever() {
            if !tell(signal) {
                return;
            }
        }
    };
    // The thread ends with the process.
    thread::Builder::new().name("signals".to_owned()).spawn(run).context("cannot start a thread")?;
    Ok(())
}

/// While `is_default` holds, a signal from the keyboard ends this program; otherwise it is the child's alone.
///
/// # Errors
/// If the system refuses a handler.
pub(crate) fn pass_keyboard_signals_to_child(is_default: &Arc<AtomicBool>) -> anyhow::Result<()> {
    for signal in not_ignored(&[SIGINT, SIGQUIT]) {
        register_conditional_default(signal, Arc::clone(is_default)).context("cannot handle signals")?;
    }
    Ok(())
}
