//! The subscribers of a feed, and the threads that wait for its next change.

use std::collections::HashMap;
use std::task::Waker;

use crate::sync::{Condvar, Instant, Mutex};

/// The wakers of a feed's subscribers, and its waiting threads.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    /// Held while the list is changed or copied, never while waking.
    list: Mutex<WakerList>,
    /// Wakes the threads in [`wait_while`](Self::wait_while); used with the lock of `list`.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WakerList {
    next_id: u64,
    wakers: HashMap<u64, Waker>,
}

/// A registered waker. Dropping it unsubscribes the waker.
#[derive(Debug)]
pub struct Subscription<'feed> {
    subscribers: &'feed Subscribers,
    id: u64,
}

impl Subscribers {
    /// Calls `waker` at each [`wake`](Self::wake) until the returned subscription is dropped.
    pub(super) fn subscribe(&self, waker: Waker) -> Subscription<'_> {
        let mut list = self.list.lock();
        let id = list.next_id;
        list.next_id += 1;
        list.wakers.insert(id, waker);
        Subscription { subscribers: self, id }
    }

    /// Waits until `condition` is false or `deadline` is over. Evaluates `condition` first, and again at each
    /// [`wake`](Self::wake).
    pub(super) fn wait_while(&self, deadline: Option<Instant>, condition: impl Fn() -> bool) {
        drop(self.changed.wait_while(self.list.lock(), deadline, |_| condition()));
    }

    /// Wakes all subscribers and waiting threads.
    pub(super) fn wake(&self) {
        let list = self.list.lock();
        self.changed.notify_all();
        // A copy, so that subscribing does not wait until thousands of threads are woken.
        let wakers: Vec<Waker> = list.wakers.values().cloned().collect();
        drop(list);
        wakers.iter().for_each(Waker::wake_by_ref);
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        self.subscribers.list.lock().wakers.remove(&self.id);
    }
}
