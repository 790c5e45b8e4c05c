//! Wakes a parked thread and passes it the reasons.

use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};

use super::{ROUND, Worker};
use crate::sync::thread::{self, Thread};
use crate::sync::{AtomicU8, Instant, Ordering};

/// Why a thread was woken. Each reason is one bit, so that any number of notifications costs one wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WakeReason {
    /// The client has sent data or disconnected.
    Input = 1,
    /// There is new data to send.
    Update = 2,
    /// The server is stopping.
    Stop = 4,
    /// The connection was cut at the end of the drain. Stays pending.
    Cut = 8,
}

/// A set of pending reasons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WakeReasons(u8);

impl WakeReasons {
    /// True if and only if `reason` is pending.
    pub fn contains(self, reason: WakeReason) -> bool {
        self.0 & reason as u8 != 0
    }

    /// True if and only if no reason is pending: the wait timed out.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Wakes one thread, its owner; any thread may notify it. Costs no descriptor, and no CPU while the owner is idle.
///
/// Parking alone carries no reason. The bits hold the reasons, also of notifications that arrive while the owner is busy,
/// even if a library in between consumes the thread's parking token.
#[derive(Debug)]
pub(crate) struct Notifier {
    pending: AtomicU8,
    /// Empty until the owner runs: what is pending then is the reason of its first wait.
    owner: OnceLock<Thread>,
}

impl Notifier {
    /// Returns a notifier owned by the calling thread.
    pub(crate) fn for_current_thread() -> Self {
        let notifier = Self::without_owner();
        notifier.adopt();
        notifier
    }

    /// Returns a notifier for a thread that does not run yet, which must [`adopt`](Self::adopt) it before it waits.
    pub(crate) fn without_owner() -> Self {
        Self { pending: AtomicU8::new(0), owner: OnceLock::new() }
    }

    /// Makes the calling thread the owner, unless there is one.
    pub(crate) fn adopt(&self) {
        self.owner.get_or_init(thread::current);
        // Of a notification at the same time, either the reason is pending from here on, or its thread reads this change and
        // sees the owner.
        self.pending.fetch_or(0, Ordering::SeqCst);
    }

    /// Adds `reason` to the pending reasons. Wakes the owner, or makes its next wait return at once.
    pub(crate) fn notify(&self, reason: WakeReason) {
        let before = self.pending.fetch_or(reason as u8, Ordering::SeqCst);
        if before & reason as u8 == 0
            && let Some(owner) = self.owner.get()
        {
            owner.unpark();
        }
    }

    /// Waits for a notification or until `until`; `None` is no time limit. Returns the pending reasons and clears them.
    pub(crate) fn wait(&self, until: Option<Instant>) -> WakeReasons {
        loop {
            let reasons = self.take();
            if !reasons.is_empty() {
                return reasons;
            }
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => return reasons,
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// As [`wait`](Self::wait), for the thread of `worker`: counts a round and waits for [`ROUND`] at most. Returns no reason
    /// after such a time-out.
    pub(crate) fn wait_round(&self, worker: &Worker, until: Option<Instant>) -> WakeReasons {
        worker.round();
        let round = Instant::now() + ROUND;
        self.wait(Some(until.map_or(round, |until| until.min(round))))
    }

    /// True if and only if the connection has been cut.
    pub(crate) fn is_cut(&self) -> bool {
        WakeReasons(self.pending.load(Ordering::SeqCst)).contains(WakeReason::Cut)
    }

    fn take(&self) -> WakeReasons {
        // The cheap read first: most waits start with no reason pending, and a read needs no exclusive cache line.
        match self.pending.load(Ordering::SeqCst) {
            0 => WakeReasons(0),
            _ => WakeReasons(self.pending.fetch_and(WakeReason::Cut as u8, Ordering::SeqCst)),
        }
    }
}

impl AsRef<Self> for Notifier {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Returns a waker that notifies `target` with `reason`. It does not keep `target` alive.
pub(crate) fn waker<T: AsRef<Notifier> + Send + Sync + 'static>(target: &Arc<T>, reason: WakeReason) -> Waker {
    Arc::new(WeakNotifier { target: Arc::downgrade(target), reason }).into()
}

/// Notifies its target as long as that is alive.
struct WeakNotifier<T> {
    target: Weak<T>,
    reason: WakeReason,
}

impl<T: AsRef<Notifier> + Send + Sync> Wake for WeakNotifier<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(target) = self.target.upgrade() {
            (*target).as_ref().notify(self.reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_notification_before_the_wait_is_not_lost() {
        let notifier = Arc::new(Notifier::for_current_thread());
        notifier.notify(WakeReason::Update);
        waker(&notifier, WakeReason::Input).wake();
        let reasons = notifier.wait(None);
        assert!(
            reasons.contains(WakeReason::Update)
                && reasons.contains(WakeReason::Input)
                && !reasons.contains(WakeReason::Stop)
        );
        assert!(notifier.wait(Some(Instant::now())).is_empty());
    }

    #[test]
    fn a_notification_before_the_owner_runs_is_not_lost() {
        let notifier = Notifier::without_owner();
        notifier.notify(WakeReason::Stop);
        let is_stopped = || {
            notifier.adopt();
            notifier.wait(None).contains(WakeReason::Stop)
        };
        assert!(thread::scope(|scope| scope.spawn(is_stopped).join().unwrap()));
    }

    #[test]
    fn a_notification_ends_the_owners_wait_without_a_time_limit() {
        let (notifiers, taken) = mpsc::channel();
        let owner = thread::Builder::new()
            .spawn(move || {
                let notifier = Arc::new(Notifier::for_current_thread());
                notifiers.send(Arc::clone(&notifier)).unwrap();
                notifier.wait(None).contains(WakeReason::Stop)
            })
            .unwrap();
        taken.recv().unwrap().notify(WakeReason::Stop);
        assert!(owner.join().unwrap());
    }

    #[test]
    fn a_wait_without_a_notification_lasts_until_its_time_limit() {
        let until = Instant::now() + Duration::from_millis(20);
        // A foreign parking token does not end the wait early.
        thread::current().unpark();
        assert!(Notifier::for_current_thread().wait(Some(until)).is_empty());
        assert!(Instant::now() >= until);
    }

    #[test]
    fn a_cut_stays_pending() {
        let notifier = Notifier::for_current_thread();
        notifier.notify(WakeReason::Cut);
        assert!(notifier.wait(None).contains(WakeReason::Cut));
        assert!(notifier.is_cut() && notifier.wait(None).contains(WakeReason::Cut));
    }
}
