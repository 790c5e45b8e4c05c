//! Waiting for descriptors to become ready: poll(2), and `WSAPoll` on Windows.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
/// Those of `std::os::fd`; on Windows those of sockets.
pub(crate) use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// The pause after a `poll` that the system refuses, for lack of memory or because the limit on descriptors is below the
/// number polled (poll(2)): 10 ms.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// A value that a thread can wait for: on Unix every type with a descriptor (`std::os::fd::AsFd`), on Windows every type with a
/// socket (`std::os::windows::io::AsSocket`).
pub trait Pollable: AsFd {}

impl<T: AsFd> Pollable for T {}

/// The readiness to wait for. A hang-up or an error of the descriptor always ends the wait too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Ready for reading.
    Readable,
    /// Ready for writing.
    Writable,
}

/// Waits until one of `sources` is ready or `deadline` has passed; `None` is no deadline. Returns which are ready; none is
/// if and only if the deadline has passed. Signals do not end the wait.
pub(crate) fn wait_ready<const N: usize>(
    sources: [(BorrowedFd<'_>, Readiness); N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut fds = sources.map(|(fd, readiness)| {
        let flags = match readiness {
            Readiness::Readable => PollFlags::IN,
            Readiness::Writable => PollFlags::OUT,
        };
        PollFd::from_borrowed_fd(fd, flags)
    });
    poll_until(&mut fds, deadline)?;
    Ok(fds.map(|fd| !fd.revents().is_empty()))
}

/// Waits until one of `sources` is readable or `deadline` has passed. Returns which are.
pub(crate) fn wait_any(sources: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<Vec<bool>> {
    let mut fds: Vec<_> = sources.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    poll_until(&mut fds, deadline)?;
    Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
}

fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A time-out that exceeds a timespec is infinite.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(()),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => {
                // Keeps callers that try again from spinning.
                thread::park_timeout(REFUSED_PAUSE);
                return Err(error.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::pipe;

    #[test]
    fn a_wait_for_a_silent_source_lasts_until_its_deadline() {
        let (silent, _writer) = pipe().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        let ready = wait_ready([(silent.as_fd(), Readiness::Readable)], Some(deadline)).unwrap();
        assert_eq!((ready, Instant::now() >= deadline), ([false], true));
    }

    #[test]
    fn a_wait_returns_which_source_is_ready() {
        let (silent, writer) = pipe().unwrap();
        let sources = [(silent.as_fd(), Readiness::Readable), (writer.as_fd(), Readiness::Writable)];
        assert_eq!(wait_ready(sources, None).unwrap(), [false, true]);
    }

    #[test]
    fn a_closed_writer_makes_its_reader_ready() {
        let ((silent, _writer), (ended, writer)) = (pipe().unwrap(), pipe().unwrap());
        drop(writer);
        assert_eq!(wait_any(&[silent.as_fd(), ended.as_fd()], None).unwrap(), [false, true]);
    }
}
