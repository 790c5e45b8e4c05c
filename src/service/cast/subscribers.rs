//! The clients that receive the map, sharded by publisher, and the due time of each client's repeat.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::WeakSender;
use super::helper_handle::HelperHandle;
use super::timer_queue::TimerQueue;
use crate::connection::ClientSender;
use crate::sync::{AtomicU64, Instant, Mutex, MutexGuard, Ordering, thread};
use crate::threads::Worker;
use crate::threads::{Notifier, WakeReason};

/// Maximum number of publisher threads: 2. On two cores, with 9,000 readers on the same machine, a second one changed p50
/// from 1.1 to 1.0 times that of bare sends, and CPU per delivery from 1.1 to 1.2 times theirs (measured).
const MAX_PUBLISHERS: usize = 2;

/// How many entries of disconnected clients the timer queue may hold on top of two per connected client: 64.
const MAX_STALE_TIMERS: usize = 64;

/// How long before the end of the interval a repeat is due, so that it arrives within the interval: 1/64 of the interval,
/// at most 25 ms. After a change all clients are due at once; on two cores the delivery time then varies by up to 10 ms
/// from one repeat to the next with 9,000 clients, and by 50 ms with 15,000 (measured).
const LEAD_DIVISOR: u32 = 64;
const MAX_LEAD: Duration = Duration::from_millis(25);

/// How much earlier than its due time a repeat may be sent: 1/128 of the period, at most 2 ms. One wake-up, which costs as
/// much as one or two sends, then serves several clients.
const SLACK_DIVISOR: u32 = 128;
const MAX_SLACK: Duration = Duration::from_millis(2);

/// How often a client's thread checks for an unsent repeat while a publisher sends the repeats: each interval with up to 8
/// clients of the shard, every eighth interval from 64 clients on. So the shard has 8 checks an interval or more, and one
/// that finds the publisher stuck detaches it for all clients. A check costs as much as one or two sends: with one per
/// interval and client, a repeat cost 3.7 bare sends (measured).
const CLIENTS_PER_CHECK_INTERVAL: usize = 8;
const MAX_CHECK_INTERVALS: usize = 8;

/// All clients of the map, in one shard per publisher.
#[derive(Debug)]
pub(super) struct Subscribers {
    shards: Vec<Arc<Shard>>,
    /// The id of the next subscription. Connection ids are not unique here: each server that sends this map counts its own.
    next_id: AtomicU64,
}

/// The subscribers of one publisher.
#[derive(Debug)]
pub(super) struct Shard {
    interval: Duration,
    /// From the start of a frame to its repeat: slightly less than the interval.
    period: Duration,
    /// How much earlier the repeat may be sent.
    slack: Duration,
    /// The zero of the times at which the clients' threads check for an unsent repeat.
    epoch: Instant,
    /// Held for one change or one copy of the state; never while sending or notifying.
    state: Mutex<ShardState>,
    /// Makes the publisher panic once, at its next send.
    #[cfg(test)]
    pub(super) panic_next: std::sync::atomic::AtomicBool,
    /// Blocks the publisher while it is locked.
    #[cfg(test)]
    pub(super) publisher_lock: Mutex<()>,
}

/// A shard's reference to its running publisher.
#[derive(Debug, Clone)]
pub(super) struct PublisherHandle {
    pub(super) notifier: Arc<Notifier>,
    pub(super) worker: Arc<Worker>,
}

#[derive(Debug, Default)]
struct ShardState {
    /// By id, which nearly is the order in memory: with a hash map's order each send was 20 % slower.
    clients: BTreeMap<u64, WeakSender>,
    /// Incremented when a client is added or removed, so that a publisher copies the list only after a change.
    generation: u64,
    timers: TimerQueue,
    /// The publisher to notify; `None` without one: each client's thread then sends its own repeats.
    publisher: Option<PublisherHandle>,
    /// The publisher's helper; `None` without one.
    helper: Option<Arc<HelperHandle>>,
    /// The publisher's round count when a client's thread found a repeat overdue, and when that was.
    suspected: Option<(u64, Instant)>,
}

/// The subscription of one client. Dropping it unsubscribes the client.
#[derive(Debug)]
pub(super) struct ClientSubscription<'subscribers> {
    shard: &'subscribers Shard,
    id: u64,
}

