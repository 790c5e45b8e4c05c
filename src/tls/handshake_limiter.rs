//! How many handshakes compute at once.

use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::shutdown::Shutdown;

/// HandshakeLimiter to compute a step of a handshake: one for every two cores, at least one.
///
/// What costs in a handshake is the processor, a signature above all; what takes time is the peer. So a permit is held
/// while a step computes, a millisecond, and never while a peer is waited for: any number of silent ones hold none, and
/// a storm of ten thousand that talk leaves the other half of the cores to the clients in place.
#[derive(Debug)]
pub(super) struct HandshakeLimiter {
    /// Guards the number that is left. Held to take one or give it back.
    left: Mutex<usize>,
    given_back: Condvar,
}

/// Where a handshake waits for a permit, and until when.
#[derive(Debug)]
pub(super) struct Queue<'permits> {
    pub(super) permits: &'permits HandshakeLimiter,
    /// `None` never comes.
    pub(super) deadline: Option<Instant>,
    pub(super) stop: &'permits Shutdown,
}

/// One of them. Given back when dropped.
#[derive(Debug)]
pub(super) struct Permit<'permits>(&'permits HandshakeLimiter);

impl HandshakeLimiter {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self::of((cores / 2).max(1))
    }

    fn of(number: usize) -> Self {
        Self { left: Mutex::new(number), given_back: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'permits> Queue<'permits> {
    /// Waits for a permit. Returns `None` if and only if the deadline came first, or the stop: those who wait then leave one
    /// after the other, none of them for longer than those before them compute.
    pub(super) fn take(&self) -> Option<Permit<'permits>> {
        let Self { permits, deadline, stop } = self;
        let mut left = permits.lock();
        while *left == 0 {
            left = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => permits.given_back.wait(left).unwrap_or_else(PoisonError::into_inner),
                Some(time) if time.is_zero() => return None,
                Some(time) => permits.given_back.wait_timeout(left, time).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        if stop.is_triggered() {
            permits.given_back.notify_one();
            return None;
        }
        *left -= 1;
        Some(Permit(permits))
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
    fn half_of_the_cores_or_one_compute_handshakes() {
        let cores = thread::available_parallelism().unwrap().get();
        let permits = *HandshakeLimiter::new().lock();
        assert!(permits == 1 || 2 * permits <= cores, "{permits} of {cores}");
    }

    #[test]
    fn the_wait_for_a_permit_ends_at_the_deadline() {
        let (permits, stop) = (HandshakeLimiter::of(1), Shutdown::new().unwrap());
        let deadline = Instant::now() + Duration::from_millis(20);
        let queue = Queue { permits: &permits, deadline: Some(deadline), stop: &stop };
        let permit = queue.take().unwrap();
        assert!(queue.take().is_none() && Instant::now() >= deadline);
        drop(permit);
        assert!(queue.take().is_some(), "one that is free is taken without a look at the clock");
    }

    #[test]
    fn a_permit_that_is_given_back_wakes_who_waits_for_it() {
        let (permits, stop) = (HandshakeLimiter::of(1), Shutdown::new().unwrap());
        let queue = Queue { permits: &permits, deadline: None, stop: &stop };
        let permit = queue.take().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.take().is_some());
            drop(permit);
            assert!(waiting.join().unwrap());
        });
        assert!(queue.take().is_some());
    }

    #[test]
    fn everyone_who_waits_leaves_without_a_permit_when_the_stop_comes() {
        let (permits, stop) = (HandshakeLimiter::of(1), Shutdown::new().unwrap());
        let queue = Queue { permits: &permits, deadline: None, stop: &stop };
        let permit = queue.take().unwrap();
        thread::scope(|scope| {
            let waiting = [(); 20].map(|()| scope.spawn(|| queue.take().is_none()));
            stop.trigger();
            drop(permit);
            assert!(waiting.into_iter().all(|one| one.join().unwrap()));
        });
    }
}
