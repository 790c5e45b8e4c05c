//! The long-lived threads of a server: which of them are stuck, which have panicked, and which do not end.
//!
//! Each of them comes round at least every 2 s, though there is nothing to do, and counts it. A monitor calls
//! [`Threads::check`] once a second: a thread whose count stands still for [`STUCK_AFTER`] is stuck.

mod io_thread;
mod notifier;
mod thread;
mod worker;
mod worker_thread;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use io_thread::{IoThread, Unanswered};
pub(crate) use notifier::{Notifier, waker};
pub use notifier::{WakeReason, WakeReasons};
pub use thread::Thread;
pub use worker::Worker;
pub(crate) use worker_thread::WorkerThread;

/// The longest that a thread waits before it comes round, though there is nothing to do: 2 s. So a wake-up that was lost
/// is made up for, too. An idle server with HTTP took 10 ms of CPU in 20 s so (a debug build, measured).
pub(crate) const ROUND: Duration = Duration::from_secs(2);

/// A thread that has not come round for this long is stuck: 10 s, five times what it may wait. A send to a client does not
/// wait, and publishers count within their rounds, so that a large fan-out is not taken for a stuck one.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);

/// How often the monitor looks: 1 s. What is longer than twice that between two looks was a pause of the whole process
/// (SIGSTOP, a suspended machine), and does not count.
pub const CHECK_PERIOD: Duration = Duration::from_secs(1);

/// The long-lived threads of one server. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Threads {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Guards the list; held for one change or copy, never while logging.
    workers: Mutex<Vec<Arc<Worker>>>,
    /// Guards when the monitor checked_at last, and since when that has been found too long ago; held for a look or a store.
    monitor: Mutex<Monitor>,
    panics: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Monitor {
    checked_at: Option<Instant>,
    /// When another thread first found that the monitor had not checked_at for [`STUCK_AFTER`].
    overdue_since: Option<Instant>,
}

/// What is wrong with a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// One line: `thread source: stuck for 12 s while reading flags.json`.
    pub text: String,
    /// True if and only if the process should be restarted for it: a thread is stuck that waits for nothing outside the
    /// process. Where it is a file system that hangs, the next process would hang at its start.
    pub restart_helps: bool,
}

impl Threads {
    /// Registers a thread called `name` that is doing `task`, in words: `sending the map`. It waits for nothing outside the
    /// process, so that one that is stuck is a fault of the process's own.
    pub fn register(&self, name: &str, task: &str) -> Arc<Worker> {
        self.add(Worker::new(name, task, true, Arc::clone(&self.shared.panics)))
    }

    /// As [`register`](Self::register), for a thread that reads or writes files: it may be stuck because their file system
    /// hangs.
    pub fn register_io(&self, name: &str, task: &str) -> Arc<Worker> {
        self.add(Worker::new(name, task, false, Arc::clone(&self.shared.panics)))
    }