impl Subscribers {
    /// Returns an empty set of subscribers with a frame at least every `interval`. It has one shard for every two cores, at
    /// least one and at most [`MAX_PUBLISHERS`].
    pub(super) fn new(interval: Duration) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let period = interval.saturating_sub((interval / LEAD_DIVISOR).min(MAX_LEAD));
        let slack = (period / SLACK_DIVISOR).min(MAX_SLACK);
        let shard = || {
            Arc::new(Shard {
                interval,
                period,
                slack,
                epoch: Instant::now(),
                state: Mutex::default(),
                #[cfg(test)]
                panic_next: std::sync::atomic::AtomicBool::default(),
                #[cfg(test)]
                publisher_lock: Mutex::default(),
            })
        };
        let shards = (0..(cores / 2).clamp(1, MAX_PUBLISHERS)).map(|_| shard()).collect();
        Self { shards, next_id: AtomicU64::new(0) }
    }

    pub(super) fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// Registers `sender` for every change and repeat until the returned subscription is dropped.
    pub(super) fn subscribe(&self, sender: &Arc<ClientSender>) -> ClientSubscription<'_> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation, reason = "only the remainder counts")]
        let shard = &self.shards[id as usize % self.shards.len()];
        shard.insert(id, sender);
        ClientSubscription { shard, id }
    }
}

impl ClientSubscription<'_> {
    /// When the client's thread next checks for an unsent repeat; its last frame was started at `last_frame`.
    pub(super) fn next_check(&self, last_frame: Option<Instant>) -> Option<Instant> {
        self.shard.next_check(self.id, last_frame)
    }

    /// Checks, for the client's thread, that the publisher has sent the repeat of the frame that was started at `last_frame`.
    pub(super) fn check_publisher(&self, last_frame: Option<Instant>) {
        self.shard.check_publisher(last_frame, Instant::now());
    }

    /// True if and only if a publisher sends this client's changes and repeats.
    #[cfg(test)]
    pub(super) fn has_publisher(&self) -> bool {
        self.shard.lock().publisher.is_some()
    }

    /// Returns the latest start of the last frame at which a repeat is due at `now`. The client's thread uses the publisher's
    /// rule: with its own it would find a repeat that the publisher deferred to it too early, and sleep.
    pub(super) fn repeat_before(&self, now: Instant) -> Option<Instant> {
        self.shard.repeat_before(now)
    }
}

impl Drop for ClientSubscription<'_> {
    fn drop(&mut self) {
        self.shard.remove(self.id);
    }
}

impl Shard {
    /// Returns the latest start of the last frame at which a repeat is due at `now`.
    pub(super) fn repeat_before(&self, now: Instant) -> Option<Instant> {
        (now + self.slack).checked_sub(self.period)
    }

    /// When the thread of client `id`, whose last frame was started at `last_frame`, next checks for an unsent repeat.
    fn next_check(&self, id: u64, last_frame: Option<Instant>) -> Option<Instant> {
        let state = self.lock();
        let (has_publisher, clients) = (state.publisher.is_some(), state.clients.len());
        drop(state);
        // Counted from the start of the frame: a slow write does not stretch the interval. Without a map yet, the thread
        // checks for one at the same rate.
        let (now, last_frame) = (Instant::now(), last_frame.unwrap_or_else(Instant::now));
        if !has_publisher {
            return last_frame.checked_add(self.interval);
        }
        #[allow(clippy::cast_possible_truncation, reason = "at most MAX_CHECK_INTERVALS")]
        let intervals = (clients / CLIENTS_PER_CHECK_INTERVAL).clamp(1, MAX_CHECK_INTERVALS) as u32;
        if intervals == 1 {
            return last_frame.checked_add(self.interval)?.checked_add(self.margin()).map(|due| due.max(now));
        }
        // The bits of a number in reverse order spread consecutive numbers evenly over the period. The lowest bit of the id may
        // be the same in the whole shard.
        let number = (id / MAX_PUBLISHERS as u64).to_le_bytes()[0];
        let period = self.interval.checked_mul(intervals)?;
        let first = self.epoch.checked_add((period / 256) * u32::from(number.reverse_bits()))?;
        let since_first = now.saturating_duration_since(first).as_nanos();
        let passed = if now < first { 0 } else { since_first / period.as_nanos().max(1) + 1 };
        first.checked_add(period.checked_mul(u32::try_from(passed).ok()?)?)
    }

    /// Records that a repeat of a frame that was started at `last_frame` is unsent at `now`, if it is overdue. Detaches the
    /// publisher if it counted no round since another repeat was found overdue. One is not enough: after a pause of the whole
    /// process every repeat is overdue.
    fn check_publisher(&self, last_frame: Option<Instant>, now: Instant) {
        let is_overdue = |started_at: &Instant| {
            let overdue = started_at.checked_add(self.interval).and_then(|due| due.checked_add(self.margin()));
            overdue.is_some_and(|overdue| overdue <= now)
        };
        if !last_frame.as_ref().is_some_and(is_overdue) {
            return;
        }
        let mut state = self.lock();
        let Some(rounds) = state.publisher.as_ref().map(|publisher| publisher.worker.rounds()) else { return };
        match state.suspected {
            Some((suspected, since)) if suspected == rounds => {
                if since + self.margin() / 2 <= now {
                    log::debug!("publisher is stuck: each client's thread sends its own repeats until it resumes");
                    detach(state);
                }
            }
            _ => state.suspected = Some((rounds, now)),
        }
    }

