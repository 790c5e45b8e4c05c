//! A thread that can be joined with a time limit.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::thread::Builder;
use crate::sync::{Condvar, Instant, JoinHandle, Mutex};

/// A named thread. Not joined on drop.
pub struct Thread {
    handle: JoinHandle<()>,
    ended: Arc<Ended>,
}

/// The outcome of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum Outcome {
    Ended,
    Panicked,
    TimedOut,
}

#[derive(Debug, Default)]
struct Ended {
    /// Guards whether the thread has ended; held for one read or store.
    has_ended: Mutex<bool>,
    changed: Condvar,
}

/// Signals the end of its thread when dropped, even by a panic.
struct EndGuard(Arc<Ended>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        *self.0.has_ended.lock() = true;
        self.0.changed.notify_all();
    }
}

impl Thread {
    /// Starts a thread called `name` that runs `work`.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let ended = Arc::new(Ended::default());
        let guard = EndGuard(Arc::clone(&ended));
        let run = move || {
            let _guard = guard;
            work();
        };
        let handle = Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { handle, ended })
    }

    /// Waits for the thread to end, for `limit` at most. Returns true if and only if it ended without a panic; otherwise logs a
    /// line that names it. A thread that has not ended is abandoned: it ends with the process.
    pub fn join(self, limit: Duration) -> bool {
        let name = self.handle.thread().name().unwrap_or_default().to_owned();
        match self.wait(limit) {
            Outcome::Ended => return true,
            Outcome::Panicked => log::error!("thread {name}: panicked"),
            Outcome::TimedOut => {
                log::error!("thread {name}: did not end within {limit:?}; abandoned until the process exits");
            }
        }
        false
    }

    fn wait(self, limit: Duration) -> Outcome {
        let deadline = Instant::now().checked_add(limit);
        let has_ended = *self.ended.changed.wait_while(self.ended.has_ended.lock(), deadline, |ended| !*ended);
        match has_ended.then(|| self.handle.join()) {
            None => Outcome::TimedOut,
            Some(Ok(())) => Outcome::Ended,
            Some(Err(_)) => Outcome::Panicked,
        }
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thread").field(&self.handle.thread().name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_join_distinguishes_an_end_a_panic_and_a_timeout() {
        let limit = Duration::from_mins(1);
        assert_eq!(Thread::start("ends", || {}).unwrap().wait(limit), Outcome::Ended);
        assert_eq!(Thread::start("panics", || panic!("injected panic")).unwrap().wait(limit), Outcome::Panicked);
        let (release, held) = mpsc::channel::<()>();
        let hung = Thread::start("hangs", move || assert!(held.recv().is_err())).unwrap();
        assert_eq!(hung.wait(Duration::from_millis(10)), Outcome::TimedOut);
        drop(release);
    }
}
