//! Reading files on a thread of its own, because a file system that hangs can neither be timed nor ended.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use super::files::Error;

/// How long a connection waits for the files: 2 s. A local disk takes less than a millisecond.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// Reads, one read at a time, with a limit.
pub(super) struct FileReader<T> {
    /// The read that has taken longer than the limit.
    unfinished: Option<Receiver<T>>,
    limit: Duration,
}

impl<T: Send + 'static> FileReader<T> {
    pub(super) fn new() -> Self {
        Self { unfinished: None, limit: READ_LIMIT }
    }

    /// Runs `read` on another thread and returns what it returned.
    ///
    /// # Errors
    /// `Late` after the limit, and at once while that read is unfinished, which goes on; `NoThread`.
    pub(super) fn run(&mut self, read: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        if let Some(unfinished) = &self.unfinished {
            if matches!(unfinished.try_recv(), Err(TryRecvError::Empty)) {
                return Err(Error::Late(self.limit));
            }
            // What it has found may have changed since.
            self.unfinished = None;
        }
        let (sender, receiver) = sync_channel(1);
        let run = move || {
            // Nobody waits for it any more, if it is late.
            let _ = sender.send(read());
        };
        // Not joined: it ends with the process, or when the file system answers.
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
    fn a_read_that_hangs_is_waited_for_once_and_no_other_begins_beside_it() {
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
        // The thread has yet to hand over what it read.
        let read = loop {
            if let Ok(read) = reader.run(|| 2) {
                break read;
            }
            thread::yield_now();
        };
        assert_eq!(read, 2, "what was read before it hung is not what is there now");
    }

    #[test]
    fn a_read_that_panics_is_not_waited_for() {
        let mut reader = FileReader { unfinished: None, limit: Duration::from_mins(1) };
        assert!(matches!(reader.run(|| panic!("a bug")), Err(Error::Late(_))));
        assert_eq!(reader.run(|| 3).unwrap(), 3);
    }
}
