//! Thread slots: bound the number of connection threads; the reaper frees a slot after it has joined the thread.

use std::time::Duration;

use crate::sync::{Condvar, Instant, JoinHandle, Mutex};

/// The slots of one server's connection threads.
///
/// A slot is taken before a thread is started and freed after the reaper has joined it. So no more threads exist than
/// slots, however fast clients connect and disconnect: a thread whose connection has ended still has its stacks and memory
/// maps until the system has ended it, which takes long on a busy machine.
#[derive(Debug)]
pub(super) struct ThreadSlots {
    /// By class.
    capacity: [u64; 2],
    /// Guards the counts and the list only. Held for one change; never while joining.
    state: Mutex<State>,
    /// Signals a change of the state to the reaper and to the stop.
    changed: Condvar,
}

/// The purpose of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A connection within the limits.
    Ordinary,
    /// A connection above a limit. A separate class, so that ending threads do not use the slots of health checks.
    Reserved,
}

#[derive(Debug, Default)]
struct State {
    /// Threads that exist or are being started, by class.
    in_use: [u64; 2],
    /// Threads whose work is done, to be joined.
    ended: Vec<(JoinHandle<()>, Class)>,
    /// True if and only if no further thread will be started.
    is_closed: bool,
}

impl ThreadSlots {
    /// Returns this many free slots of each class.
    pub(super) fn new(ordinary: u64, reserved: u64) -> Self {
        Self { capacity: [ordinary, reserved], state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes a slot. Returns true if and only if one was free.
    pub(super) fn take(&self, class: Class) -> bool {
        let mut state = self.state.lock();
        let in_use = &mut state.in_use[class as usize];
        let is_free = *in_use < self.capacity[class as usize];
        *in_use += u64::from(is_free);
        is_free
    }

    /// Frees a slot whose thread was not started.
    pub(super) fn give_back(&self, class: Class) {
        self.state.lock().in_use[class as usize] -= 1;
    }

    /// Queues a thread whose work is done for the reaper, which joins it and frees its slot.
    pub(super) fn retire(&self, thread: JoinHandle<()>, class: Class) {
        let mut state = self.state.lock();
        state.ended.push((thread, class));
        // The reaper takes all at once: it waits only for the first.
        if state.ended.len() == 1 {
            self.changed.notify_all();
        }
    }

    /// Joins retired threads and frees their slots until [`close`](Self::close); calls `on_free` after each. Runs on the reaper
    /// thread. A join takes as long as the system needs to end the thread, and never waits for a client. Calls `on_round` at
    /// least every `round`, so that a stuck reaper is detected.
    pub(super) fn reap(
        &self,
        round: Duration,
        on_round: impl Fn(),
        mut join: impl FnMut(JoinHandle<()>),
        on_free: impl Fn(),
    ) {
        let mut state = self.state.lock();
        loop {
            on_round();
            let ended = std::mem::take(&mut state.ended);
            if ended.is_empty() {
                if state.is_closed {
                    return;
                }
                state = self.changed.wait_timeout(state, round);
                continue;
            }
            drop(state);
            for (thread, class) in ended {
                // All threads of a full server may end at once, which takes long on a busy machine.
                on_round();
                join(thread);
                self.give_back(class);
                on_free();
            }
            state = self.state.lock();
            if state.in_use == [0; 2] {
                self.changed.notify_all();
            }
        }
    }

    /// Waits until every thread has been joined or `deadline` has passed; `None` is no deadline. Returns how many are left.
    pub(super) fn wait_all_free(&self, deadline: Option<Instant>) -> u64 {
        let state = self.changed.wait_while(self.state.lock(), deadline, |state| state.in_use != [0; 2]);
        state.in_use.iter().sum()
    }

    /// Ends [`reap`](Self::reap) after it has joined the threads retired so far.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }
}
