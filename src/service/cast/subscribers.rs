//! Who is sent the map, by which publisher, and when each is due for a repeat.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::timer_queue::TimerQueue;
use crate::connection::ClientSender;
use crate::platform::ThreadAffinity;
use crate::threads::Worker;
use crate::threads::{Notifier, WakeReason};

/// The most publisher threads: two. On two cores, with 9,000 readers on the same machine, a second one brought p50 from
/// 1.1 to 1.0 times that of bare sends, and CPU a delivery from 1.1 to 1.2 times theirs (measured).
const MAX_PUBLISHERS: usize = 2;

/// How many clients ahead of the one that is sent to memory is fetched: four sends take longer than that does.
pub(super) const PREFETCH_DISTANCE: usize = 4;

/// How many entries of clients that have gone the timer queue may hold beside one for each that is here.
const MAX_STALE_TIMERS: usize = 64;

/// How much before the interval is over a repeat is due, so that it has arrived by then: a 64th of the interval, at most
/// 25 ms. On two cores the way differs by up to 10 ms from one repeat to the next with 9,000 clients, who are all due at
/// once after a change, and by 50 ms with 15,000 (measured).
const LEAD_DIVISOR: u32 = 64;
const MAX_LEAD: Duration = Duration::from_millis(25);

/// How much earlier than it is due a repeat may be sent, so that one wake-up, which costs as much as a send or two, serves
/// several clients: a 128th of the period, at most 2 ms.
const SLACK_DIVISOR: u32 = 128;
const MAX_SLACK: Duration = Duration::from_millis(2);

/// A client's sender, as a publisher knows it. Weak, so that its socket is closed by its own thread, whatever a publisher
/// is about.
pub(super) type WeakSender = Weak<ClientSender>;

/// Everyone who is sent the map, in as many shards as there are publishers.
#[derive(Debug)]
pub(super) struct Subscribers {
    shards: Vec<Arc<Shard>>,
    /// How many have come. Their connections' ids would not do: each server that sends this map counts its own.
    next_id: AtomicU64,
}

/// One publisher's shard of the subscribers.
#[derive(Debug)]
pub(super) struct Shard {
    /// From the begin of a frame to its repeat.
    period: Duration,
    /// How much sooner it may be.
    slack: Duration,
    /// The thread of the publisher's helper; empty if there is none, or it cannot be moved.
    helper: OnceLock<ThreadAffinity>,
    /// Held for one change of the state or one copy of it; never while sending or notifying.
    state: Mutex<ShardState>,
    /// Has the publisher panic once, when it sends to clients the next time.
    #[cfg(test)]
    pub(super) panic_next: std::sync::atomic::AtomicBool,
    /// Stops the publisher while it is locked.
    #[cfg(test)]
    pub(super) publisher_lock: Mutex<()>,
}

/// A publisher at work, as its shard knows it.
#[derive(Debug, Clone)]
pub(super) struct PublisherHandle {
    pub(super) notifier: Arc<Notifier>,
    pub(super) worker: Arc<Worker>,
}

#[derive(Debug, Default)]
struct ShardState {
    /// By id, which is nearly the order in memory: a hash map's order made each send 20 % slower.
    clients: BTreeMap<u64, WeakSender>,
    /// Rises with everyone who comes or goes, so that a publisher copies the list only if it has changed.
    generation: u64,
    timers: TimerQueue,
    /// The thread to notify; `None` if nobody publishes here, and each client's thread is alone with its repeats.
    publisher: Option<PublisherHandle>,
    /// True while the publisher has taken clients from the timers that it has not entered again.
    is_repeating: bool,
}

/// A client's place in the subscribers. Given back when dropped.
#[derive(Debug)]
pub(super) struct ClientSubscription<'subscribers> {
    shard: &'subscribers Shard,
    id: u64,
}

impl Subscribers {
    /// Returns an subscribers of nobody, who are to hear something at least every `interval`: a shard for every two cores, at
    /// least one.
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

