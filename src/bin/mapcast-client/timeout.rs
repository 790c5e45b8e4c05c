//! The last resort of `--timeout`: exits if a thread hangs where no deadline applies, in a read or write of a file.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::exit::Exit;
use crate::leave::leave_at_once;
use crate::logging;

/// How long after its time limit a client may still take to exit by itself, on a busy machine.
const GRACE: Duration = Duration::from_secs(5);

/// Starts a thread that exits with the code of `--timeout` 5 s after `time`, whatever the other threads do. Without a
/// thread there is no such limit.
pub(crate) fn exit_after(time: Duration) {
    let exit = move || {
        let (_sender, never) = mpsc::channel::<()>();
        if never.recv_timeout(time.saturating_add(GRACE)) == Err(RecvTimeoutError::Timeout) {
            logging::write_line("mapcast-client: timed out: a read or write of a file does not return");
            leave_at_once(Exit::TimedOut);
        }
    };
    let _ = thread::Builder::new().name("timeout".to_owned()).spawn(exit);
}