    /// As [`register`](Self::register), for a thread whose rounds something else counts.
    pub fn register_counter(
        &self,
        name: &str,
        task: &str,
        rounds: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Arc<Worker> {
        self.add(Worker::new(name, task, true, Arc::clone(&self.shared.panics)).with_counter(rounds))
    }

    fn add(&self, worker: Worker) -> Arc<Worker> {
        let worker = Arc::new(worker);
        let mut workers = self.lock();
        workers.retain(|worker| !worker.has_ended());
        workers.push(Arc::clone(&worker));
        worker
    }

    /// Looks at every thread, and says in the log which one is stuck, and which one goes on. To be called every
    /// [`CHECK_PERIOD`] by one thread.
    pub fn check(&self) {
        let now = Instant::now();
        let before =
            std::mem::replace(&mut *self.lock_monitor(), Monitor { checked_at: Some(now), overdue_since: None })
                .checked_at;
        let elapsed = before.map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        self.check_after(elapsed.min(CHECK_PERIOD * 2));
    }

    /// As [`check`](Self::check), `elapsed` after the look before.
    pub(crate) fn check_after(&self, elapsed: Duration) {
        self.list().iter().for_each(|worker| worker.check_after(elapsed));
    }

    /// What is wrong with them now. If the monitor itself has not checked_at for [`STUCK_AFTER`], that is one, once this has been
    /// called for two periods of the monitor: after a pause of the whole process the caller may run before the monitor.
    pub fn problems(&self) -> Vec<Problem> {
        let monitor = self.lock_monitor().stuck_for(Instant::now()).map(|elapsed| Problem {
            text: format!("thread monitor: stuck for {} s while looking after the other threads", elapsed.as_secs()),
            restart_helps: true,
        });
        self.list().iter().filter_map(|worker| worker.problem()).chain(monitor).collect()
    }

    /// The first problem for which the process should be restarted.
    pub fn fatal_problem(&self) -> Option<Problem> {
        self.problems().into_iter().find(|problem| problem.restart_helps)
    }

    /// How many times one of them has panicked since the start.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// The names of those that have not ended.
    pub fn unfinished(&self) -> Vec<String> {
        self.list().iter().map(|worker| worker.name().to_owned()).collect()
    }

    fn list(&self) -> Vec<Arc<Worker>> {
        self.lock().iter().filter(|worker| !worker.has_ended()).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Worker>>> {
        self.shared.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_monitor(&self) -> MutexGuard<'_, Monitor> {
        self.shared.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor {
    /// Returns how long the monitor has not checked_at, if that is too long.
    fn stuck_for(&mut self, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.checked_at?);
        if elapsed < STUCK_AFTER {
            return None;
        }
        let overdue_since = *self.overdue_since.get_or_insert(now);
        (now.saturating_duration_since(overdue_since) >= CHECK_PERIOD * 2).then_some(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(threads: &Threads) -> Vec<String> {
        threads.problems().into_iter().map(|problem| problem.text).collect()
    }

    #[test]
    fn a_thread_that_does_not_come_round_is_stuck_until_it_does() {
        let threads = Threads::default();
        let (stuck, other) =
            (threads.register("publisher-0", "sending the map"), threads.register("watcher", "watching"));
        for _ in 0..9 {
            threads.check_after(CHECK_PERIOD);
            other.round();
        }
        assert_eq!(threads.problems(), []);
        threads.check_after(CHECK_PERIOD);
        assert_eq!(texts(&threads), ["thread publisher-0: stuck for 10 s while sending the map"]);
        assert!(threads.fatal_problem().is_some());
        stuck.round();
        threads.check_after(CHECK_PERIOD);
        assert_eq!(threads.problems(), []);
    }

    #[test]
    fn a_file_system_that_hangs_is_no_reason_to_restart() {
        let threads = Threads::default();
        let worker = threads.register_io("source", "reading flags.json");
        threads.check_after(STUCK_AFTER);
        let text = "thread source: stuck for 10 s while reading flags.json; does its file system hang?";
        assert_eq!(texts(&threads), [text]);
        assert_eq!(threads.fatal_problem(), None);
        worker.end();
        assert_eq!((threads.problems(), threads.unfinished()), (vec![], vec![]));
    }

    #[test]
    fn a_pause_of_the_whole_process_makes_none_stuck() {
        let threads = Threads::default();
        let _worker = threads.register("watcher", "watching");
        threads.lock_monitor().checked_at = Instant::now().checked_sub(Duration::from_mins(1));
        assert_eq!(threads.problems(), [], "it is asked before the monitor could look");
        threads.check();
        assert_eq!(threads.problems(), []);
    }

    #[test]
    fn a_monitor_that_does_not_look_while_others_run_is_stuck() {
        let threads = Threads::default();
        threads.check();
        let mut monitor = threads.lock_monitor();
        let after = monitor.checked_at.unwrap() + STUCK_AFTER;
        assert_eq!(monitor.stuck_for(after), None);
        assert_eq!(monitor.stuck_for(after + CHECK_PERIOD * 2), Some(STUCK_AFTER + CHECK_PERIOD * 2));
        let ago = |elapsed| Instant::now().checked_sub(elapsed);
        *monitor = Monitor { checked_at: ago(STUCK_AFTER * 2), overdue_since: ago(CHECK_PERIOD * 2) };
        drop(monitor);
        assert!(threads.problems()[0].text.starts_with("thread monitor: stuck for 20 s"));
        threads.check();
        assert_eq!(threads.problems(), []);
    }

    #[test]
    fn rounds_may_be_counted_elsewhere() {
        let (threads, rounds) = (Threads::default(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&rounds);
        let _worker = threads.register_counter("main", "accepting clients", move || counted.load(Ordering::Relaxed));
        threads.check_after(CHECK_PERIOD * 9);
        rounds.store(1, Ordering::Relaxed);
        threads.check_after(CHECK_PERIOD * 9);
        assert_eq!(threads.problems(), []);
        threads.check_after(STUCK_AFTER);
        assert_eq!(threads.problems().len(), 1);
    }
}