    /// Has `sender` sent each change and each repeat, until the subscription is dropped.
    pub(super) fn subscribe(&self, sender: &Arc<ClientSender>) -> ClientSubscription<'_> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation, reason = "only the remainder counts")]
        let shard = &self.shards[id as usize % self.shards.len()];
        shard.insert(id, sender);
        ClientSubscription { shard, id }
    }
}

impl ClientSubscription<'_> {
    /// True if and only if a publisher is there to send this client what is due.
    pub(super) fn has_publisher(&self) -> bool {
        self.shard.lock().publisher.is_some()
    }

    /// Returns when the last frame must have been started, or earlier, for a repeat at `now`. A repeat that the publisher
    /// could not send is due by the same measure: by another one its thread would find that it is too early, and sleep.
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
    /// Returns when the last frame must have been started, or earlier, for a repeat at `now`.
    pub(super) fn repeat_before(&self, now: Instant) -> Option<Instant> {
        (now + self.slack).checked_sub(self.period)
    }

    /// How many clients there are in it.
    pub(super) fn clients(&self) -> usize {
        self.lock().clients.len()
    }

    /// The calling thread helps the publisher of this shard.
    pub(super) fn register_helper(&self) {
        if let Ok(helper) = ThreadAffinity::of_current_thread() {
            // It fails only if there is one already.
            let _ = self.helper.set(helper);
        }
    }

    /// Has the helper run elsewhere than the calling thread.
    pub(super) fn move_helper(&self) {
        if let Some(helper) = self.helper.get() {
            // Where that fails it runs where the scheduler has it.
            let _ = helper.avoid_current_cpu();
        }
    }

    fn insert(&self, id: u64, sender: &Arc<ClientSender>) {
        let mut state = self.lock();
        state.clients.insert(id, Arc::downgrade(sender));
        state.generation += 1;
        let Some(due) = Instant::now().checked_add(self.period) else { return };
        // The publisher sleeps until the earliest; whoever comes later than that it finds by itself.
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
        // With an interval of hours, entries would otherwise pile up for as long.
        if timers.len() > 2 * clients.len() + MAX_STALE_TIMERS {
            timers.retain(|id| clients.contains_key(&id));
        }
    }

    /// Has the notifier of `publisher` notified when a client comes that is due earlier than all others.
    pub(super) fn attach_publisher(&self, publisher: &PublisherHandle) {
        let mut state = self.lock();
        let (now, ShardState { clients, timers, publisher: current, .. }) = (Instant::now(), &mut *state);
        *current = Some(publisher.clone());
        // One that has panicked has taken some out and not put them back. Too early does no harm.
        timers.retain(|_| false);
        for id in clients.keys() {
            timers.insert(*id, now);
        }
    }

    /// Returns how many rounds the publisher has counted, if it has a repeat to send that was due before `now`.
    pub(super) fn overdue(&self, now: Instant) -> Option<u64> {
        let state = self.lock();
        let is_overdue = state.is_repeating || state.timers.earliest().is_some_and(|due| due < now);
        state.publisher.as_ref().filter(|_| is_overdue).map(|publisher| publisher.worker.rounds())
    }

    /// How long a frame lasts before its repeat is due.
    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// Takes note that nobody publishes here any more, and notifies every client's thread, which is alone from now on.
    pub(super) fn detach_publisher(&self) {
        let mut state = self.lock();
        (state.publisher, state.is_repeating) = (None, false);
        let senders: Vec<_> = state.clients.values().filter_map(Weak::upgrade).collect();
        drop(state);
        for sender in senders {
            sender.notifier().notify(WakeReason::Update);
        }
    }

    /// Brings `clients`, a copy of the list as of `generation`, up to date.
    pub(super) fn refresh_list(&self, clients: &mut Vec<WeakSender>, generation: &mut u64) {
        let state = self.lock();
        if state.generation != *generation {
            *generation = state.generation;
            clients.clear();
            clients.extend(state.clients.values().cloned());
        }
    }

    /// Moves those whom a repeat may be sent to at `now` from the timers into `clients`, and their ids into `ids`, at most
    /// `limit` of them. `publisher` has them to send, and is engaged again if it had been taken for stuck.
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

    /// Enters those who were sent a frame, each with when that was started, into the timer queue again. Returns when the next
    /// client is due.
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
