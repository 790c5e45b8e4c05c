//! Standard output, and a pipe that wakes a waiting thread.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;

use mapcast::Shutdown;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The end of a pipe for which a thread can wait.
pub(crate) type WakeReader = PipeReader;

/// Returns the ends of a pipe; a byte in it wakes the thread that waits for the reading end.
pub(crate) fn wake_pair() -> io::Result<(WakeReader, PipeWriter)> {
    io::pipe()
}

/// Returns a duplicate of the descriptor of standard output.
pub(crate) fn standard_output() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Returns the type of the terminal: `TERM`.
pub(crate) fn terminal_type() -> Option<OsString> {
    env::var_os("TERM")
}

/// Waits for the stop or the end of the reader of standard output. Returns true if and only if the reader has gone.
pub(crate) fn wait_output_closed(shutdown: &Shutdown) -> bool {
    let stdout = io::stdout();
    // No flags: hang-ups and errors are always reported.
    let mut fds = [PollFd::new(&stdout, PollFlags::empty()), PollFd::new(shutdown, PollFlags::IN)];
    while poll(&mut fds, None) == Err(Errno::INTR) {}
    fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}
