//! The request to stop: a flag, and a pipe that wakes waiting threads. Independent of signals.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use crate::platform::Pollable;
use crate::platform::{self, AsFd, BorrowedFd, OwnedFd, Readiness};
use crate::sync::Mutex;
use crate::threads::{ROUND, Worker};

/// A request to stop, shared by all threads that obey it. Clones share one request.
///
/// A flag alone wakes no thread: a signal does not interrupt a blocked `accept`, and a thread that waits for N seconds would
/// wait them out. So [`trigger`](Self::trigger) also closes the writing end of a pipe, which wakes every thread in
/// [`wait`](Self::wait), and every thread that polls the reading end together with its own sockets.
#[derive(Debug, Clone)]
pub struct Shutdown {
    inner: Arc<Inner>,
    /// Counts a round at least every [`ROUND`] during a wait.
    worker: Option<Arc<Worker>>,
}

#[derive(Debug)]
struct Inner {
    triggered: AtomicBool,
    /// Never written to; readable (hung up) once the writer is closed. One pipe serves any number of waiters.
    reader: OwnedFd,
    /// Guards only the writing end; held while it is taken out.
    writer: Mutex<Option<OwnedFd>>,
}

impl Shutdown {
    /// Returns a request that is not triggered.
    ///
    /// # Errors
    /// If the system refuses a pipe (limit on descriptors).
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = platform::pipe()?;
        let inner = Inner { triggered: AtomicBool::new(false), reader, writer: Mutex::new(Some(writer)) };
        Ok(Self { inner: Arc::new(inner), worker: None })
    }

    /// Returns the same request for the thread of `worker`; waits then count the worker's rounds. That is sufficient for a
    /// thread whose waits all end with the stop.
    #[must_use]
    pub fn for_worker(&self, worker: &Arc<Worker>) -> Self {
        Self { worker: Some(Arc::clone(worker)), ..self.clone() }
    }

    /// Requests the stop and wakes all waiting threads. Returns true if and only if this call was the first; the caller decides
    /// what a second one means.
    pub fn trigger(&self) -> bool {
        let first = !self.inner.triggered.swap(true, Ordering::SeqCst);
        drop(self.inner.writer.lock().take());
        first
    }

    /// True if and only if the stop has been requested.
    pub fn is_triggered(&self) -> bool {
        self.inner.triggered.load(Ordering::SeqCst)
    }

    /// Waits until the stop is requested, for `timeout` at most. Returns true if and only if it was requested.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout));
        self.is_triggered()
    }

    /// Waits until `source` is readable (or hung up, or failed), the stop is requested, or `deadline` has passed; `None` is no
    /// deadline. Returns true if and only if `source` is ready.
    ///
    /// # Errors
    /// If the system refuses to wait (memory).
    pub fn wait_readable(&self, source: &impl Pollable, deadline: Option<Instant>) -> io::Result<bool> {
        self.wait_ready(source.as_fd(), Readiness::Readable, deadline)
    }

    /// As [`wait_readable`](Self::wait_readable), for either readiness.
    pub(crate) fn wait_ready(
        &self,
        source: BorrowedFd<'_>,
        readiness: Readiness,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        Ok(self.poll([(source, readiness), (self.as_fd(), Readiness::Readable)], deadline)?[0])
    }

    /// As [`wait_readable`](Self::wait_readable), until one of several sources is ready.
    #[cfg(feature = "redis")]
    pub(crate) fn wait_any_readable(&self, sources: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
        let sources: Vec<_> = sources.iter().copied().chain([self.as_fd()]).collect();
        let ready =
            self.in_rounds(deadline, |until| platform::wait_any(&sources, until), |ready| ready.contains(&true))?;
        Ok(ready[..sources.len() - 1].contains(&true))
    }

    /// Waits until the stop is requested or `deadline` has passed.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) {
        // A wait that the system refuses ends early, like a time-out; the caller's loop continues.
        let _ = self.poll([(self.as_fd(), Readiness::Readable)], deadline);
    }

    fn poll<const N: usize>(
        &self,
        sources: [(BorrowedFd<'_>, Readiness); N],
        deadline: Option<Instant>,
    ) -> io::Result<[bool; N]> {
        self.in_rounds(deadline, |until| platform::wait_ready(sources, until), |ready| ready.contains(&true))
    }

    /// Calls `wait` until `is_ready` holds or `deadline` has passed: once with `deadline`, or for a worker once per round.
    fn in_rounds<T>(
        &self,
        deadline: Option<Instant>,
        wait: impl Fn(Option<Instant>) -> io::Result<T>,
        is_ready: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        let Some(worker) = &self.worker else { return wait(deadline) };
        loop {
            worker.round();
            let round = Instant::now() + ROUND;
            let is_last = deadline.is_some_and(|deadline| deadline <= round);
            let ready = wait(if is_last { deadline } else { Some(round) })?;
            if is_last || is_ready(&ready) {
                return Ok(ready);
            }
        }
    }
}

/// The reading end: readable once the stop is requested, for the caller's own `poll`. Must not be read from.
impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn trigger_returns_true_for_the_first_call_only() {
        let shutdown = Shutdown::new().unwrap();
        assert!(!shutdown.is_triggered());
        assert!(shutdown.clone().trigger());
        assert!(!shutdown.trigger());
        assert!(shutdown.is_triggered());
    }

    #[test]
    fn a_wait_without_a_stop_lasts_until_its_timeout() {
        let started = Instant::now();
        assert!(!Shutdown::new().unwrap().wait(Duration::from_millis(20)));
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_stop_wakes_every_waiting_thread() {
        let shutdown = Shutdown::new().unwrap();
        let sleepers: Vec<_> = (0..8)
            .map(|_| {
                let shutdown = shutdown.clone();
                thread::Builder::new().spawn(move || shutdown.wait(Duration::from_hours(1))).unwrap()
            })
            .collect();
        shutdown.trigger();
        assert!(sleepers.into_iter().all(|sleeper| sleeper.join().unwrap()));
    }

    #[test]
    fn a_stop_ends_a_wait_for_a_silent_source() {
        let shutdown = Shutdown::new().unwrap();
        let (silent, _writer) = platform::pipe().unwrap();
        let waiter = {
            let shutdown = shutdown.clone();
            thread::Builder::new().spawn(move || shutdown.wait_readable(&silent, None).unwrap()).unwrap()
        };
        shutdown.trigger();
        assert!(!waiter.join().unwrap());
    }

    #[test]
    fn a_waiting_worker_counts_rounds_and_keeps_its_deadline() {
        let (shutdown, threads) = (Shutdown::new().unwrap(), crate::threads::Threads::default());
        let worker = threads.register("source", "following");
        let waited_for = shutdown.for_worker(&worker);
        let waiter = thread::Builder::new().spawn(move || waited_for.wait(Duration::from_hours(1))).unwrap();
        // Only the wait itself counts rounds: three times in a row.
        for _ in 0..3 {
            threads.check_after(crate::threads::STUCK_AFTER);
            while !threads.problems().is_empty() {
                thread::park_timeout(Duration::from_millis(10));
                threads.check_after(Duration::ZERO);
            }
        }
        shutdown.trigger();
        assert!(waiter.join().unwrap());
        let started = Instant::now();
        let (silent, _writer) = platform::pipe().unwrap();
        let deadline = started + Duration::from_millis(20);
        let waited_for = Shutdown::new().unwrap().for_worker(&worker);
        assert!(!waited_for.wait_readable(&silent, Some(deadline)).unwrap() && Instant::now() >= deadline);
    }

    #[test]
    fn a_readable_source_ends_a_wait() {
        let (reader, writer) = platform::pipe().unwrap();
        drop(writer);
        assert!(Shutdown::new().unwrap().wait_readable(&reader, None).unwrap());
    }
}
