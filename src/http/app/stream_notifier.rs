//! The thread that wakes all event streams after a change, and records the number of clients every second.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::rendering::Renderer;
use super::request_log::RefusalLog;
use crate::feed::Feed;
use crate::service::ServerMonitor;
use crate::sync::Mutex;
use crate::threads::{Notifier, Threads, WakeReason, Worker, WorkerThread, waker};

/// The period of the counts in the history.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// The number of counts in the history: 15 minutes.
const HISTORY: usize = 900;

/// The longest delay of the streams after the map's clients: a hundred threads that wake while a change is sent take a core
/// from the publishers. Sending to 9,000 clients takes as long on two cores.
const HEAD_START: Duration = Duration::from_millis(50);

/// The period of the check whether the clients were sent the change.
const CHECK_PERIOD: Duration = Duration::from_millis(2);

/// The wakers of the event streams, and the history.
///
/// The streams do not subscribe to the feed themselves: a publication wakes all subscribers one after the other, some 10 us
/// each, and a hundred browsers would delay the map's publishers.
#[derive(Debug, Default)]
pub(super) struct StreamSubscribers {
    /// Guards the list; held while it is changed or copied, never while a waker runs. The keys are not the connections' ids:
    /// each server that shows this map counts its own.
    wakers: Mutex<BTreeMap<u64, Waker>>,
    /// Guards the counts, the newest last; held for one change or copy.
    history: Mutex<VecDeque<u64>>,
}

/// Keeps a stream's waker registered until it is dropped.
#[derive(Debug)]
pub(super) struct StreamSubscription<'subscribers> {
    subscribers: &'subscribers StreamSubscribers,
    id: u64,
}

/// What the thread works on.
#[derive(Debug, Clone)]
pub(super) struct StreamNotifier {
    pub(super) feed: Arc<Feed>,
    pub(super) monitor: Arc<dyn ServerMonitor>,
    pub(super) subscribers: Arc<StreamSubscribers>,
    pub(super) log: Arc<RefusalLog>,
    pub(super) renderer: Arc<Renderer>,
}

impl StreamSubscribers {
    /// Registers `waker` for every change until the returned subscription is dropped.
    pub(super) fn subscribe(&self, waker: Waker) -> StreamSubscription<'_> {
        let mut wakers = self.wakers.lock();
        let id = wakers.last_key_value().map_or(0, |(last, _)| last + 1);
        wakers.insert(id, waker);
        drop(wakers);
        StreamSubscription { subscribers: self, id }
    }

    /// Returns the numbers of clients, oldest first, one count every [`PERIOD`].
    pub(super) fn history(&self) -> Vec<u64> {
        self.history.lock().iter().copied().collect()
    }

    fn is_empty(&self) -> bool {
        self.wakers.lock().is_empty()
    }

    fn wake_all(&self) {
        let wakers: Vec<Waker> = self.wakers.lock().values().cloned().collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    fn record(&self, active: u64) {
        let mut history = self.history.lock();
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(active);
    }
}

impl Drop for StreamSubscription<'_> {
    fn drop(&mut self) {
        self.subscribers.wakers.lock().remove(&self.id);
    }
}

impl StreamNotifier {
    /// Starts the thread. It runs until the returned value is dropped.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub(super) fn start(self, threads: &Threads) -> io::Result<WorkerThread> {
        WorkerThread::start(threads, "http-notify", "waking event streams", move |notifier, worker| {
            let (this, notifier, worker) = (self.clone(), Arc::clone(notifier), Arc::clone(worker));
            move || this.run(&notifier, &worker)
        })
    }

    fn run(&self, notifier: &Arc<Notifier>, worker: &Worker) {
        let _subscription = self.feed.subscribe(waker(notifier, WakeReason::Update));
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            if now >= due {
                self.subscribers.record(self.monitor.stats().active());
                self.log_suppressed(false);
                due = now.checked_add(PERIOD).unwrap_or(now);
            }
            let reasons = notifier.wait_round(worker, Some(due));
            let is_update = reasons.contains(WakeReason::Update);
            if reasons.contains(WakeReason::Stop) || (is_update && stops_during_head_start(notifier, &self.feed)) {
                self.log_suppressed(true);
                return;
            }
            if is_update {
                if !self.subscribers.is_empty() {
                    // Render here, because all streams would wait for the first one, and because glibc has several heaps:
                    // each heap would keep the memory of a map that was rendered in it. The streams report an error.
                    let _ = self.renderer.latest();
                }
                self.subscribers.wake_all();
            }
        }
    }

    fn log_suppressed(&self, is_end: bool) {
        self.log.log_suppressed(is_end);
        self.feed.backlog().log_held(is_end);
    }
}

/// Waits until the newest map was offered to all clients, if a publisher runs, at most for the head start. Returns true if and
/// only if a stop was notified meanwhile.
fn stops_during_head_start(notifier: &Notifier, feed: &Feed) -> bool {
    let until = Instant::now() + HEAD_START;
    while (1..feed.version()).contains(&feed.offered()) && Instant::now() < until {
        if notifier.wait(Some(Instant::now() + CHECK_PERIOD)).contains(WakeReason::Stop) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    #[test]
    fn a_full_history_drops_its_oldest_count() {
        let subscribers = StreamSubscribers::default();
        for active in 0..=HISTORY as u64 {
            subscribers.record(active);
        }
        let history = subscribers.history();
        assert_eq!((history.len(), history[0], history[HISTORY - 1]), (HISTORY, 1, HISTORY as u64));
    }

    #[test]
    fn streams_wait_for_clients_no_longer_than_the_head_start() {
        let (feed, notifier) = (Feed::new(Format::Json, 100), Notifier::for_current_thread());
        let publish = |number: i64| feed.publish(&[("n".into(), number.into())].into()).unwrap();
        let wait = || {
            let began = Instant::now();
            assert!(!stops_during_head_start(&notifier, &feed));
            began.elapsed()
        };
        // The shortest of several waits: the machine is not busy each time.
        let shortest = || (0..10).map(|_| wait()).min().unwrap();
        publish(1);
        assert!(shortest() < HEAD_START, "no publisher");
        feed.end_round(&feed.latest().unwrap(), true);
        assert!(shortest() < HEAD_START, "all clients were offered it");
        publish(2);
        assert!(wait() >= HEAD_START);
        notifier.notify(WakeReason::Stop);
        assert!(stops_during_head_start(&notifier, &feed));
        feed.end_round(&feed.latest().unwrap(), false);
        assert!(shortest() < HEAD_START, "no clients are left");
    }

    #[test]
    fn a_stream_is_woken_until_its_subscription_is_dropped() {
        let (subscribers, notifier) = (StreamSubscribers::default(), Arc::new(Notifier::for_current_thread()));
        let subscriptions = [(); 2].map(|()| subscribers.subscribe(waker(&notifier, WakeReason::Update)));
        subscribers.wake_all();
        assert!(notifier.wait(None).contains(WakeReason::Update));
        let [subscription, other] = subscriptions;
        drop(other);
        subscribers.wake_all();
        assert!(notifier.wait(Some(Instant::now())).contains(WakeReason::Update), "another subscription was dropped");
        drop(subscription);
        subscribers.wake_all();
        assert!(notifier.wait(Some(Instant::now())).is_empty());
    }
}
