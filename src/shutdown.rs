//! The stop: a flag, and the means to wake whoever waits. Knows no signals.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::platform::{self, Readiness};
use crate::threads::{ROUND, Worker};

/// A request to stop, shared by everyone who must hear it. Clones are the same request.
///
/// A flag alone wakes nobody: a blocked `accept` is not interrupted by a signal, and a thread that waits for N seconds
/// would wait them out. So there is a pipe beside the flag, whose writing end is closed by [`trigger`](Self::trigger):
/// whoever polls the reading end beside its own sockets is woken, and so is [`wait`](Self::wait).
#[derive(Debug, Clone)]
pub struct Shutdown {
    inner: Arc<Inner>,
    /// Counts a round at least every [`ROUND`] while this is waited for.
    worker: Option<Arc<Worker>>,
}

#[derive(Debug)]
struct Inner {
    triggered: AtomicBool,
    /// Never written to; readable (hung up) as soon as the writer is gone. One pipe serves any number of waiters.
    reader: OwnedFd,
    /// Guards the writing end alone; held only while it is taken out.
    writer: Mutex<Option<OwnedFd>>,
}

impl Shutdown {
    /// Returns a request that has not been made yet.
    ///
    /// # Errors
    /// If the system has no pipe left to give (descriptor limit).
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = platform::pipe()?;
        let inner = Inner { triggered: AtomicBool::new(false), reader, writer: Mutex::new(Some(writer)) };
        Ok(Self { inner: Arc::new(inner), worker: None })
    }

    /// Returns the same request for the thread of `worker`, whose rounds are counted while it waits for this: nothing else
    /// need be done for a thread whose waits all end with the stop.
    #[must_use]
    pub fn for_worker(&self, worker: &Arc<Worker>) -> Self {
        Self { worker: Some(Arc::clone(worker)), ..self.clone() }
    }

    /// Returns the same request for a thread whose rounds are not counted.
    #[cfg(feature = "redis")]
    #[must_use]
    pub(crate) fn without_worker(&self) -> Self {
        Self { worker: None, ..self.clone() }
    }

    /// Requests the stop and wakes everyone. Returns true if and only if this call was the first: what a second one
    /// means is the caller's business.
    pub fn trigger(&self) -> bool {
        let first = !self.inner.triggered.swap(true, Ordering::SeqCst);
        drop(self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
        first
    }

    /// True if and only if the stop has been requested.
    pub fn is_triggered(&self) -> bool {
        self.inner.triggered.load(Ordering::SeqCst)
    }

    /// Waits until the stop is requested or `timeout` is over. Returns true if and only if it was requested.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.pass(Instant::now().checked_add(timeout));
        self.is_triggered()
    }

    /// Waits until `source` can be read (or has ended, or failed), the stop is requested, or `deadline` has passed;
    /// `None` never passes. Returns true if and only if `source` is ready.
    ///
    /// # Errors
    /// If the system refuses to wait (memory).
    pub fn wait_readable(&self, source: impl AsFd, deadline: Option<Instant>) -> io::Result<bool> {
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
    pub(crate) fn pass(&self, deadline: Option<Instant>) {
        // A wait that the system refuses ends early, as a time-out would: the caller's loop goes on.
        let _ = self.poll([(self.as_fd(), Readiness::Readable)], deadline);
    }

    fn poll<const N: usize>(
        &self,
        sources: [(BorrowedFd<'_>, Readiness); N],
        deadline: Option<Instant>,
    ) -> io::Result<[bool; N]> {
        self.in_rounds(deadline, |until| platform::wait_ready(sources, until), |ready| ready.contains(&true))
    }

    /// Calls `wait` with `deadline`, or for a worker with that of each round, until `is_ready` holds or `deadline` has passed.
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

/// The reading end: readable as soon as the stop is requested, for a `poll` of the caller's own. Never read from it.
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
    fn only_the_first_request_is_the_first() {
        let shutdown = Shutdown::new().unwrap();
        assert!(!shutdown.is_triggered());
        assert!(shutdown.clone().trigger());
        assert!(!shutdown.trigger());
        assert!(shutdown.is_triggered());
    }

    #[test]
    fn a_wait_that_nobody_ends_takes_its_time() {
        let started = Instant::now();
        assert!(!Shutdown::new().unwrap().wait(Duration::from_millis(20)));
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_request_wakes_every_sleeper_at_once() {
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
    fn a_request_ends_a_wait_for_a_source_that_says_nothing() {
        let shutdown = Shutdown::new().unwrap();
        let (silent, _writer) = platform::pipe().unwrap();
        let waiter = {
            let shutdown = shutdown.clone();
            thread::Builder::new().spawn(move || shutdown.wait_readable(silent, None).unwrap()).unwrap()
        };
        shutdown.trigger();
        assert!(!waiter.join().unwrap());
    }

    #[test]
    fn a_thread_that_waits_comes_round_and_its_waits_are_as_long_as_ever() {
        let (shutdown, threads) = (Shutdown::new().unwrap(), crate::threads::Threads::default());
        let worker = threads.register("source", "following");
        let waited_for = shutdown.for_worker(&worker);
        let waiter = thread::Builder::new().spawn(move || waited_for.wait(Duration::from_hours(1))).unwrap();
        // Nothing but the wait itself counts: three times in a row.
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
        assert!(!waited_for.wait_readable(silent, Some(deadline)).unwrap() && Instant::now() >= deadline);
    }

    #[test]
    fn a_source_that_speaks_is_ready() {
        let (reader, writer) = platform::pipe().unwrap();
        drop(writer);
        assert!(Shutdown::new().unwrap().wait_readable(reader, None).unwrap());
    }
}
