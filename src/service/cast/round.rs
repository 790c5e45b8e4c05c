//! One change on its way to the clients of a shard.

use std::hint::black_box;
use std::sync::{Arc, Weak};

use super::WeakSender;
use crate::connection::{Offer, SendBatch};
use crate::feed::Snapshot;
use crate::sync::{AtomicU64, Instant, Ordering};

/// One change on its way to the clients of a shard. The publisher and its helper each take a batch of clients, until none is
/// left.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) latest: Arc<Snapshot>,
    clients: Arc<Vec<WeakSender>>,
    /// The number of batches that were taken; may exceed their number.
    taken: AtomicU64,
}

impl Round {
    pub(super) fn new(latest: Arc<Snapshot>, clients: Arc<Vec<WeakSender>>) -> Self {
        Self { latest, clients, taken: AtomicU64::new(0) }
    }

    /// Takes the next batch; `None` if all are taken.
    pub(super) fn take(&self) -> Option<&[WeakSender]> {
        let number = usize::try_from(self.taken.fetch_add(1, Ordering::Relaxed)).ok()?;
        self.clients.chunks(SendBatch::MAX).nth(number)
    }
}

/// Offers `latest` to at most [`SendBatch::MAX`] `clients` at `now`. Calls `record` for each that is still connected, with its
/// index and the start of its last frame, or `now` if the frame was deferred to its own thread.
pub(super) fn send_batch(
    batch: &mut SendBatch,
    latest: &Snapshot,
    clients: &[WeakSender],
    repeat_before: Option<Instant>,
    now: Instant,
    mut record: impl FnMut(usize, Instant),
) {
    // Reading the reference counts loads all senders into the cache at the same time; an upgrade waits for each.
    for client in clients {
        black_box(client.strong_count());
    }
    let senders: Vec<_> = clients.iter().map(Weak::upgrade).collect();
    let mut accepted = Vec::with_capacity(senders.len());
    for (number, sender) in senders.iter().enumerate() {
        match sender.as_ref().map(|sender| sender.offer(latest.version, repeat_before)) {
            Some(Offer::Accepted(frame)) => accepted.push((number, frame)),
            Some(Offer::Settled(started_at)) => record(number, started_at.unwrap_or(now)),
            None => {}
        }
    }
    let streams: Vec<_> = accepted.iter().map(|(_, frame)| frame.socket()).collect();
    let sent = batch.send(&latest.frame, &streams);
    for ((number, frame), sent) in accepted.into_iter().zip(sent) {
        record(number, frame.record(&latest.frame, &sent, now).unwrap_or(now));
    }
}
