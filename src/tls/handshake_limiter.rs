//! Limits how many handshakes compute at once.

use std::num::NonZero;
use std::thread;
use std::time::Instant;

use crate::shutdown::Shutdown;
use crate::sync::{Condvar, Mutex};

/// The permits to compute a step of a handshake: one for every two cores, at least one.
///
/// A handshake costs CPU time, above all for a signature, and waits for the peer. A permit is held only while a step computes,
/// about a millisecond, and not while waiting: silent peers hold no permits, and a storm of ten thousand handshakes leaves half
/// of the cores to the connected clients.
#[derive(Debug)]
pub(super) struct HandshakeLimiter {
    /// The number of free permits. Locked to acquire or release one.
    free: Mutex<usize>,
    released: Condvar,
}

/// How a handshake waits for a permit, and until when.
#[derive(Debug)]
pub(super) struct Queue<'permits> {
    pub(super) permits: &'permits HandshakeLimiter,
    /// `None` is no deadline.
    pub(super) deadline: Option<Instant>,
    pub(super) stop: &'permits Shutdown,
}

/// A permit. Dropping it releases it.
#[derive(Debug)]
pub(super) struct Permit<'permits>(&'permits HandshakeLimiter);

impl HandshakeLimiter {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self::of((cores / 2).max(1))
    }

    fn of(number: usize) -> Self {
        Self { free: Mutex::new(number), released: Condvar::new() }
    }
}

impl<'permits> Queue<'permits> {
    /// Waits for a permit. Returns `None` at the deadline or the shutdown: the waiting handshakes then leave one after the other,
    /// as the current permits are released.
    pub(super) fn acquire(&self) -> Option<Permit<'permits>> {
        let Self { permits, deadline, stop } = self;
        let mut free = permits.released.wait_while(permits.free.lock(), *deadline, |free| *free == 0);
        if *free == 0 {
            return None;
        }
        if stop.is_triggered() {
            permits.released.notify_one();
            return None;
        }
        *free -= 1;
        Some(Permit(permits))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn permits_are_half_of_the_cores_and_at_least_one() {
        let cores = thread::available_parallelism().unwrap().get();
        let permits = *HandshakeLimiter::new().free.lock();
        assert!(permits == 1 || 2 * permits <= cores, "{permits} of {cores}");
    }

    #[test]
    fn the_wait_for_a_permit_ends_at_the_deadline() {
        let (permits, stop) = (HandshakeLimiter::of(1), Shutdown::new().unwrap());
        let deadline = Instant::now() + Duration::from_millis(20);
        let queue = Queue { permits: &permits, deadline: Some(deadline), stop: &stop };
        let permit = queue.acquire().unwrap();
        assert!(queue.acquire().is_none() && Instant::now() >= deadline);
        drop(permit);
        assert!(queue.acquire().is_some(), "a free permit is acquired after the deadline too");
    }

    #[test]
    fn a_released_permit_wakes_a_waiting_handshake() {
        let (permits, stop) = (HandshakeLimiter::of(1), Shutdown::new().unwrap());
        let queue = Queue { permits: &permits, deadline: None, stop: &stop };
        let permit = queue.acquire().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.acquire().is_some());
            drop(permit);
            assert!(waiting.join().unwrap());
        });
        assert!(queue.acquire().is_some());
    }

    #[test]
    fn a_shutdown_ends_all_waits_for_a_permit() {
        let (permits, stop) = (HandshakeLimiter::of(1), Shutdown::new().unwrap());
        let queue = Queue { permits: &permits, deadline: None, stop: &stop };
        let permit = queue.acquire().unwrap();
        thread::scope(|scope| {
            let waiting = [(); 20].map(|()| scope.spawn(|| queue.acquire().is_none()));
            stop.trigger();
            drop(permit);
            assert!(waiting.into_iter().all(|one| one.join().unwrap()));
        });
    }
}
