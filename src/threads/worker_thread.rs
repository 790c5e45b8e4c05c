//! A worker thread of a service, such as a publisher.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::notifier::{Notifier, WakeReason};
use super::{Thread, Threads, Worker};
use crate::sync::{Instant, mpsc};

/// How long the drop waits for the thread: 1 s. Its work proceeds in steps of milliseconds.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

/// A thread that works until notified of the stop, and is restarted after a panic. Stopped and joined on drop.
#[derive(Debug)]
pub(crate) struct WorkerThread {
    notifier: Arc<Notifier>,
    /// `None` after the drop has taken it to join it.
    thread: Option<Thread>,
}

impl WorkerThread {
    /// Starts a thread called `name` and registers it in `threads`; `task` describes its work in words. The thread calls
    /// `begin` with its notifier, which returns before this function does; its result is the thread's work. After a panic
    /// both are called again. The work must wait by [`Notifier::wait_round`].
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn start<W: FnOnce()>(
        threads: &Threads,
        name: &str,
        task: &str,
        mut begin: impl FnMut(&Arc<Notifier>, &Arc<Worker>) -> W + Send + 'static,
    ) -> io::Result<Self> {
        let (notifiers, started) = mpsc::sync_channel(1);
        let worker = threads.register(name, task);
        let counted = Arc::clone(&worker);
        let run = move || {
            let notifier = Arc::new(Notifier::for_current_thread());
            let mut first = Some(begin(&notifier, &counted));
            // Fails if the caller has panicked; the thread then ends too.
            if notifiers.send(Arc::clone(&notifier)).is_err() {
                return;
            }
            counted.run(
                |limit| is_stopped_within(&notifier, limit),
                || first.take().unwrap_or_else(|| begin(&notifier, &counted))(),
            );
        };
        let started =
            Thread::start(name, run).and_then(|thread| Ok((thread, started.recv().map_err(io::Error::other)?)));
        let (thread, notifier) = started.inspect_err(|_| worker.end())?;
        Ok(Self { notifier, thread: Some(thread) })
    }
}

/// Waits for `limit`. Returns true if and only if the stop was notified in that time.
fn is_stopped_within(notifier: &Notifier, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let reasons = notifier.wait(Some(until));
        if reasons.contains(WakeReason::Stop) || reasons.is_empty() {
            return !reasons.is_empty();
        }
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        self.notifier.notify(WakeReason::Stop);
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
    fn a_started_thread_has_begun_and_a_dropped_one_has_ended() {
        let (threads, stage) = (Threads::default(), Arc::new(AtomicU8::new(0)));
        let reached = Arc::clone(&stage);
        let thread = WorkerThread::start(&threads, "worker", "waiting", move |notifier, worker| {
            reached.store(1, Ordering::SeqCst);
            let (notifier, worker, reached) = (Arc::clone(notifier), Arc::clone(worker), Arc::clone(&reached));
            move || {
                while !notifier.wait_round(&worker, None).contains(WakeReason::Stop) {}
                reached.store(2, Ordering::SeqCst);
            }
        });
        assert_eq!(stage.load(Ordering::SeqCst), 1);
        drop(thread.unwrap());
        assert_eq!((stage.load(Ordering::SeqCst), threads.unfinished().len()), (2, 0));
    }

    #[test]
    fn a_thread_that_always_panics_is_restarted_until_dropped() {
        let threads = Threads::default();
        let (runs, started_runs) = mpsc::channel();
        let thread = WorkerThread::start(&threads, "worker", "panicking", move |_, _| {
            runs.send(()).unwrap();
            || panic!("injected panic")
        });
        // The second panic is followed by a pause.
        for _ in 0..2 {
            started_runs.recv_timeout(Duration::from_mins(1)).unwrap();
        }
        drop(thread.unwrap());
        assert!(threads.panics() >= 2 && threads.unfinished().is_empty());
    }
}
