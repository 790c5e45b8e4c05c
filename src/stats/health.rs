//! The health of a source, for a status page, metrics and a service manager.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::sync::Mutex;
use crate::threads::Worker;

/// The kinds of failures of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The source cannot be reached or read: no answer, no file, no permission of the system.
    Unreachable,
    /// The source refuses access: password, permissions, a loop.
    Denied,
    /// The source's data is not a map.
    Invalid,
    /// The source's map exceeds the frame limit.
    TooLarge,
}

/// The health of a source. The source writes it; status page, metrics and service manager read it through [`Sink::health`].
///
/// [`Sink::health`]: crate::source::Sink::health
#[derive(Debug, Default)]
pub struct Health {
    /// Guards the state only; held for one store or copy.
    state: Mutex<State>,
    /// The source's thread, which cannot report itself when it is stuck.
    worker: OnceLock<Arc<Worker>>,
}

/// The state of a source at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// True if and only if the last event of the source was an accepted map. False before the first map.
    pub up: bool,
    /// When a map was last received: from Redis at each read, from another mapcast server at each frame, from a file or
    /// standard input at each change. A frame of a relay counts even while the relay's own source is down.
    pub last_success: Option<SystemTime>,
    /// The current problem as the log has it: one line, escaped, without passwords. `None` if and only if there is none.
    pub problem: Option<String>,
    /// When the source's problems started: the first one since the last map. `None` if and only if `problem` is.
    pub down_since: Option<SystemTime>,
    /// The number of failures by kind, in the order of [`Failure::ALL`].
    failures: [u64; Failure::ALL.len()],
}

impl Failure {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Unreachable, Self::Denied, Self::Invalid, Self::TooLarge];

    /// The kind's label in metrics.
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
    /// The number of failures of this kind, including those that were not logged.
    pub fn failures(&self, kind: Failure) -> u64 {
        self.failures[kind as usize]
    }
}

impl Health {
    /// The current state. A source whose thread is stuck or being restarted after a panic is not up.
    pub fn state(&self) -> State {
        let mut state = self.state.lock().clone();
        if let Some(problem) = self.worker.get().and_then(|worker| worker.problem()) {
            (state.up, state.problem) = (false, Some(problem.text));
        }
        state
    }

    /// Registers the source's thread. Only the first call has an effect.
    pub fn watch(&self, worker: &Arc<Worker>) {
        // A source has one thread.
        let _ = self.worker.set(Arc::clone(worker));
    }

    /// Records an accepted map.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state.lock();
        (state.up, state.problem, state.down_since) = (true, None, None);
        state.last_success = Some(SystemTime::now());
    }

    /// Records a failure. `problem` replaces another one only if it is logged.
    pub(crate) fn failed(&self, kind: Failure, problem: String, is_logged: bool) {
        let mut state = self.state.lock();
        state.failures[kind as usize] += 1;
        state.up = false;
        if is_logged || state.problem.is_none() {
            state.problem = Some(problem);
        }
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
        health.failed(Failure::Denied, "no".to_owned(), true);
        let state = health.state();
        assert!(!state.up && state.last_success.is_some() && state.problem.as_deref() == Some("no"));
        assert!(state.down_since.is_some());
        health.failed(Failure::Invalid, "still no".to_owned(), false);
        assert_eq!(health.state().problem, state.problem, "the one in the log");
        health.failed(Failure::Invalid, "no map".to_owned(), true);
        assert_eq!(health.state().problem.as_deref(), Some("no map"));
        assert_eq!(health.state().down_since, state.down_since, "since the first failure");
        health.succeeded();
        assert!(health.state().up && health.state().problem.is_none() && health.state().down_since.is_none());
    }

    #[test]
    fn a_source_is_down_while_its_thread_is_stuck() {
        let (health, threads) = (Health::default(), crate::threads::Threads::default());
        let worker = threads.register_io("source", "reading flags.json");
        health.watch(&worker);
        health.succeeded();
        threads.check_after(crate::threads::STUCK_AFTER * 2);
        let state = health.state();
        assert!(!state.up && state.problem.as_ref() == Some(&threads.problems()[0].text), "{state:?}");
        worker.round();
        threads.check_after(crate::threads::STUCK_AFTER);
        assert!(health.state().up && health.state().problem.is_none());
    }

    #[test]
    fn failures_are_counted_by_kind() {
        let health = Health::default();
        for kind in [Failure::TooLarge, Failure::Unreachable, Failure::TooLarge] {
            health.failed(kind, String::new(), true);
        }
        let counted = Failure::ALL.map(|kind| health.state().failures(kind));
        assert_eq!(counted, [1, 0, 0, 2]);
    }
}
