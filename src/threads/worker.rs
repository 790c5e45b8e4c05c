//! One long-lived thread: its rounds, its panics and its restarts.

use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Problem, STUCK_AFTER};

/// The pause before the restart of a thread that panics again: 1 s, doubling to 1 min.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// A panic after this long without one counts as the first again: 1 min.
const RESET_AFTER: Duration = Duration::from_mins(1);

/// `failed_at` of a thread that has not failed.
const NEVER: u64 = u64::MAX;

/// The state of one long-lived thread that its monitor checks.
pub struct Worker {
    name: String,
    task: String,
    restart_helps: bool,
    /// The number of rounds. Written by the thread alone.
    rounds: AtomicU64,
    /// Counts the rounds instead of `rounds`.
    counter: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    /// The round count at the last panic or failure: the thread has a problem until its next round.
    failed_at: AtomicU64,
    /// True if that was a panic.
    has_panicked: AtomicBool,
    has_ended: AtomicBool,
    /// The round count at the monitor's last check, and for how many milliseconds it has not changed.
    seen_rounds: AtomicU64,
    idle_ms: AtomicU64,
    /// The panics of all threads.
    panics: Arc<AtomicU64>,
}

impl Worker {
    pub(super) fn new(name: &str, task: &str, restart_helps: bool, panics: Arc<AtomicU64>) -> Self {
        Self {
            name: name.to_owned(),
            task: task.to_owned(),
            restart_helps,
            rounds: AtomicU64::new(0),
            counter: None,
            failed_at: AtomicU64::new(NEVER),
            has_panicked: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            seen_rounds: AtomicU64::new(0),
            idle_ms: AtomicU64::new(0),
            panics,
        }
    }

    pub(super) fn with_counter(self, rounds: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { counter: Some(Box::new(rounds)), ..self }
    }

