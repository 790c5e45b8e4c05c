//! Which threads send the map, and with how many system calls.

use std::fmt;
use std::io;

use crate::connection::SendBatch;

/// Which threads send the map, and with how many system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendMode {
    /// Each client's own thread sends everything: it is woken by each change. A change costs 2 to 3 times as much CPU as with
    /// [`Plain`](Self::Plain).
    Thread,
    /// Publisher threads send, with one system call per frame.
    Plain,
    /// Publisher threads send up to 64 frames with one system call, through `io_uring`.
    Batch,
}

impl SendMode {
    /// Returns [`Batch`](Self::Batch) where the system allows it, [`Plain`](Self::Plain) otherwise.
    pub fn detect() -> Self {
        match Self::Batch.check() {
            Ok(()) => Self::Batch,
            Err(error) => {
                log::debug!("frames are sent one by one: the system refuses io_uring: {error}");
                Self::Plain
            }
        }
    }

    /// Checks that the system allows this mode.
    ///
    /// # Errors
    /// Why the system refuses `io_uring`, which [`Batch`](Self::Batch) needs.
    pub fn check(self) -> io::Result<()> {
        if self != Self::Batch {
            return Ok(());
        }
        // In a thread of its own: when a ring is closed, the kernel interrupts a later system call of the thread that made it.
        let checked = std::thread::Builder::new().name("io-uring".into()).spawn(|| SendBatch::with_ring().map(drop))?;
        checked.join().unwrap_or_else(|_| Err(io::Error::other("the check panicked")))
    }

    /// Returns what one publisher sends with.
    pub(super) fn batch(self) -> SendBatch {
        if self != Self::Batch {
            return SendBatch::plain();
        }
        SendBatch::with_ring().unwrap_or_else(|error| {
            log::warn!("frames are sent one by one: the system refuses io_uring: {error}");
            SendBatch::plain()
        })
    }
}

impl fmt::Display for SendMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread => "thread",
            Self::Plain => "plain",
            Self::Batch => "batch",
        })
    }
}
