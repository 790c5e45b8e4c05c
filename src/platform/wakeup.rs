//! Wakes a thread that polls descriptors.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{AsFd, BorrowedFd, LocalStream, local_pair};

/// Wakes the one thread that polls it. A notification while it is not armed costs one atomic operation.
#[derive(Debug)]
pub(crate) struct Wakeup {
    is_armed: AtomicBool,
    sender: LocalStream,
    receiver: LocalStream,
}

impl Wakeup {
    /// Returns an unarmed wakeup. Uses two descriptors.
    ///
    /// # Errors
    /// If the process has reached its limit on descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, receiver) = local_pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok(Self { is_armed: AtomicBool::new(false), sender, receiver })
    }

    /// Arms the next notification. The polling thread calls this, then checks the condition that it waits for, then polls: a
    /// notification in between makes the descriptor readable, so that the poll returns at once.
    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    /// Wakes the polling thread if and only if it has called [`arm`](Self::arm) since the last notification.
    pub(crate) fn notify(&self) {
        if self.is_armed.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Wakes the polling thread.
    pub(crate) fn wake(&self) {
        // Fails only if the buffer is full; the descriptor is then readable.
        let _ = (&self.sender).write(&[0]);
    }

    /// Makes the descriptor unreadable again.
    pub(crate) fn clear(&self) {
        while matches!((&self.receiver).read(&mut [0; 16]), Ok(read) if read > 0) {}
    }
}

/// Readable after a notification, until [`clear`](Wakeup::clear).
impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::wait_any;
    use std::time::Instant;

    fn is_readable(wakeup: &Wakeup) -> bool {
        wait_any(&[wakeup.as_fd()], Some(Instant::now())).unwrap()[0]
    }

    #[test]
    fn only_an_armed_wakeup_becomes_readable() {
        let wakeup = Wakeup::new().unwrap();
        wakeup.notify();
        assert!(!is_readable(&wakeup));
        wakeup.arm();
        wakeup.notify();
        wakeup.notify();
        assert!(is_readable(&wakeup));
        wakeup.clear();
        assert!(!is_readable(&wakeup));
        wakeup.wake();
        assert!(is_readable(&wakeup));
    }
}
