//! A thread that does I/O for others, who wait for it no longer than a time: a file system that hangs holds it alone.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{ROUND, Thread, Threads};

/// How long the end waits for a job that is being done: 1 s.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// Why a job has no answer. The text says what is known of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Unanswered {
    /// It was not begun: another one takes too long.
    #[error("{task} has taken {} s; does its file system hang?", .elapsed.as_secs())]
    Busy {
        /// What the thread is about.
        task: String,
        /// How long it has been.
        elapsed: Duration,
    },
    /// It has been begun, or will be: whether it succeeds is not known.
    #[error("{task} takes longer than {} s; does its file system hang?", .limit.as_secs())]
    Late {
        /// What the thread is about.
        task: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It panicked.
    #[error("{task} has panicked")]
    Panicked {
        /// What the thread is about.
        task: String,
    },
    /// There is no thread for it.
    #[error("the system gives no thread")]
    NoThread(#[from] io::Error),
}

/// A thread that does one job after the other.
pub(crate) struct IoThread {
    threads: Threads,
    name: &'static str,
    task: String,
    /// How long whoever has a job waits for it.
    limit: Duration,
    /// Guards the start of the thread; held for that, and for handing a job over.
    running: Mutex<Option<Running>>,
    busy: Arc<Busy>,
}

struct Running {
    jobs: Sender<Job>,
    thread: Thread,
}

/// The jobs that are being done, or wait for it.
#[derive(Debug, Default)]
struct Busy {
    /// Guards when each was handed over, the oldest first; held for a look or a change.
    since: Mutex<VecDeque<Instant>>,
    changed: Condvar,
}

/// A job's place among those that are being done. Given back when dropped.
struct Slot(Arc<Busy>);

impl IoThread {
    /// Returns a thread called `name` that does `task`, in words, for those who wait for it at most for `limit`. It is
    /// started with its first job, or by [`start`](Self::start).
    pub(crate) fn new(threads: &Threads, name: &'static str, task: String, limit: Duration) -> Self {
        Self { threads: threads.clone(), name, task, limit, running: Mutex::default(), busy: Arc::default() }
    }

    /// Starts the thread, if it does not run.
    ///
    /// # Errors
    /// If the system gives none.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.jobs().map(drop)
    }

    /// Does `job` on the thread and returns what it returned.
    ///
    /// # Errors
    /// `Busy` at once, if another job has taken longer than the limit. `Late` after the limit: the job goes on. `Panicked`;
    /// `NoThread`.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Unanswered> {
        if let Some(elapsed) = self.busy.elapsed().filter(|elapsed| *elapsed >= self.limit) {
            return Err(Unanswered::Busy { task: self.task.clone(), elapsed });
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let (jobs, slot) = (self.jobs()?, Slot::take(&self.busy));
        let job = move || {
            let done = job();
            // Before the answer: who has that finds the thread idle.
            drop(slot);
            // Whoever asked may have given up.
            let _ = answer.send(done);
        };
        if jobs.send(Box::new(job)).is_err() {
            return Err(Unanswered::Panicked { task: self.task.clone() });
        }
        answered.recv_timeout(self.limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => Unanswered::Late { task: self.task.clone(), limit: self.limit },
            RecvTimeoutError::Disconnected => Unanswered::Panicked { task: self.task.clone() },
        })
    }

    /// Waits until no job is being done, not even one that was given up, at most until one has taken as long as the limit.
    ///
    /// # Errors
    /// `Busy` if it has.
    pub(crate) fn wait_idle(&self) -> Result<(), Unanswered> {
        let mut since = self.busy.lock();
        while let Some(elapsed) = since.front().map(Instant::elapsed) {
            let Some(left) = self.limit.checked_sub(elapsed).filter(|left| !left.is_zero()) else {
                return Err(Unanswered::Busy { task: self.task.clone(), elapsed });
            };
            since = self.busy.changed.wait_timeout(since, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn jobs(&self) -> io::Result<Sender<Job>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            return Ok(running.jobs.clone());
        }
        let (jobs, taken) = mpsc::channel::<Job>();
        let worker = self.threads.register_io(self.name, &self.task);
        let counted = Arc::clone(&worker);
        let work = move || {
            // After a panic: a job that comes in the pause is given up.
            let pause = |pause: Duration| {
                !pause.is_zero() && matches!(taken.recv_timeout(pause), Err(RecvTimeoutError::Disconnected))
            };
            counted.run(pause, || {
                loop {
                    counted.round();
                    match taken.recv_timeout(ROUND) {
                        Ok(job) => job(),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            });
        };
        let thread = Thread::start(self.name, work).inspect_err(|_| worker.end())?;
        *running = Some(Running { jobs: jobs.clone(), thread });
        Ok(jobs)
    }
}

impl Busy {
    fn elapsed(&self) -> Option<Duration> {
        self.lock().front().map(Instant::elapsed)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn take(busy: &Arc<Busy>) -> Self {
        busy.lock().push_back(Instant::now());
        Self(Arc::clone(busy))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().pop_front();
        self.0.changed.notify_all();
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { jobs, thread }) = running {
            drop(jobs);
            thread.join(JOIN_LIMIT);
        }
    }
}

impl fmt::Debug for IoThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoThread").field("name", &self.name).field("busy", &self.busy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn io_thread(limit: Duration) -> (Threads, IoThread) {
        let threads = Threads::default();
        let thread = IoThread::new(&threads, "token", "reading the token".to_owned(), limit);
        (threads, thread)
    }

    #[test]
    fn a_job_that_hangs_is_late_and_those_behind_it_are_refused_at_once() {
        let (threads, mut thread) = io_thread(LONG);
        assert_eq!(thread.run(|| 1).unwrap(), 1);
        thread.limit = Duration::from_millis(20);
        let (release, held) = mpsc::channel::<()>();
        let late = thread.run(move || held.recv().is_ok()).unwrap_err();
        assert_eq!(late.to_string(), "reading the token takes longer than 0 s; does its file system hang?");
        // One that was waited for would be late.
        assert!(matches!(thread.run(|| 2), Err(Unanswered::Busy { .. })));
        assert!(matches!(thread.wait_idle(), Err(Unanswered::Busy { .. })));
        threads.check_after(LONG);
        threads.check_after(LONG);
        assert_eq!(threads.problems().len(), 1);
        drop(release);
        while thread.wait_idle().is_err() {
            std::thread::yield_now();
        }
        thread.limit = LONG;
        assert_eq!(thread.run(|| 3).unwrap(), 3);
    }

    #[test]
    fn one_that_has_its_answer_finds_the_thread_idle() {
        let (_threads, thread) = io_thread(LONG);
        for number in 0..1000 {
            assert_eq!(thread.run(move || number).unwrap(), number);
            assert_eq!(thread.busy.elapsed(), None);
        }
    }

    #[test]
    fn a_job_that_panics_is_counted_and_the_next_one_is_done() {
        let (threads, thread) = io_thread(LONG);
        assert!(matches!(thread.run(|| panic!("as a fault would")), Err::<(), _>(Unanswered::Panicked { .. })));
        thread.wait_idle().unwrap();
        assert_eq!((thread.run(|| 1).unwrap(), threads.panics()), (1, 1));
        drop(thread);
        assert_eq!(threads.unfinished(), [""; 0]);
    }
}
