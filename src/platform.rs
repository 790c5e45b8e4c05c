//! Every call that is the system's own: waiting for descriptors, pipes. Linux is what is tested.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

/// What is waited for on a descriptor. Its end, and an error on it, are always waited for too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It has something to read.
    Readable,
    /// It has room to write.
    Writable,
}

/// Waits until one of `sources` is ready or `deadline` has passed; `None` never passes. Returns which are ready: none
/// of them if and only if the deadline has passed. Signals do not end the wait.
pub(crate) fn wait_ready<const N: usize>(
    sources: &[(BorrowedFd<'_>, Readiness); N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut fds = sources.map(|(fd, readiness)| {
        let flags = match readiness {
            Readiness::Readable => PollFlags::IN,
            Readiness::Writable => PollFlags::OUT,
        };
        PollFd::from_borrowed_fd(fd, flags)
    });
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // More seconds than a timespec holds are for ever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| timeout.is_some() && left.is_zero()) => return Ok([false; N]),
            Ok(0) => {}
            Ok(_) => return Ok(fds.map(|fd| !fd.revents().is_empty())),
            Err(error) if error == rustix::io::Errno::INTR => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the reading and the writing end of a new pipe, closed on exec.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}
