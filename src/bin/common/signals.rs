//! SIGINT, SIGTERM and SIGHUP: the first asks for the stop, a second one ends the process.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::Context;
use mapcast::Shutdown;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

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

/// Lets the first signal trigger `stop`, and a later one, or one after a stop for another reason, call `leave`, which should
/// end the process. A signal that was ignored when the process started stays ignored, here and in child processes.
///
/// # Errors
/// If the system refuses, or signals are handled already.
pub(crate) fn handle(stop: Shutdown, leave: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let mut first = None;
    let mut take = move || {
        if stop.trigger() {
            first = Some(Instant::now());
        } else if first.is_none_or(|first: Instant| first.elapsed() >= ECHO) {
            leave();
        }
    };
    let heeded = not_ignored(&[SIGINT, SIGTERM, SIGHUP]);
    if heeded.len() == 3 {
        return Ok(ctrlc::set_handler(take)?);
    }
    // `ctrlc` installs its handler for all three or for none.
    let mut signals = Signals::new(heeded)?;
    let wait = move || signals.forever().for_each(|_| take());
    // It ends with the process.
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("cannot start a thread")?;
    Ok(())
}

/// Returns those of `signals` that this process does not ignore: all of them, unless it was started so, as nohup(1) starts
/// it, or a shell without job control that starts it in the background. Ask before a handler is installed: that would
/// replace the setting, and exec would give child processes the default action instead.
pub(crate) fn not_ignored(signals: &[i32]) -> Vec<i32> {
    signals.iter().copied().filter(|signal| !is_in("SigIgn:", *signal)).collect()
}

/// True if and only if this process was started with `signal` blocked: it never comes.
#[allow(dead_code, reason = "the server starts no programs")]
pub(crate) fn is_blocked(signal: i32) -> bool {
    is_in("SigBlk:", signal)
}

fn is_in(field: &str, signal: i32) -> bool {
    // Without /proc no setting can be seen.
    let mask = fs::read_to_string("/proc/self/status").map_or(0, |status| mask(&status, field));
    mask >> (signal - 1) & 1 == 1
}

/// Returns the signals in a field of a process's `/proc/PID/status`, signal N as bit N - 1.
fn mask(status: &str, field: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix(field));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masks_of_signals_are_read() {
        let status = "SigBlk:\t0000000000000004\nSigIgn:\t0000000000001001\nSigCgt:\t00";
        assert_eq!((mask(status, "SigBlk:"), mask(status, "SigIgn:")), (4, 0x1001));
        assert_eq!(mask("Name:\tx\n", "SigIgn:"), 0);
    }
}
