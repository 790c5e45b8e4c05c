//! The long-lived threads of a server, and the detection of those that are stuck, have panicked or do not end.
//!
//! Each thread counts a round at least every 2 s, even when idle. A monitor calls [`Threads::check`] once a second: a
//! thread whose count has not changed for [`STUCK_AFTER`] is stuck.

mod io_thread;
mod notifier;
mod thread;
mod worker;
mod worker_thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) use io_thread::{IoThread, Unanswered};
pub(crate) use notifier::{Notifier, waker};
pub use notifier::{WakeReason, WakeReasons};
pub use thread::Thread;
pub use worker::Worker;
pub(crate) use worker_thread::WorkerThread;

use crate::sync::Mutex;

/// The longest wait of an idle thread before it counts a round: 2 s. It also bounds the effect of a lost wake-up. An idle
/// server with HTTP took 10 ms of CPU in 20 s with it (debug build, measured).
pub(crate) const ROUND: Duration = Duration::from_secs(2);

/// A thread that has counted no round for this long is stuck: 10 s, five times the longest wait. A large fan-out does not count as
/// stuck: sends do not block, and publishers count rounds while they send.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);

/// How often the monitor checks the threads: every 1 s. Time beyond twice that between two checks does not count: the whole
/// process was paused (SIGSTOP, a suspended machine).
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
    /// Guards the monitor's own state; held for one read or store.
    monitor: Mutex<Monitor>,
    panics: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Monitor {
    /// The monitor's last check.
    checked_at: Option<Instant>,
    /// When another thread first found that check older than [`STUCK_AFTER`].
    overdue_since: Option<Instant>,
}

/// A problem of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// One line: `thread source: stuck for 12 s while reading flags.json`.
    pub text: String,
    /// True if and only if a restart of the process helps: the thread is stuck and waits for nothing outside the process.
    /// With a hung file system, the next process would hang at its start.
    pub restart_helps: bool,
}

impl Threads {
    /// Registers a thread called `name`; `task` describes its work in words: `sending the map`. It must not wait for anything
    /// outside the process, so that it can be stuck only by a fault of the process itself.
    pub fn register(&self, name: &str, task: &str) -> Arc<Worker> {
        self.add(Worker::new(name, task, true, Arc::clone(&self.shared.panics)))
    }

    /// As [`register`](Self::register), for a thread that reads or writes files, which may hang with their file system.
    pub fn register_io(&self, name: &str, task: &str) -> Arc<Worker> {
        self.add(Worker::new(name, task, false, Arc::clone(&self.shared.panics)))
    }

    /// As [`register`](Self::register), for a thread whose rounds are counted elsewhere, by `rounds`.
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
        let mut workers = self.shared.workers.lock();
        workers.retain(|worker| !worker.has_ended());
        workers.push(Arc::clone(&worker));
        worker
    }

    /// Checks every thread, and logs each that has become stuck or has resumed. To be called every [`CHECK_PERIOD`] by one
    /// thread.
    pub fn check(&self) {
        let now = Instant::now();
        let before =
            std::mem::replace(&mut *self.shared.monitor.lock(), Monitor { checked_at: Some(now), overdue_since: None })
                .checked_at;
        let elapsed = before.map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        self.check_after(elapsed.min(CHECK_PERIOD * 2));
    }

    /// As [`check`](Self::check), `elapsed` after the previous check.
    pub(crate) fn check_after(&self, elapsed: Duration) {
        self.list().iter().for_each(|worker| worker.check_after(elapsed));
    }

    /// The current problems. They include a monitor that has not checked for [`STUCK_AFTER`], once calls have found that for
    /// two [`CHECK_PERIOD`]s: after a pause of the whole process the caller may run before the monitor.
    pub fn problems(&self) -> Vec<Problem> {
        let monitor = self.shared.monitor.lock().stuck_for(Instant::now()).map(|elapsed| Problem {
            text: format!("thread monitor: stuck for {} s while looking after the other threads", elapsed.as_secs()),
            restart_helps: true,
        });
        self.list().iter().filter_map(|worker| worker.problem()).chain(monitor).collect()
    }

    /// The first problem that a restart of the process solves.
    pub fn fatal_problem(&self) -> Option<Problem> {
        self.problems().into_iter().find(|problem| problem.restart_helps)
    }

    /// The number of panics of all threads since the start.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// The names of the threads that have not ended.
    pub fn unfinished(&self) -> Vec<String> {
        self.list().iter().map(|worker| worker.name().to_owned()).collect()
    }

    fn list(&self) -> Vec<Arc<Worker>> {
        self.shared.workers.lock().iter().filter(|worker| !worker.has_ended()).cloned().collect()
    }
}

impl Monitor {
    /// Returns the time since the monitor's last check, if the monitor is stuck.
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
    fn a_thread_that_counts_no_round_is_stuck_until_it_does() {
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
    fn a_hung_file_system_is_a_problem_that_no_restart_solves() {
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
    fn a_pause_of_the_whole_process_makes_no_thread_stuck() {
        let threads = Threads::default();
        let _worker = threads.register("watcher", "watching");
        threads.shared.monitor.lock().checked_at = Instant::now().checked_sub(Duration::from_mins(1));
        assert_eq!(threads.problems(), [], "called before the monitor could check");
        threads.check();
        assert_eq!(threads.problems(), []);
    }

    #[test]
    fn a_monitor_that_does_not_check_while_others_run_is_stuck() {
        let threads = Threads::default();
        threads.check();
        let mut monitor = threads.shared.monitor.lock();
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
    fn rounds_counted_elsewhere_keep_a_thread_from_being_stuck() {
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
