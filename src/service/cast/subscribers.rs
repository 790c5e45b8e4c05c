//! The clients that receive the map, sharded by publisher, and the due time of each client's repeat.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::timer_queue::TimerQueue;
use crate::connection::ClientSender;
use crate::platform::ThreadAffinity;
use crate::sync::{AtomicU64, Instant, Mutex, MutexGuard, Ordering, thread};
use crate::threads::Worker;
use crate::threads::{Notifier, WakeReason};

/// Maximum number of publisher threads: 2. On two cores, with 9,000 readers on the same machine, a second one changed p50
/// from 1.1 to 1.0 times that of bare sends, and CPU per delivery from 1.1 to 1.2 times theirs (measured).
const MAX_PUBLISHERS: usize = 2;

/// Sends between two reads of the clock, each of which counts a round: 32, some 0.3 ms.
pub(super) const SENDS_PER_CLOCK_READ: usize = 32;

/// How many clients ahead of the current send memory is prefetched: 4. Four sends take longer than the fetch.
pub(super) const PREFETCH_DISTANCE: usize = 4;

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

/// A publisher's reference to a client's sender. Weak, so that only the client's own thread closes the socket.
pub(super) type WeakSender = Weak<ClientSender>;

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
    /// From the start of a frame to its repeat.
    period: Duration,
    /// How much earlier the repeat may be sent.
    slack: Duration,
    /// The affinity of the helper's thread; empty without a helper, or if the system does not report it.
    helper: OnceLock<ThreadAffinity>,
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
    /// True while the publisher holds clients that it has popped from the timers and not rescheduled yet.
    is_repeating: bool,
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
                period,
                slack,
                helper: OnceLock::new(),
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
    /// True if and only if a publisher sends this client's changes and repeats.
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

    /// The number of clients.
    pub(super) fn clients(&self) -> usize {
        self.lock().clients.len()
    }

    /// Registers the calling thread as the helper of this shard's publisher.
    pub(super) fn register_helper(&self) {
        if let Ok(helper) = ThreadAffinity::of_current_thread() {
            // Fails only if a helper is registered already.
            let _ = self.helper.set(helper);
        }
    }

    /// Moves the helper to another core than the calling thread's.
    pub(super) fn move_helper(&self) {
        if let Some(helper) = self.helper.get() {
            // On failure the helper stays where the scheduler put it.
            let _ = helper.avoid_current_cpu();
        }
    }

    fn insert(&self, id: u64, sender: &Arc<ClientSender>) {
        let mut state = self.lock();
        state.clients.insert(id, Arc::downgrade(sender));
        state.generation += 1;
        let Some(due) = Instant::now().checked_add(self.period) else { return };
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

    /// Returns the publisher's round count if a repeat was due before `now` and is unsent; `None` otherwise.
    pub(super) fn overdue(&self, now: Instant) -> Option<u64> {
        let state = self.lock();
        let is_overdue = state.is_repeating || state.timers.earliest().is_some_and(|due| due < now);
        state.publisher.as_ref().filter(|_| is_overdue).map(|publisher| publisher.worker.rounds())
    }

    /// The time from the start of a frame to its repeat.
    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// Removes the publisher and notifies every client's thread, which sends its own repeats from then on.
    pub(super) fn detach_publisher(&self) {
        let mut state = self.lock();
        (state.publisher, state.is_repeating) = (None, false);
        let senders: Vec<_> = state.clients.values().filter_map(Weak::upgrade).collect();
        drop(state);
        for sender in senders {
            sender.notifier().notify(WakeReason::Update);
        }
    }

    /// Updates `clients`, a copy of the list as of `generation`, if the list has changed since.
    pub(super) fn refresh_list(&self, clients: &mut Vec<WeakSender>, generation: &mut u64) {
        let state = self.lock();
        if state.generation != *generation {
            *generation = state.generation;
            clients.clear();
            clients.extend(state.clients.values().cloned());
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
        state.is_repeating = !clients.is_empty();
    }

    /// Puts clients back into the timer queue, each with the start of its last frame. Returns when the next client is due.
    pub(super) fn reschedule(&self, started_at: impl Iterator<Item = (u64, Instant)>) -> Option<Instant> {
        let mut state = self.lock();
        state.is_repeating = false;
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
