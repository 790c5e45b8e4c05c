//! Publisher threads: send changes and repeats to every client whose socket accepts the frame without blocking.

use std::io;
use std::sync::Arc;

use super::round::{Round, send_batch};
use super::subscribers::{PublisherHandle, Shard, Subscribers};
use super::{SendMode, WeakSender};
use crate::connection::SendBatch;
use crate::feed::{Feed, Snapshot};
use crate::sync::Instant;
use crate::threads::Threads;
use crate::threads::{WakeReason, WorkerThread, waker};

/// Repeats between two checks for a change: 256, some 2 ms.
const REPEAT_BATCH: usize = 256;

/// Starts one publisher thread per shard. Each sends to its shard until its handle is dropped.
pub(super) fn start_publishers(
    threads: &Threads,
    feed: &Arc<Feed>,
    subscribers: &Subscribers,
    mode: SendMode,
) -> io::Result<Vec<WorkerThread>> {
    let start = |(number, shard): (usize, &Arc<Shard>)| {
        let (feed, shard) = (Arc::clone(feed), Arc::clone(shard));
        // Each client is sent the map that exists already when it connects. After a panic, every version is offered again.
        let mut present = feed.version();
        WorkerThread::start(threads, &format!("publisher-{number}"), "sending the map", move |notifier, worker| {
            let handle = PublisherHandle { notifier: Arc::clone(notifier), worker: Arc::clone(worker) };
            let publisher = Publisher::attach(handle, Arc::clone(&feed), Arc::clone(&shard));
            let since = std::mem::take(&mut present);
            move || publisher.publish(&mut mode.batch(), since)
        })
    };
    subscribers.shards().iter().enumerate().map(start).collect()
}

/// A running publisher. However it ends, it detaches from its shard, so that each client's thread sends its own repeats;
/// after a panic, until the restart.
struct Publisher {
    handle: PublisherHandle,
    feed: Arc<Feed>,
    shard: Arc<Shard>,
}

/// The clients of one batch of repeats. Reused for the next batch, to reuse the allocations.
#[derive(Default)]
struct DueBatch {
    ids: Vec<u64>,
    /// In the same order.
    clients: Vec<WeakSender>,
    /// The id of each client that is still connected, and the start of its last frame.
    started_at: Vec<(u64, Instant)>,
}

impl Publisher {
    fn attach(handle: PublisherHandle, feed: Arc<Feed>, shard: Arc<Shard>) -> Self {
        shard.attach_publisher(&handle);
        Self { handle, feed, shard }
    }

    /// Sends every change after version `published` and every due repeat until notified of the stop.
    fn publish(self, batch: &mut SendBatch, mut published: u64) {
        let _subscription = self.feed.subscribe(waker(&self.handle.notifier, WakeReason::Update));
        let (mut clients, mut generation) = (Arc::default(), 0);
        let mut due = DueBatch::default();
        loop {
            #[cfg(test)]
            drop(self.shard.publisher_lock.lock());
            // Checked before the first wait: a change before the subscription notified no thread.
            while let Some(latest) = self.feed.latest().filter(|latest| latest.version > published) {
                published = latest.version;
                self.shard.refresh_list(&mut clients, &mut generation);
                self.send_change(batch, &latest, &clients);
                self.feed.end_round(&latest, !clients.is_empty());
            }
            let next = self.repeat(batch, &mut due);
            self.feed.backlog().log_held(false);
            if self.handle.notifier.wait_round(&self.handle.worker, next).contains(WakeReason::Stop) {
                self.feed.backlog().log_held(true);
                return;
            }
        }
    }

    /// Repeats the map to one batch of due clients. Returns when the next client is due.
    fn repeat(&self, batch: &mut SendBatch, due: &mut DueBatch) -> Option<Instant> {
        let now = Instant::now();
        self.shard.take_due(&self.handle, now, REPEAT_BATCH, &mut due.ids, &mut due.clients);
        match self.feed.latest() {
            Some(mut latest) => {
                self.inject_panic(&due.clients);
                let batches = due.ids.chunks(SendBatch::MAX).zip(due.clients.chunks(SendBatch::MAX));
                for (ids, clients) in batches {
                    self.send_batch(batch, &mut latest, clients, |number, started_at| {
                        due.started_at.push((ids[number], started_at));
                    });
                }
            }
            None => due.started_at.extend(due.ids.iter().map(|id| (*id, now))),
        }
        due.ids.clear();
        due.clients.clear();
        self.shard.reschedule(due.started_at.drain(..))
    }

    /// Offers `latest` to all `clients`, with the helper, or a newer map once there is one.
    fn send_change(&self, batch: &mut SendBatch, latest: &Arc<Snapshot>, clients: &Arc<Vec<WeakSender>>) {
        self.inject_panic(clients);
        let round = Arc::new(Round::new(Arc::clone(latest), Arc::clone(clients)));
        if let Some(helper) = self.shard.helper() {
            helper.ask(&round, clients.len());
        }
        let mut latest = Arc::clone(latest);
        while let Some(clients) = round.take() {
            self.send_batch(batch, &mut latest, clients, |_, _| {});
        }
    }

    /// Offers `latest`, or a newer map once there is one, to one batch of `clients`. Calls `record` as [`send_batch`] does.
    fn send_batch(
        &self,
        batch: &mut SendBatch,
        latest: &mut Arc<Snapshot>,
        clients: &[WeakSender],
        record: impl FnMut(usize, Instant),
    ) {
        self.handle.worker.round();
        // A change during the round: the remaining clients get it at once, the earlier ones in the next round.
        if self.feed.version() != latest.version
            && let Some(newest) = self.feed.latest()
        {
            *latest = newest;
        }
        let now = Instant::now();
        send_batch(batch, latest, clients, self.shard.repeat_before(now), now, record);
    }

    /// Panics if a test wants that.
    #[cfg_attr(not(test), allow(unused_variables, clippy::unused_self, reason = "only tests inject a panic"))]
    fn inject_panic(&self, clients: &[WeakSender]) {
        #[cfg(test)]
        assert!(
            clients.is_empty() || !self.shard.panic_next.swap(false, std::sync::atomic::Ordering::SeqCst),
            "injected panic"
        );
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shard.detach_publisher();
    }
}
