//! SIGINT, SIGTERM and SIGHUP: the first one requests the stop, a second one ends the process.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::Context;
use mapcast::Shutdown;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Within this time another signal is a duplicate: timeout(1) signals the program and then its process group, and so
/// may the end of a session. A second Ctrl-C takes longer.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);

/// Makes a write beyond the file size limit (`RLIMIT_FSIZE`) fail with EFBIG; SIGXFSZ would end the process otherwise.
/// The signal is handled, not ignored, because exec(2) resets handlers: child processes get the default.
///
/// # Errors
/// If the system refuses.
pub(crate) fn survive_large_writes() -> io::Result<()> {
    // The flag is not used: the write returns the error.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).map(drop)
}

/// The first signal triggers `stop`. A later one, or one after a stop for another reason, calls `leave`, which should
/// end the process. A signal that was ignored when the process started stays ignored, here and in child processes.
///
/// # Errors
/// If the system refuses, or signals are handled already.
pub(crate) fn handle(stop: Shutdown, leave: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let mut first = None;
    let mut take = move || {
        if stop.trigger() {
            first = Some(Instant::now());
        } else if first.is_none_or(|first: Instant| first.elapsed() >= DUPLICATE_WINDOW) {
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
    // The thread ends with the process.
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("cannot start a thread")?;
    Ok(())
}

/// Returns the elements of `signals` that this process does not ignore: usually all, but not after nohup(1) or in the
/// background of a shell without job control. Call it before a handler is installed: that would replace the setting,
/// and exec would give child processes the default action instead.
pub(crate) fn not_ignored(signals: &[i32]) -> Vec<i32> {
    signals.iter().copied().filter(|signal| !is_in("SigIgn:", *signal)).collect()
}

/// True if and only if this process was started with `signal` blocked: it never arrives.
#[allow(dead_code, reason = "the server starts no programs")]
pub(crate) fn is_blocked(signal: i32) -> bool {
    is_in("SigBlk:", signal)
}

fn is_in(field: &str, signal: i32) -> bool {
    // Without /proc no signal counts as ignored or blocked.
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
    fn signal_masks_are_parsed() {
        let status = "SigBlk:\t0000000000000004\nSigIgn:\t0000000000001001\nSigCgt:\t00";
        assert_eq!((mask(status, "SigBlk:"), mask(status, "SigIgn:")), (4, 0x1001));
        assert_eq!(mask("Name:\tx\n", "SigIgn:"), 0);
    }
}
