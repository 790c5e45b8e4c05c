//! The exit that does not wait for other threads.

use crate::exit::Exit;
use crate::time_limit::with_time_limit;
use crate::{deliver, logging, watch};

/// Restores the terminal, kills running commands, removes temporary files and exits with `code`, whatever the other
/// threads do.
pub(crate) fn leave_at_once(code: Exit) -> ! {
    watch::restore();
    with_time_limit(deliver::cleanup);
    logging::flush_at_once();
    std::process::exit(code as i32)
}
