//! How a source fares, for whoever shows it: a status page, metrics, a service manager.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use crate::threads::Worker;

/// What kind of failure keeps a source from giving its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// It cannot be reached or read: no answer, no file, no right of the system's.
    Unreachable,
    /// It answers, and refuses: the password, the rights, a loop.
    Denied,
    /// What it gives is no map.
    Invalid,
    /// What it gives is larger than may be sent.
    TooLarge,
}

/// How a source fares. Written by the source, read by whoever shows it; both share it by [`Sink::health`].
///
/// [`Sink::health`]: crate::source::Sink::health
#[derive(Debug, Default)]
pub struct Health {
    /// Guards the state alone; held for a store or a copy.
    state: Mutex<State>,
    /// The source's thread: one that is stuck cannot say so itself.
    worker: OnceLock<Arc<Worker>>,
}

/// The state of a source at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// True if and only if the last that is known of the source is a map that was taken. False before the first map.
    pub up: bool,
    /// When a map was last taken from it: of Redis at each reading, of another mapcast server at each frame, of a file and of
    /// standard input at each change. A relay that goes on repeating while its own source is down counts as heard.
    pub last_success: Option<SystemTime>,
    /// What is wrong, in words: one line, escaped, without passwords. `None` if and only if nothing is known to be.
    pub problem: Option<String>,
    /// When that problem, or one before it without a map in between, was first known. `None` if and only if `problem` is.
    pub down_since: Option<SystemTime>,
    /// How many failures there have been, in the order of [`Failure::ALL`].
    failures: [u64; Failure::ALL.len()],
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unreachable, Self::Denied, Self::Invalid, Self::TooLarge];

    /// A name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
        }
    }
}

impl State {
    /// How many failures of that kind there have been, those that the log has not told counted.
    pub fn failures(&self, kind: Failure) -> u64 {
        self.failures[kind as usize]
    }
}

impl Health {
    /// The state now. A source whose thread is stuck, or has panicked and is not back, is not up.
    pub fn state(&self) -> State {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(problem) = self.worker.get().and_then(|worker| worker.problem()) {
            (state.up, state.problem) = (false, Some(problem.text));
        }
        state
    }

    /// The source works in the thread of `worker`. Only the first one counts.
    pub fn watch(&self, worker: &Arc<Worker>) {
        // There is one thread for a source.
        let _ = self.worker.set(Arc::clone(worker));
    }

    /// Takes note of a map that was taken.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.up, state.problem, state.down_since) = (true, None, None);
        state.last_success = Some(SystemTime::now());
    }

    /// Takes note of a failure.
    pub(crate) fn failed(&self, kind: Failure, problem: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures[kind as usize] += 1;
        (state.up, state.problem) = (false, Some(problem));
        state.down_since.get_or_insert_with(SystemTime::now);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_up_from_its_first_map_until_the_next_failure() {
        let health = Health::default();
        assert_eq!(health.state(), State::default());
        health.succeeded();
        assert!(health.state().up && health.state().last_success.is_some());
        health.failed(Failure::Denied, "no".to_owned());
        let state = health.state();
        assert!(!state.up && state.last_success.is_some() && state.problem.as_deref() == Some("no"));
        assert!(state.down_since.is_some());
        health.failed(Failure::Invalid, "still no".to_owned());
        assert_eq!(health.state().down_since, state.down_since, "since the first of them");
        health.succeeded();
        assert!(health.state().up && health.state().problem.is_none() && health.state().down_since.is_none());
    }

    #[test]
    fn a_source_whose_thread_is_stuck_is_down_while_it_is() {
        let (health, threads) = (Health::default(), crate::threads::Threads::default());
        let worker = threads.register_io("source", "reading flags.json");
        health.watch(&worker);
        health.succeeded();
        threads.check_after(crate::threads::STUCK_AFTER * 2);
        let state = health.state();
        assert!(!state.up && state.problem.unwrap().contains("stuck for 20 s while reading flags.json"));
        worker.round();
        threads.check_after(crate::threads::STUCK_AFTER);
        assert!(health.state().up && health.state().problem.is_none());
    }

    #[test]
    fn failures_are_counted_by_kind() {
        let health = Health::default();
        for kind in [Failure::TooLarge, Failure::Unreachable, Failure::TooLarge] {
            health.failed(kind, String::new());
        }
        let counted = Failure::ALL.map(|kind| health.state().failures(kind));
        assert_eq!(counted, [1, 0, 0, 2]);
    }
}
