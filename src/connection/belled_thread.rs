//! A thread of a service's own, beside those of the connections.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::bell::{Bell, Cause};
use crate::threads::{Thread, Threads, Worker};

/// How long the end waits for the thread: 1 s. Its work is done in steps of milliseconds.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

/// A thread that works until its bell rings for the stop, and is restarted after a panic. Rung so, and joined, when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct BelledThread {
    bell: Arc<Bell>,
    /// Taken when this is dropped.
    thread: Option<Thread>,
}

impl BelledThread {
    /// Starts the thread, one of `threads`, called `name` and doing `task`. There, `begin` is called with its bell and has
    /// returned before this does; what it returns is then the thread's work. After a panic both are called again. The work
    /// has to wait by [`Bell::wait_round`].
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start<W: FnOnce()>(
        threads: &Threads,
        name: &str,
        task: &str,
        mut begin: impl FnMut(&Arc<Bell>, &Arc<Worker>) -> W + Send + 'static,
    ) -> io::Result<Self> {
        let (bells, hung) = mpsc::sync_channel(1);
        let worker = threads.register(name, task);
        let counted = Arc::clone(&worker);
        let run = move || {
            let bell = Arc::new(Bell::for_this_thread());
            let mut first = Some(begin(&bell, &counted));
            // Nobody takes it if the starter has gone, which ends the thread as well.
            if bells.send(Arc::clone(&bell)).is_err() {
                return;
            }
            counted.run(
                |limit| is_stopped_within(&bell, limit),
                || first.take().unwrap_or_else(|| begin(&bell, &counted))(),
            );
        };
        let started = Thread::start(name, run).and_then(|thread| Ok((thread, hung.recv().map_err(io::Error::other)?)));
        let (thread, bell) = started.inspect_err(|_| worker.end())?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

/// Waits for `limit`. Returns true if and only if the bell rang for the stop meanwhile.
fn is_stopped_within(bell: &Bell, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let causes = bell.wait(Some(until));
        if causes.contains(Cause::Stop) || causes.is_empty() {
            return !causes.is_empty();
        }
    }
}

impl Drop for BelledThread {
    fn drop(&mut self) {
        self.bell.ring(Cause::Stop);
        if let Some(thread) = self.thread.take() {
            thread.join(JOIN_LIMIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    #[test]
    fn it_has_begun_when_it_is_started_and_ended_when_it_is_dropped() {
        let (threads, stage) = (Threads::default(), Arc::new(AtomicU8::new(0)));
        let reached = Arc::clone(&stage);
        let thread = BelledThread::start(&threads, "belled", "waiting", move |bell, worker| {
            reached.store(1, Ordering::SeqCst);
            let (bell, worker, reached) = (Arc::clone(bell), Arc::clone(worker), Arc::clone(&reached));
            move || {
                while !bell.wait_round(&worker, None).contains(Cause::Stop) {}
                reached.store(2, Ordering::SeqCst);
            }
        });
        assert_eq!(stage.load(Ordering::SeqCst), 1);
        drop(thread.unwrap());
        assert_eq!((stage.load(Ordering::SeqCst), threads.unfinished().len()), (2, 0));
    }

    #[test]
    fn one_that_panics_begins_again_and_one_that_always_does_still_ends() {
        let threads = Threads::default();
        let (begun, begins) = mpsc::channel();
        let thread = BelledThread::start(&threads, "belled", "panicking", move |_, _| {
            begun.send(()).unwrap();
            || panic!("as a fault of ours would")
        });
        // The second panic is followed by a pause.
        for _ in 0..2 {
            begins.recv_timeout(Duration::from_mins(1)).unwrap();
        }
        drop(thread.unwrap());
        assert!(threads.panics() >= 2 && threads.unfinished().is_empty());
    }
}
