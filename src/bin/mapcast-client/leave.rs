//! The exit that does not wait for other threads.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;
use crate::time_limit::with_time_limit;
use crate::{deliver, logging, watch};

/// True once a thread leaves: its exit code is the process's.
static IS_LEAVING: AtomicBool = AtomicBool::new(false);

/// Restores the terminal, kills running commands, removes temporary files and exits with `code`, whatever the other
/// threads do.
pub(crate) fn leave_at_once(code: Exit) -> ! {
    IS_LEAVING.store(true, Ordering::SeqCst);
    watch::restore();
    with_time_limit(deliver::cleanup);
    logging::flush_at_once();
    std::process::exit(code as i32)
}

/// Waits for the exit if another thread leaves, which takes a moment: it may have killed the command that this one waited for.
pub(crate) fn wait_if_leaving() {
    while IS_LEAVING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
