//! One thread that hears of each change for all event streams, and writes down each second how many clients there are.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::change_log::ChangeLog;
use super::rendering::Renderer;
use crate::feed::Feed;
use crate::service::ServerMonitor;
use crate::threads::{Notifier, WakeReason, WorkerThread, waker};
use crate::threads::{Threads, Worker};

/// How often the clients are counted for the history.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// How many counts are kept: those of 15 minutes.
const HISTORY: usize = 900;

/// How long the streams wait at most for the clients of the map, who have a change first: a hundred threads that wake
/// while it is sent take a core from those who send it. 9,000 clients take as long on two cores.
const HEAD_START: Duration = Duration::from_millis(50);

/// How often it is looked whether they have it.
const LOOK_PERIOD: Duration = Duration::from_millis(2);

/// Who is to be woken, and what was counted.
///
/// The streams do not subscribe to the feed themselves: whoever publishes wakes all subscribers one after the other,
/// some 10 us each, and a hundred browsers would stand before the map's own publishers.
#[derive(Debug, Default)]
pub(crate) struct StreamSubscribers {
    /// Guards the list of those to wake; held while it is changed or copied, never while anyone is woken. Not by their
    /// connections' ids: each server that shows this map counts its own.
    wakers: Mutex<BTreeMap<u64, Waker>>,
    /// Guards the counts, the newest last; held for one change or copy.
    history: Mutex<VecDeque<u64>>,
}

/// A stream's place among the subscribers. Given back when dropped.
#[derive(Debug)]
pub(crate) struct StreamSubscription<'subscribers> {
    subscribers: &'subscribers StreamSubscribers,
    id: u64,
}

impl StreamSubscribers {
    /// Has `waker` woken after each change, until the place is dropped.
    pub(crate) fn subscribe(&self, waker: Waker) -> StreamSubscription<'_> {
        let mut wakers = lock(&self.wakers);
        let id = wakers.last_key_value().map_or(0, |(last, _)| last + 1);
        wakers.insert(id, waker);
        drop(wakers);
        StreamSubscription { subscribers: self, id }
    }

    /// How many clients there were, oldest first, one count a [`PERIOD`].
    pub(crate) fn history(&self) -> Vec<u64> {
        lock(&self.history).iter().copied().collect()
    }

    fn is_anyone(&self) -> bool {
        !lock(&self.wakers).is_empty()
    }

    fn wake_all(&self) {
        let wakers: Vec<Waker> = lock(&self.wakers).values().cloned().collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    fn write_down(&self, active: u64) {
        let mut history = lock(&self.history);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(active);
    }
}

impl Drop for StreamSubscription<'_> {
    fn drop(&mut self) {
        lock(&self.subscribers.wakers).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread, which works until it is dropped.
pub(crate) fn start_notifier(
    threads: &Threads,
    feed: Arc<Feed>,
    monitor: Arc<dyn ServerMonitor>,
    subscribers: Arc<StreamSubscribers>,
    change_log: Arc<ChangeLog>,
    renderer: Arc<Renderer>,
) -> io::Result<WorkerThread> {
    WorkerThread::start(threads, "http-notify", "waking event streams", move |notifier, worker| {
        let (notifier, worker, feed) = (Arc::clone(notifier), Arc::clone(worker), Arc::clone(&feed));
        let (monitor, subscribers) = (Arc::clone(&monitor), Arc::clone(&subscribers));
        let (change_log, renderer) = (Arc::clone(&change_log), Arc::clone(&renderer));
        move || run(&notifier, &worker, &feed, &*monitor, &subscribers, &change_log, &renderer)
    })
}

fn run(
    notifier: &Arc<Notifier>,
    worker: &Worker,
    feed: &Feed,
    monitor: &dyn ServerMonitor,
    subscribers: &StreamSubscribers,
    change_log: &ChangeLog,
    renderer: &Renderer,
) {
    let _subscription = feed.subscribe(waker(notifier, WakeReason::Update));
    let mut due = Instant::now();
    loop {
        let now = Instant::now();
        if now >= due {
            subscribers.write_down(monitor.stats().active());
            change_log.log_held(false);
            feed.backlog().log_held(false);
            due = now.checked_add(PERIOD).unwrap_or(now);
        }
        let reasons = notifier.wait_round(worker, Some(due));
        if reasons.contains(WakeReason::Stop)
            || (reasons.contains(WakeReason::Update) && gives_way_until_stop(notifier, feed))
        {
            change_log.log_held(true);
            feed.backlog().log_held(true);
            return;
        }
        if reasons.contains(WakeReason::Update) {
            if subscribers.is_anyone() {
                // They would each wait for the first one to do it. By one thread, because glibc has several heaps: each of
                // them would keep the room of a map once it was rendered there. What fails is told to those who ask.
                let _ = renderer.latest();
            }
            subscribers.wake_all();
        }
    }
}

/// Waits until the clients of the map have been offered the newest one, if anybody does that, or the head start is over.
/// Returns true if and only if a stop was notified meanwhile.
fn gives_way_until_stop(notifier: &Notifier, feed: &Feed) -> bool {
    let until = Instant::now() + HEAD_START;
    while (1..feed.version()).contains(&feed.offered()) && Instant::now() < until {
        if notifier.wait(Some(Instant::now() + LOOK_PERIOD)).contains(WakeReason::Stop) {
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
    fn the_oldest_count_goes_when_there_are_enough() {
        let subscribers = StreamSubscribers::default();
        for active in 0..=HISTORY as u64 {
            subscribers.write_down(active);
        }
        let history = subscribers.history();
        assert_eq!((history.len(), history[0], history[HISTORY - 1]), (HISTORY, 1, HISTORY as u64));
    }

    #[test]
    fn the_streams_wait_for_the_clients_who_are_sent_to_and_for_none_longer_than_their_head_start() {
        let (feed, notifier) = (Feed::new(Format::Json, 100), Notifier::for_current_thread());
        let publish = |number: i64| feed.publish(&[("n".into(), number.into())].into()).unwrap();
        let wait = || {
            let began = Instant::now();
            assert!(!gives_way_until_stop(&notifier, &feed));
            began.elapsed()
        };
        // The shortest of several: the machine may be busy, but not each time.
        let shortest = || (0..10).map(|_| wait()).min().unwrap();
        publish(1);
        assert!(shortest() < HEAD_START, "nobody sends to clients");
        feed.end_round(&feed.latest().unwrap(), true);
        assert!(shortest() < HEAD_START, "all have it");
        publish(2);
        assert!(wait() >= HEAD_START);
        notifier.notify(WakeReason::Stop);
        assert!(gives_way_until_stop(&notifier, &feed));
        feed.end_round(&feed.latest().unwrap(), false);
        assert!(shortest() < HEAD_START, "there is nobody any more");
    }

    #[test]
    fn a_listener_is_woken_until_it_leaves() {
        let (subscribers, notifier) = (StreamSubscribers::default(), Arc::new(Notifier::for_current_thread()));
        let places = [(); 2].map(|()| subscribers.subscribe(waker(&notifier, WakeReason::Update)));
        subscribers.wake_all();
        assert!(notifier.wait(None).contains(WakeReason::Update));
        let [place, other] = places;
        drop(other);
        subscribers.wake_all();
        assert!(
            notifier.wait(Some(Instant::now())).contains(WakeReason::Update),
            "the place of another one was given back"
        );
        drop(place);
        subscribers.wake_all();
        assert!(notifier.wait(Some(Instant::now())).is_empty());
    }
}
