//! Standard error, written without the locks of the standard library, which a panicking or printing thread may need.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// An output of bytes.
pub(super) trait RawOutput {
    /// Writes some of `bytes`, and returns how many.
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl<T: AsFd> RawOutput for T {
    /// Waits if another process has set the descriptor to non-blocking.
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(self, bytes) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match poll(&mut [PollFd::new(self, PollFlags::OUT)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                },
                written => return Ok(written?),
            }
        }
    }
}

/// Returns standard error.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(super) fn standard_error() -> io::Result<impl RawOutput + Send + 'static> {
    Ok(io::stderr())
}

/// Returns true: a terminal shows colours.
pub(super) fn accepts_colours() -> bool {
    true
}
