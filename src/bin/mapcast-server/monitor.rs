//! The thread that monitors the others, and ends the process if its stop takes too long.

use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use mapcast::Shutdown;
use mapcast::threads::{CHECK_PERIOD, Threads};

use crate::logging;

/// How long the stop may take in addition to the drain: 2 s, one for connections that are cut off, one for threads
/// that hang.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Monitors `threads` in a thread of its own. If the process has not ended within `drain_timeout` and 2 s after `stop`
/// was requested, logs the remaining threads and exits with `code`.
///
/// # Errors
/// If the system refuses a thread.
pub(crate) fn start(threads: Threads, stop: Shutdown, drain_timeout: Duration, code: u8) -> anyhow::Result<()> {
    let look = move || {
        while !stop.wait(CHECK_PERIOD) {
            threads.check();
        }
        let limit = drain_timeout.saturating_add(STOP_LIMIT);
        let deadline = Instant::now().checked_add(limit);
        while let Some(left) = left(deadline) {
            thread::park_timeout(left.min(CHECK_PERIOD));
            threads.check();
        }
        let names = threads.unfinished().join(", ");
        log::error!("not stopped within {} s; exiting with threads still running: {names}", limit.as_secs());
        logging::flush_at_once();
        process::exit(i32::from(code));
    };
    // Not joined: it ends with the process.
    thread::Builder::new().name("monitor".to_owned()).spawn(look).context("cannot start the thread for the monitor")?;
    Ok(())
}

/// Returns the time left until `deadline`; `None` once it has passed. Without a deadline, returns one period for ever.
fn left(deadline: Option<Instant>) -> Option<Duration> {
    let left = deadline.map_or(CHECK_PERIOD, |deadline| deadline.saturating_duration_since(Instant::now()));
    Some(left).filter(|left| !left.is_zero())
}
