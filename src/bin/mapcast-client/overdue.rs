//! The end of the client where something hangs that no deadline reaches: a read or write of a file.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::exit::{self, Exit};
use crate::logging;

/// How much longer than it is to run a client may take to leave, on a busy machine.
const GRACE: Duration = Duration::from_secs(5);

/// Ends the process with the exit code of `--timeout` when `time` and a little more is over, whatever the other threads do.
/// Where there is no thread to be had the client goes on without.
pub(crate) fn end_after(time: Duration) {
    let end = move || {
        let (_sender, never) = mpsc::channel::<()>();
        if never.recv_timeout(time.saturating_add(GRACE)) == Err(RecvTimeoutError::Timeout) {
            logging::write_line("mapcast-client: the time is over, and reading or writing a file does not end");
            exit::leave_at_once(Exit::TimedOut);
        }
    };
    let _ = thread::Builder::new().name("timeout".to_owned()).spawn(end);
}
