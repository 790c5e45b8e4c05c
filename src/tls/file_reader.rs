//! Reads files on a separate thread, because a read from a file system that hangs has no timeout and cannot be cancelled.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use super::files::Error;

/// How long a connection waits for the files: 2 s. A local disk needs less than a millisecond.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// Runs one read at a time, with a time limit.
pub(super) struct FileReader<T> {
    /// The read that has exceeded the limit.
    unfinished: Option<Receiver<T>>,
    limit: Duration,
}

impl<T: Send + 'static> FileReader<T> {
    pub(super) fn new() -> Self {
        Self { unfinished: None, limit: READ_LIMIT }
    }

    /// Runs `read` on another thread and returns its result.
    ///
    /// # Errors
    /// `Late` after the limit, and at once while an earlier read is unfinished; `NoThread`.
    pub(super) fn run(&mut self, read: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        if let Some(unfinished) = &self.unfinished {
            if matches!(unfinished.try_recv(), Err(TryRecvError::Empty)) {
                return Err(Error::Late(self.limit));
            }
            // Its result may be outdated.
            self.unfinished = None;
        }
        let (sender, receiver) = sync_channel(1);
        let run = move || {
            // Fails if the read is late: the receiver is dropped at the next one.
            let _ = sender.send(read());
        };
        // Not joined: it ends when the file system answers, or with the process.
        thread::Builder::new().name("certificates".to_owned()).spawn(run).map_err(Error::NoThread)?;
        receiver.recv_timeout(self.limit).map_err(|error| {
            if error == RecvTimeoutError::Timeout {
                self.unfinished = Some(receiver);
            }
            Error::Late(self.limit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_read_that_hangs_blocks_once_and_no_other_read_starts() {
        let mut reader = FileReader { unfinished: None, limit: Duration::from_millis(50) };
        let (release, held) = channel::<()>();
        let (ended, end) = channel();
        let hung = move || {
            let _ = held.recv();
            drop(ended);
            1
        };
        assert!(matches!(reader.run(hung), Err(Error::Late(_))));
        for _ in 0..3 {
            assert!(matches!(reader.run(|| unreachable!("beside one that hangs")), Err(Error::Late(_))));
        }
        drop(release);
        let _: Result<(), _> = end.recv();
        reader.limit = Duration::from_mins(1);
        // The thread may not have sent its result yet.
        let read = loop {
            if let Ok(read) = reader.run(|| 2) {
                break read;
            }
            thread::yield_now();
        };
        assert_eq!(read, 2, "the result of the read that hung is outdated");
    }

    #[test]
    fn a_read_that_panics_returns_at_once() {
        let mut reader = FileReader { unfinished: None, limit: Duration::from_mins(1) };
        assert!(matches!(reader.run(|| panic!("a bug")), Err(Error::Late(_))));
        assert_eq!(reader.run(|| 3).unwrap(), 3);
    }
}
