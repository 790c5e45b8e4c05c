//! A thread that runs I/O jobs for callers that wait with a time limit, so that a hung file system blocks only this thread.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::{ROUND, Thread, Threads};
use crate::sync::{Condvar, Mutex};

/// How long the drop waits for a running job: 1 s.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// Why a job returned no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Unanswered {
    /// The job was not started: an earlier job has exceeded the time limit.
    #[error("{task} has taken {} s; does its file system hang?", .elapsed.as_secs())]
    Busy {
        /// The thread's task, in words.
        task: String,
        /// How long the earlier job has taken so far.
        elapsed: Duration,
    },
    /// The job exceeded the time limit. It still runs, or will run: its result is not known.
    #[error("{task} takes longer than {} s; does its file system hang?", .limit.as_secs())]
    Late {
        /// The thread's task, in words.
        task: String,
        /// The time limit.
        limit: Duration,
    },
    /// The job panicked.
    #[error("{task} has panicked")]
    Panicked {
        /// The thread's task, in words.
        task: String,
    },
    /// The thread could not be started.
    #[error("cannot start a thread")]
    NoThread(#[from] io::Error),
}

/// A thread that runs one job at a time.
pub(crate) struct IoThread {
    threads: Threads,
    name: &'static str,
    task: String,
    /// How long a caller waits for its job.
    limit: Duration,
    /// Guards the start of the thread; held for the start and for the clone of the sender.
    running: Mutex<Option<Running>>,
    busy: Arc<Busy>,
}

struct Running {
    jobs: Sender<Job>,
    thread: Thread,
}

/// The running job and the queued ones.
#[derive(Debug, Default)]
struct Busy {
    /// Guards the submission time of each job, oldest first; held for one read or change.
    since: Mutex<VecDeque<Instant>>,
    changed: Condvar,
}

/// One entry of [`Busy`], removed when dropped.
struct Slot(Arc<Busy>);

impl IoThread {
    /// Returns a thread called `name`; `task` describes it in words, and callers wait for a job for `limit` at most. It starts
    /// with its first job, or by [`start`](Self::start).
    pub(crate) fn new(threads: &Threads, name: &'static str, task: String, limit: Duration) -> Self {
        Self { threads: threads.clone(), name, task, limit, running: Mutex::default(), busy: Arc::default() }
    }

    /// Starts the thread, if it is not running.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.jobs().map(drop)
    }

    /// Runs `job` on the thread and returns its result.
    ///
    /// # Errors
    /// `Busy` at once, if another job has exceeded the time limit. `Late` after the limit; the job continues. `Panicked`;
    /// `NoThread`.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Unanswered> {
        if let Some(elapsed) = self.busy.elapsed().filter(|elapsed| *elapsed >= self.limit) {
            return Err(Unanswered::Busy { task: self.task.clone(), elapsed });
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let (jobs, slot) = (self.jobs()?, Slot::take(&self.busy));
        let job = move || {
            let done = job();
            // Before the result is sent: a caller that has it finds the thread idle.
            drop(slot);
            // Fails if the caller has timed out.
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

    /// Waits until no job is running or queued, including those whose callers have timed out.
    ///
    /// # Errors
    /// `Busy` once a job has exceeded the time limit.
    pub(crate) fn wait_idle(&self) -> Result<(), Unanswered> {
        let mut since = self.busy.since.lock();
        while let Some(elapsed) = since.front().map(Instant::elapsed) {
            let Some(left) = self.limit.checked_sub(elapsed).filter(|left| !left.is_zero()) else {
                return Err(Unanswered::Busy { task: self.task.clone(), elapsed });
            };
            since = self.busy.changed.wait_timeout(since, left);
        }
        Ok(())
    }

    fn jobs(&self) -> io::Result<Sender<Job>> {
        let mut running = self.running.lock();
        if let Some(running) = &*running {
            return Ok(running.jobs.clone());
        }
        let (jobs, taken) = mpsc::channel::<Job>();
        let worker = self.threads.register_io(self.name, &self.task);
        let counted = Arc::clone(&worker);
        let work = move || {
            // The pause after a panic: a job submitted in it is dropped.
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
        self.since.lock().front().map(Instant::elapsed)
    }
}

impl Slot {
    fn take(busy: &Arc<Busy>) -> Self {
        busy.since.lock().push_back(Instant::now());
        Self(Arc::clone(busy))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.since.lock().pop_front();
        self.0.changed.notify_all();
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        let running = self.running.lock().take();
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
    fn a_job_that_hangs_is_late_and_the_next_is_refused_at_once() {
        let (threads, mut thread) = io_thread(LONG);
        assert_eq!(thread.run(|| 1).unwrap(), 1);
        thread.limit = Duration::from_millis(20);
        let (release, held) = mpsc::channel::<()>();
        let late = thread.run(move || held.recv().is_ok());
        assert!(matches!(late, Err(Unanswered::Late { .. })), "{late:?}");
        // Refused at once: after a wait the error would be `Late`.
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
    fn a_caller_that_has_its_result_finds_the_thread_idle() {
        let (_threads, thread) = io_thread(LONG);
        for number in 0..1000 {
            assert_eq!(thread.run(move || number).unwrap(), number);
            assert_eq!(thread.busy.elapsed(), None);
        }
    }

    #[test]
    fn a_job_that_panics_is_counted_and_the_next_one_runs() {
        let (threads, thread) = io_thread(LONG);
        assert!(matches!(thread.run(|| panic!("injected panic")), Err::<(), _>(Unanswered::Panicked { .. })));
        thread.wait_idle().unwrap();
        assert_eq!((thread.run(|| 1).unwrap(), threads.panics()), (1, 1));
        drop(thread);
        assert_eq!(threads.unfinished(), [""; 0]);
    }

    #[test]
    fn every_error_has_its_text() {
        let task = || "reading the token".to_owned();
        crate::testing::check_texts!(Unanswered {
            Busy { task: task(), elapsed: LONG } => "reading the token has taken 60 s; does its file system hang?";
            Late { task: task(), limit: LONG } => "reading the token takes longer than 60 s; does its file system hang?";
            Panicked { task: task() } => "reading the token has panicked";
            NoThread(io::ErrorKind::WouldBlock.into()) => "cannot start a thread";
        });
    }
}
