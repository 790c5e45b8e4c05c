//! Publisher threads: send changes and repeats to every client whose socket accepts the frame without blocking.

use std::hint::black_box;
use std::io;
use std::sync::{Arc, Weak};

use super::SendMode;
use super::subscribers::{PublisherHandle, Shard, Subscribers, WeakSender};
use crate::connection::{Offer, SendBatch};
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
        WorkerThread::start(threads, &format!("publisher-{number}"), "sending the map", move |notifier, worker| {
            let handle = PublisherHandle { notifier: Arc::clone(notifier), worker: Arc::clone(worker) };
            let publisher = Publisher::attach(handle, Arc::clone(&feed), Arc::clone(&shard));
            move || publisher.publish(&mut mode.batch())
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

    /// Sends every change and every due repeat until notified of the stop.
    fn publish(self, batch: &mut SendBatch) {
        let _subscription = self.feed.subscribe(waker(&self.handle.notifier, WakeReason::Update));
        // The last version that was offered to every client.
        let mut published = 0;
        let (mut clients, mut generation) = (Vec::new(), 0);
        let mut due = DueBatch::default();
        loop {
            #[cfg(test)]
            drop(self.shard.publisher_lock.lock());
            // Checked before the first wait: a change before the subscription notified no thread.
            while let Some(latest) = self.feed.latest().filter(|latest| latest.version > published) {
                published = latest.version;
                self.shard.refresh_list(&mut clients, &mut generation);
                self.send_to(batch, Arc::clone(&latest), &clients, |_, _| {});
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
            Some(latest) => self.send_to(batch, latest, &due.clients, |number, started_at| {
                due.started_at.push((due.ids[number], started_at));
            }),
            None => due.started_at.extend(due.ids.iter().map(|id| (*id, now))),
        }
        due.ids.clear();
        due.clients.clear();
        self.shard.reschedule(due.started_at.drain(..))
    }

    /// Offers `latest`, or a newer map once there is one, to `clients`, in batches. Calls `record` for each that is still
    /// connected, with its index and the start of its last frame, or the current time if the frame was deferred to its own
    /// thread.
    fn send_to(
        &self,
        batch: &mut SendBatch,
        mut latest: Arc<Snapshot>,
        clients: &[WeakSender],
        mut record: impl FnMut(usize, Instant),
    ) {
        #[cfg(test)]
        assert!(
            clients.is_empty() || !self.shard.panic_next.swap(false, std::sync::atomic::Ordering::SeqCst),
            "injected panic"
        );
        for (first, clients) in (0..).step_by(SendBatch::MAX).zip(clients.chunks(SendBatch::MAX)) {
            let now = Instant::now();
            self.handle.worker.round();
            // A change during the round: the remaining clients get it at once, the earlier ones in the next round.
            if self.feed.version() != latest.version
                && let Some(newest) = self.feed.latest()
            {
                latest = newest;
            }
            let repeat_before = self.shard.repeat_before(now);
            // Reading the reference counts loads all senders into the cache at the same time; an upgrade waits for each.
            clients.iter().for_each(|client| _ = black_box(client.strong_count()));
            let senders: Vec<_> = clients.iter().map(Weak::upgrade).collect();
            let mut accepted = Vec::with_capacity(senders.len());
            for (number, sender) in (first..).zip(&senders) {
                match sender.as_ref().map(|sender| sender.offer(latest.version, repeat_before)) {
                    Some(Offer::Accepted(frame)) => accepted.push((number, frame)),
                    Some(Offer::Settled(started_at)) => record(number, started_at.unwrap_or(now)),
                    None => {}
                }
            }
            let streams: Vec<_> = accepted.iter().map(|(_, frame)| frame.socket()).collect();
            let sent = batch.send(&latest.frame, &streams);
            for ((number, frame), sent) in accepted.into_iter().zip(sent) {
                record(number, frame.record(&latest.frame, sent, now).unwrap_or(now));
            }
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shard.detach_publisher();
    }
}