    /// By how much a repeat must be late to be overdue: a quarter of the interval.
    fn margin(&self) -> Duration {
        self.interval / 4
    }

    fn insert(&self, id: u64, sender: &Arc<ClientSender>) {
        // The first frame may have been sent long before the client's thread ran.
        let started_at = sender.last().map_or_else(Instant::now, |(_, started_at)| started_at);
        let mut state = self.lock();
        state.clients.insert(id, Arc::downgrade(sender));
        state.generation += 1;
        let Some(due) = started_at.checked_add(self.period) else { return };
        // The publisher sleeps until the earliest due time and then finds every later one by itself.
        let woken =
            if state.timers.earliest().is_none_or(|earliest| due < earliest) { state.publisher.clone() } else { None };
        state.timers.insert(id, due);
        drop(state);
        if let Some(publisher) = woken {
            publisher.notifier.notify(WakeReason::Update);
        }
    }

    fn remove(&self, id: u64) {
        let mut state = self.lock();
        state.clients.remove(&id);
        state.generation += 1;
        let ShardState { clients, timers, .. } = &mut *state;
        // With an interval of hours, stale entries would otherwise accumulate for hours.
        if timers.len() > 2 * clients.len() + MAX_STALE_TIMERS {
            timers.retain(|id| clients.contains_key(&id));
        }
    }

    /// Makes `publisher` the shard's publisher: it is notified when a new client is due earlier than all others.
    pub(super) fn attach_publisher(&self, publisher: &PublisherHandle) {
        let mut state = self.lock();
        let (now, ShardState { clients, timers, publisher: current, .. }) = (Instant::now(), &mut *state);
        *current = Some(publisher.clone());
        // A publisher that panicked did not reschedule the clients it had popped. An early entry is harmless.
        timers.retain(|_| false);
        for id in clients.keys() {
            timers.insert(*id, now);
        }
    }

    /// Makes `helper` the helper of the shard's publisher.
    pub(super) fn attach_helper(&self, helper: &Arc<HelperHandle>) {
        self.lock().helper = Some(Arc::clone(helper));
    }

    /// The publisher's helper; `None` without one.
    pub(super) fn helper(&self) -> Option<Arc<HelperHandle>> {
        self.lock().helper.clone()
    }

    /// Removes the publisher and notifies every client's thread, which sends its own repeats from then on.
    pub(super) fn detach_publisher(&self) {
        detach(self.lock());
    }

    /// Updates `clients`, a copy of the list as of `generation`, if the list has changed since.
    pub(super) fn refresh_list(&self, clients: &mut Arc<Vec<WeakSender>>, generation: &mut u64) {
        let state = self.lock();
        if state.generation != *generation {
            *generation = state.generation;
            *clients = Arc::new(state.clients.values().cloned().collect());
        }
    }

    /// Pops up to `limit` clients whose repeat may be sent at `now` from the timers into `clients`, and their ids into `ids`.
    /// Attaches `publisher`, which sends to them, again if it was detached as stuck.
    pub(super) fn take_due(
        &self,
        publisher: &PublisherHandle,
        now: Instant,
        limit: usize,
        ids: &mut Vec<u64>,
        clients: &mut Vec<WeakSender>,
    ) {
        let (mut state, until) = (self.lock(), now + self.slack);
        state.publisher.get_or_insert_with(|| publisher.clone());
        while clients.len() < limit
            && let Some(id) = state.timers.pop_due(until)
        {
            if let Some(sender) = state.clients.get(&id) {
                ids.push(id);
                clients.push(Weak::clone(sender));
            }
        }
    }

    /// Puts clients back into the timer queue, each with the start of its last frame. Returns when the next client is due.
    pub(super) fn reschedule(&self, started_at: impl Iterator<Item = (u64, Instant)>) -> Option<Instant> {
        let mut state = self.lock();
        for (id, started_at) in started_at {
            if let Some(due) = started_at.checked_add(self.period) {
                state.timers.insert(id, due);
            }
        }
        state.timers.earliest()
    }

    #[cfg(test)]
    pub(super) fn pending_timers(&self) -> usize {
        self.lock().timers.len()
    }

    fn lock(&self) -> MutexGuard<'_, ShardState> {
        self.state.lock()
    }
}

/// Removes the publisher and notifies every client's thread, which sends its own repeats from then on.
fn detach(mut state: MutexGuard<'_, ShardState>) {
    (state.publisher, state.suspected) = (None, None);
    let senders: Vec<_> = state.clients.values().filter_map(Weak::upgrade).collect();
    drop(state);
    for sender in senders {
        sender.notifier().notify(WakeReason::Update);
    }
}
