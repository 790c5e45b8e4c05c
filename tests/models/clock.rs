//! The clock of the models. It stands still, except when a wait times out.
//!
//! A wait that is shorter than a thread's round may time out, as many times as [`start`] allows. Each time-out advances the
//! clock by the wait. A longer wait never times out: a round would repair a lost wake-up, which is a deadlock this way, and
//! shuttle reports deadlocks.

use std::cell::Cell;
use std::ops::{Add, Sub};
use std::time::Duration;

use shuttle::thread;

use crate::threads::ROUND;

thread_local! {
    // One value for all threads of a model: shuttle runs them on one thread of the system.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static TIMEOUTS: Cell<u32> = const { Cell::new(0) };
}

/// Sets the clock, and how many waits may time out from now on. Every model with a thread of the library calls this first.
pub(crate) fn start(timeouts: u32) {
    // Not zero: the library subtracts intervals from it.
    NOW.set(Duration::from_hours(24));
    TIMEOUTS.set(timeouts);
}

/// Waits until the thread is unparked, or times out.
pub(crate) fn park_timeout(timeout: Duration) {
    let left = TIMEOUTS.get();
    if timeout >= ROUND || left == 0 {
        return thread::park();
    }
    TIMEOUTS.set(left - 1);
    NOW.set(NOW.get() + timeout);
    thread::yield_now();
}

/// A time of this clock, with those methods of [`std::time::Instant`] that the library calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NOW.get())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    pub(crate) fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(duration).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}
