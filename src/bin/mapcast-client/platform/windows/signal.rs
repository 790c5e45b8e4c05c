//! Signals: Windows has none, but Ctrl-C and the like.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;

/// The numbers that the same events have on Unix.
pub(crate) const SIGHUP: i32 = 1;
pub(crate) const SIGINT: i32 = 2;
pub(crate) const SIGQUIT: i32 = 3;
pub(crate) const SIGTERM: i32 = 15;

/// The events that end the program of `--run`.
pub(crate) const FORWARDED: &[i32] = &[SIGINT];

/// There are none to send.
pub(crate) const SIGNALS: &[(&str, Signal)] = &[];

/// A request to a process: each of them ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal(i32);

impl Signal {
    pub(crate) const INT: Self = Self(SIGINT);
    pub(crate) const TERM: Self = Self(SIGTERM);
    pub(crate) const KILL: Self = Self(9);

    pub(crate) fn as_raw(self) -> i32 {
        self.0
    }

    #[allow(clippy::unnecessary_wraps, reason = "other systems have numbers without a signal")]
    pub(crate) fn from_named_raw(number: i32) -> Option<Self> {
        Some(Self(number))
    }
}

/// Calls `tell` with `SIGINT` at each Ctrl-C, Ctrl-Break or end of the console.
///
/// # Errors
/// If the system refuses a handler.
pub(crate) fn on_signals(_wanted: &[i32], mut tell: impl FnMut(i32) -> bool + Send + 'static) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || _ = tell(SIGINT))?)
}

/// While `is_default` holds, Ctrl-C ends this program; otherwise it is the child's alone.
///
/// # Errors
/// If the system refuses a handler.
pub(crate) fn pass_keyboard_signals_to_child(is_default: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let is_default = Arc::clone(is_default);
    let take = move || {
        if is_default.load(Ordering::SeqCst) {
            process::exit(Exit::Interrupted as i32);
        }
    };
    Ok(ctrlc::set_handler(take)?)
}
