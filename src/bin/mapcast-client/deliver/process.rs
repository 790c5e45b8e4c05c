//! The termination of the processes that this client has started.

use std::time::{Duration, Instant};

use log::warn;

use crate::platform::{Process, Signal};

/// How often a terminating group is polled. The client learns of the exit of most members at once.
const POLL_PERIOD: Duration = Duration::from_millis(100);

/// How long after SIGKILL the members of a group may still exist: the kernel ends them at once, unless a device blocks
/// one.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// The termination of a process group: requested, given time, then enforced.
#[derive(Debug)]
pub(super) struct Termination {
    /// The name in the log.
    name: &'static str,
    /// When it is killed; `None` is never.
    kill_at: Option<Instant>,
    killed_at: Option<Instant>,
}

impl Termination {
    /// Returns the termination of a process that has just been asked to exit; it is killed after `grace`.
    pub(super) fn new(name: &'static str, grace: Duration) -> Self {
        Self { name, kill_at: Instant::now().checked_add(grace), killed_at: None }
    }

    /// When to call [`poll`](Self::poll) next, unless the process changes earlier.
    pub(super) fn next_check(&self) -> Instant {
        let look = Instant::now() + POLL_PERIOD;
        self.kill_at.filter(|_| self.killed_at.is_none()).map_or(look, |kill_at| kill_at.min(look))
    }

    /// Kills the rest of the group after the grace period. Returns true if and only if the whole group has exited, or
    /// the process has and the rest cannot be killed.
    pub(super) fn poll(&mut self, process: &Process) -> bool {
        if process.has_group_ended() {
            return true;
        }
        if let Some(killed_at) = self.killed_at {
            return process.status().is_some() && killed_at.elapsed() >= KILL_GRACE;
        }
        if self.kill_at.is_some_and(|kill_at| kill_at <= Instant::now()) {
            if process.status().is_some() {
                warn!("child processes of {} do not exit; killed", self.name);
            } else {
                warn!("{} does not exit; killed", self.name);
            }
            process.signal(Signal::KILL);
            self.killed_at = Some(Instant::now());
        }
        false
    }
}
