//! The thread that looks after the others, and ends the process when its stop takes too long.

use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use mapcast::Shutdown;
use mapcast::threads::{CHECK_PERIOD, Threads};

use crate::logging;

/// What the stop may take beside the drain: 2 s. One goes to the connections that are cut, and the joins of threads that
/// hang have the other.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Looks after `threads` in a thread of its own. If the process has not ended within `drain_timeout` and 2 s after `stop` was
/// requested, whatever hangs, it says which threads are left and ends it with `code`.
///
/// # Errors
/// If the system gives no thread.
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
        log::error!("not stopped within {} s; leaving threads behind: {names}", limit.as_secs());
        logging::flush_at_once();
        process::exit(i32::from(code));
    };
    // Not joined: it ends with the process.
    thread::Builder::new().name("monitor".to_owned()).spawn(look).context("no thread for the monitor")?;
    Ok(())
}

/// Returns how much time is left until `deadline`; `None` once it has passed. No deadline never passes.
fn left(deadline: Option<Instant>) -> Option<Duration> {
    let left = deadline.map_or(CHECK_PERIOD, |deadline| deadline.saturating_duration_since(Instant::now()));
    Some(left).filter(|left| !left.is_zero())
}
