//! The bell that wakes a connection's thread, and says why.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::threads::{ROUND, Worker};

/// Why a thread was woken. Each is one bit, so that any number of rings cost one wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// The client has sent something, or has left.
    Input = 1,
    /// There is something new to send.
    News = 2,
    /// The server stops.
    Stop = 4,
    /// The drain is over: the connection has been cut. Stays rung.
    Cut = 8,
}

/// The causes that have rung.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Causes(u8);

impl Causes {
    /// True if and only if `cause` has rung.
    pub fn contains(self, cause: Cause) -> bool {
        self.0 & cause as u8 != 0
    }

    /// True if and only if nothing has rung: the time was over.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One thread's bell: anyone rings, the owner waits. Costs no descriptor, and an idle owner no CPU.
///
/// Parking alone would do for one cause; the bits say which, and hold a ring that comes while the owner is busy, even
/// if a library between takes the thread's parking token for its own.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicU8,
    owner: Thread,
}

impl Bell {
    /// Returns a bell that the calling thread will wait for.
    pub(crate) fn for_this_thread() -> Self {
        Self { rung: AtomicU8::new(0), owner: thread::current() }
    }

    /// Rings for `cause`; wakes the owner, or keeps it from falling asleep.
    pub(crate) fn ring(&self, cause: Cause) {
        let before = self.rung.fetch_or(cause as u8, Ordering::SeqCst);
        if before & cause as u8 == 0 {
            self.owner.unpark();
        }
    }

    /// Waits until the bell has rung or `until` has passed; `None` never passes. Returns what has rung and clears it.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Causes {
        loop {
            let causes = self.take();
            if !causes.is_empty() {
                return causes;
            }
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => return causes,
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// As [`wait`](Self::wait), for the thread of `worker`: counts a round, and waits no longer than one. Nothing has rung if
    /// that was it.
    pub(crate) fn wait_round(&self, worker: &Worker, until: Option<Instant>) -> Causes {
        worker.round();
        let round = Instant::now() + ROUND;
        self.wait(Some(until.map_or(round, |until| until.min(round))))
    }

    /// True if and only if the connection has been cut.
    pub(crate) fn is_cut(&self) -> bool {
        Causes(self.rung.load(Ordering::SeqCst)).contains(Cause::Cut)
    }

    fn take(&self) -> Causes {
        // The cheap look first: most waits begin with nothing rung, and a read needs no exclusive cache line.
        match self.rung.load(Ordering::SeqCst) {
            0 => Causes(0),
            _ => Causes(self.rung.fetch_and(Cause::Cut as u8, Ordering::SeqCst)),
        }
    }
}

/// Whatever has a bell.
pub(crate) trait Belled: Send + Sync + 'static {
    /// The bell.
    fn bell(&self) -> &Bell;

    /// Returns a waker that rings for `cause`, for those who know no bells. It keeps nothing alive.
    fn waker(self: &Arc<Self>, cause: Cause) -> Waker
    where
        Self: Sized,
    {
        Arc::new(Ringer { belled: Arc::downgrade(self), cause }).into()
    }
}

impl Belled for Bell {
    fn bell(&self) -> &Bell {
        self
    }
}

/// Rings a bell for one cause.
struct Ringer<B> {
    belled: Weak<B>,
    cause: Cause,
}

impl<B: Belled> Wake for Ringer<B> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(belled) = self.belled.upgrade() {
            belled.bell().ring(self.cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let bell = Arc::new(Bell::for_this_thread());
        bell.ring(Cause::News);
        bell.waker(Cause::Input).wake();
        let causes = bell.wait(None);
        assert!(causes.contains(Cause::News) && causes.contains(Cause::Input) && !causes.contains(Cause::Stop));
        assert!(bell.wait(Some(Instant::now())).is_empty());
    }

    #[test]
    fn a_ring_wakes_its_owner_from_a_wait_without_end() {
        let (bells, taken) = mpsc::channel();
        let owner = thread::Builder::new()
            .spawn(move || {
                let bell = Arc::new(Bell::for_this_thread());
                bells.send(Arc::clone(&bell)).unwrap();
                bell.wait(None).contains(Cause::Stop)
            })
            .unwrap();
        taken.recv().unwrap().ring(Cause::Stop);
        assert!(owner.join().unwrap());
    }

    #[test]
    fn a_wait_that_nobody_ends_takes_its_time() {
        let until = Instant::now() + Duration::from_millis(20);
        // A parking token that somebody else left does not end it early.
        thread::current().unpark();
        assert!(Bell::for_this_thread().wait(Some(until)).is_empty());
        assert!(Instant::now() >= until);
    }

    #[test]
    fn a_cut_stays() {
        let bell = Bell::for_this_thread();
        bell.ring(Cause::Cut);
        assert!(bell.wait(None).contains(Cause::Cut));
        assert!(bell.is_cut() && bell.wait(None).contains(Cause::Cut));
    }
}