    /// The thread's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a round. Must be called by the thread itself, at least every 2 s.
    pub fn round(&self) {
        // One writer: a store is enough, and cheaper than an exclusive addition.
        self.rounds.store(self.rounds.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Marks the thread as ended: it is not checked any more.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
    }

    /// True if and only if [`end`](Self::end) was called.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    /// Runs `work` until it returns, and restarts it after each panic: at once after the first within a minute, then after a
    /// pause of 1 s, doubling to 1 min, so that a thread that always panics uses no CPU. `pause` waits for that time at most,
    /// and returns true if and only if the thread should end.
    pub fn run(&self, pause: impl FnMut(Duration) -> bool, mut work: impl FnMut()) {
        self.run_fallible(pause, || {
            work();
            Ok::<_, Infallible>(())
        });
    }

    /// As [`run`](Self::run), for work that may return an error, which is logged and restarted like a panic.
    pub fn run_fallible<E: fmt::Display>(
        &self,
        mut pause: impl FnMut(Duration) -> bool,
        mut work: impl FnMut() -> Result<(), E>,
    ) {
        let mut next_pause = Duration::ZERO;
        loop {
            let started = Instant::now();
            // Unwind safety: the work itself handles state left by a panic; poisoned locks are taken.
            let failure = match catch_unwind(AssertUnwindSafe(&mut work)) {
                Ok(Ok(())) => return self.end(),
                Ok(Err(error)) => Some(error),
                Err(_) => {
                    self.panics.fetch_add(1, Ordering::Relaxed);
                    None
                }
            };
            self.has_panicked.store(failure.is_none(), Ordering::SeqCst);
            self.failed_at.store(self.rounds(), Ordering::SeqCst);
            if started.elapsed() >= RESET_AFTER {
                next_pause = Duration::ZERO;
            }
            let why = failure.map_or_else(|| "after a panic".to_owned(), |error| format!("after a failure: {error}"));
            log::error!("thread {}: restarted in {} s {why}", self.name, next_pause.as_secs());
            if pause(next_pause) {
                return self.end();
            }
            next_pause = (next_pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
        }
    }

    /// Performs the monitor's check, `elapsed` after the previous one.
    pub(super) fn check_after(&self, elapsed: Duration) {
        let rounds = self.rounds();
        let was_stuck = self.is_stuck();
        if self.seen_rounds.swap(rounds, Ordering::Relaxed) == rounds {
            let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            self.idle_ms.fetch_add(elapsed, Ordering::Relaxed);
        } else {
            self.idle_ms.store(0, Ordering::Relaxed);
        }
        match (was_stuck, self.is_stuck()) {
            (false, true) => log::error!("thread {}: {}", self.name, self.description()),
            (true, false) => log::info!("thread {}: resumed", self.name),
            _ => {}
        }
    }

    /// The thread's current problem; `None` if there is none.
    pub fn problem(&self) -> Option<Problem> {
        let has_problem = !self.has_ended() && (self.is_stuck() || self.has_failed());
        let restart_helps = self.restart_helps && self.is_stuck();
        has_problem.then(|| Problem { text: format!("thread {}: {}", self.name, self.description()), restart_helps })
    }

    fn description(&self) -> String {
        if self.has_failed() {
            let failed = if self.has_panicked.load(Ordering::SeqCst) { "panicked" } else { "failed" };
            return format!("{failed} while {}, and is being restarted", self.task);
        }
        let seconds = self.idle_ms.load(Ordering::Relaxed) / 1000;
        let hint = if self.restart_helps { "" } else { "; does its file system hang?" };
        format!("stuck for {seconds} s while {}{hint}", self.task)
    }

    fn is_stuck(&self) -> bool {
        u128::from(self.idle_ms.load(Ordering::Relaxed)) >= STUCK_AFTER.as_millis()
    }

    fn has_failed(&self) -> bool {
        self.failed_at.load(Ordering::SeqCst) == self.rounds()
    }

    /// The number of rounds.
    pub(crate) fn rounds(&self) -> u64 {
        self.counter.as_ref().map_or_else(|| self.rounds.load(Ordering::Relaxed), |counter| counter())
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).field("rounds", &self.rounds()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::threads::{STUCK_AFTER, Threads};

    #[test]
    fn a_panicking_thread_is_restarted_and_a_problem_until_a_round() {
        let threads = Threads::default();
        let worker = threads.register("publisher-0", "sending the map");
        let (mut pauses, mut runs) = (Vec::new(), 0);
        let pause = |pause: std::time::Duration| {
            pauses.push(pause.as_secs());
            let [problem] = &threads.problems()[..] else { panic!("one problem during the pause") };
            assert_eq!(problem.text, "thread publisher-0: panicked while sending the map, and is being restarted");
            assert!(!problem.restart_helps);
            false
        };
        worker.run(pause, || {
            runs += 1;
            assert!(runs > 9, "injected panic");
            worker.round();
            assert_eq!(threads.problems(), []);
        });
        assert_eq!((pauses, runs, threads.panics()), (vec![0, 1, 2, 4, 8, 16, 32, 60, 60], 10, 9));
        assert!(worker.has_ended());
    }

    #[test]
    fn a_thread_that_fails_is_restarted_like_one_that_panics() {
        let threads = Threads::default();
        let worker = threads.register("watcher", "watching what clients send");
        let (mut pauses, mut runs) = (Vec::new(), 0);
        let pause = |pause: std::time::Duration| {
            pauses.push(pause.as_secs());
            assert_eq!(threads.problems().len(), 1);
            false
        };
        worker.run_fallible(pause, || {
            runs += 1;
            if runs < 4 { Err("no epoll") } else { Ok(()) }
        });
        assert_eq!((pauses, runs, threads.panics()), (vec![0, 1, 2], 4, 0));
        assert!(worker.has_ended() && threads.problems().is_empty());
    }

    #[test]
    fn a_stop_ends_the_pause_of_a_thread_that_always_panics() {
        let threads = Threads::default();
        let worker = threads.register("watcher", "watching");
        worker.run(|pause| !pause.is_zero(), || panic!("injected panic"));
        assert_eq!((threads.panics(), worker.has_ended(), threads.problems().len()), (2, true, 0));
    }

    #[test]
    fn a_thread_that_keeps_panicking_is_stuck() {
        let threads = Threads::default();
        let worker = threads.register("watcher", "watching");
        let pause = |_| {
            threads.check_after(STUCK_AFTER);
            assert!(threads.fatal_problem().is_some());
            true
        };
        worker.run(pause, || panic!("injected panic"));
    }
}
