//! A priority queue of the clients' repeats by due time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::sync::Instant;

/// The due time of each client's repeat, earliest first. An entry may be too early, never too late: a change that was sent
/// in the meantime postpones the repeat, which the publisher checks after the pop.
#[derive(Debug)]
pub(super) struct TimerQueue {
    /// The zero of the due times: a `u64` of nanoseconds takes half the memory of an `Instant`.
    epoch: Instant,
    /// Due time in nanoseconds since `epoch`, and the client's id.
    dues: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Default for TimerQueue {
    fn default() -> Self {
        Self { epoch: Instant::now(), dues: BinaryHeap::new() }
    }
}

impl TimerQueue {
    /// Inserts client `id`, due at `due`. A due time more than 584 years away is never reached and not stored.
    pub(super) fn insert(&mut self, id: u64, due: Instant) {
        if let Ok(due) = u64::try_from(due.saturating_duration_since(self.epoch).as_nanos()) {
            self.dues.push(Reverse((due, id)));
        }
    }

    /// The earliest due time; `None` if the queue is empty.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.dues.peek().and_then(|Reverse((due, _))| self.epoch.checked_add(Duration::from_nanos(*due)))
    }

    /// Removes and returns the next client if it is due no later than `until`.
    pub(super) fn pop_due(&mut self, until: Instant) -> Option<u64> {
        self.earliest().filter(|due| *due <= until)?;
        self.dues.pop().map(|Reverse((_, id))| id)
    }

    /// The number of entries, including those of disconnected clients.
    pub(super) fn len(&self) -> usize {
        self.dues.len()
    }

    /// Removes every client for which `is_connected` returns false.
    pub(super) fn retain(&mut self, is_connected: impl Fn(u64) -> bool) {
        self.dues.retain(|Reverse((_, id))| is_connected(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_popped_in_the_order_of_their_due_times() {
        let mut timers = TimerQueue::default();
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        for (id, due) in [(1, 3), (2, 1), (3, 2)] {
            timers.insert(id, start + second * due);
        }
        assert_eq!(timers.earliest(), Some(start + second));
        assert_eq!(timers.pop_due(start), None);
        assert_eq!([timers.pop_due(start + second * 2), timers.pop_due(start + second * 2)], [Some(2), Some(3)]);
        assert_eq!((timers.pop_due(start + second * 2), timers.earliest()), (None, Some(start + second * 3)));
    }

    #[test]
    fn retain_removes_disconnected_clients() {
        let mut timers = TimerQueue::default();
        let start = Instant::now();
        (1..=3).for_each(|id| timers.insert(id, start));
        timers.retain(|id| id == 2);
        assert_eq!((timers.len(), timers.pop_due(start), timers.pop_due(start)), (1, Some(2), None));
    }
}
