//! SIGINT, SIGTERM and SIGHUP: the first asks for the stop, a second one ends the process.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mapcast::Shutdown;

/// How long another signal is the same one, come twice: timeout(1) signals the program and then the group that it is in, and
/// so may whoever ends a session. Nobody presses Ctrl-C twice in so little time.
const ECHO: Duration = Duration::from_millis(100);

/// Makes a write beyond the limit on the size of files (`RLIMIT_FSIZE`) fail with EFBIG, where SIGXFSZ would end the process.
/// It is handled and not ignored, because exec(2) resets what is handled: programs that are started get the default.
///
/// # Errors
/// If the system refuses.
pub(crate) fn survive_large_writes() -> io::Result<()> {
    // Nobody looks at the flag: the write itself says what is wrong.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).map(drop)
}

/// Has the first signal trigger `stop`, and one after it, or after a stop that was none's, call `leave`, which should end the
/// process.
///
/// # Errors
/// If the system refuses, or signals are handled already.
pub(crate) fn handle(stop: Shutdown, leave: impl Fn() + Send + 'static) -> Result<(), ctrlc::Error> {
    let mut first = None;
    ctrlc::set_handler(move || {
        if stop.trigger() {
            first = Some(Instant::now());
        } else if first.is_none_or(|first| first.elapsed() >= ECHO) {
            leave();
        }
    })
}
