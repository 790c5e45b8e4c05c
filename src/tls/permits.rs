//! How many handshakes compute at once.

use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Permits to compute a step of a handshake: one for every two cores, at least one.
///
/// What costs in a handshake is the processor, a signature above all; what takes time is the peer. So a permit is held
/// while a step computes, a millisecond, and never while a peer is waited for: any number of silent ones hold none, and
/// a storm of ten thousand that talk leaves the other half of the cores to the clients in place.
#[derive(Debug)]
pub(super) struct Permits {
    /// Guards the number that is left. Held to take one or give it back.
    left: Mutex<usize>,
    given_back: Condvar,
}

/// One of them. Given back when dropped.
#[derive(Debug)]
pub(super) struct Permit<'permits>(&'permits Permits);

impl Permits {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self::of((cores / 2).max(1))
    }

    fn of(number: usize) -> Self {
        Self { left: Mutex::new(number), given_back: Condvar::new() }
    }

    /// Waits for a permit, until `deadline` at the latest; `None` never comes. Returns `None` if and only if it came.
    pub(super) fn take(&self, deadline: Option<Instant>) -> Option<Permit<'_>> {
        let mut left = self.lock();
        while *left == 0 {
            left = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.given_back.wait(left).unwrap_or_else(PoisonError::into_inner),
                Some(time) if time.is_zero() => return None,
                Some(time) => self.given_back.wait_timeout(left, time).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        *left -= 1;
        Some(Permit(self))
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.lock() += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_wait_for_a_permit_ends_at_the_deadline() {
        let permits = Permits::of(1);
        let permit = permits.take(None).unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert!(permits.take(Some(deadline)).is_none() && Instant::now() >= deadline);
        drop(permit);
        assert!(permits.take(Some(deadline)).is_some(), "one that is free is taken without a look at the clock");
    }

    #[test]
    fn a_permit_that_is_given_back_wakes_who_waits_for_it() {
        let permits = Permits::of(1);
        let permit = permits.take(None).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| permits.take(None).is_some());
            drop(permit);
            assert!(waiting.join().unwrap());
        });
        assert!(permits.take(Some(Instant::now())).is_some());
    }
}
