//! A thread that is joined within a time, or left behind.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// A thread with a name. Not joined when this is dropped.
pub struct Thread {
    handle: JoinHandle<()>,
    ended: Arc<Ended>,
}

/// How a join came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum Outcome {
    Ended,
    Panicked,
    TimedOut,
}

#[derive(Debug, Default)]
struct Ended {
    /// Guards whether the thread has ended; held for a look or a store.
    has_ended: Mutex<bool>,
    changed: Condvar,
}

/// Marks the end of its thread, however that ends.
struct EndGuard(Arc<Ended>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        *self.0.has_ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}

impl Thread {
    /// Starts a thread called `name` that does `work`.
    ///
    /// # Errors
    /// If the system gives none.
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

    /// Waits for the thread, at most for `limit`. Returns true if and only if it has ended without a panic; otherwise the log
    /// has a line that names it. One that has not ended is left behind: it ends with the process.
    pub fn join(self, limit: Duration) -> bool {
        let name = self.handle.thread().name().unwrap_or_default().to_owned();
        match self.wait(limit) {
            Outcome::Ended => return true,
            Outcome::Panicked => log::error!("thread {name}: panicked"),
            Outcome::TimedOut => log::error!("thread {name}: does not end within {limit:?}; leaving it behind"),
        }
        false
    }

    fn wait(self, limit: Duration) -> Outcome {
        let ended = self.ended.has_ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ended.changed.wait_timeout_while(ended, limit, |ended| !*ended);
        let has_ended = *waited.unwrap_or_else(PoisonError::into_inner).0;
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
    fn a_thread_is_joined_if_it_ends_and_left_behind_if_it_does_not() {
        let limit = Duration::from_mins(1);
        assert_eq!(Thread::start("ends", || {}).unwrap().wait(limit), Outcome::Ended);
        assert_eq!(Thread::start("panics", || panic!("as a fault would")).unwrap().wait(limit), Outcome::Panicked);
        let (release, held) = mpsc::channel::<()>();
        let hung = Thread::start("hangs", move || assert!(held.recv().is_err())).unwrap();
        assert_eq!(hung.wait(Duration::from_millis(10)), Outcome::TimedOut);
        drop(release);
    }
}
