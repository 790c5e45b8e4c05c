//! Which client is due for a repeat, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::sync::Instant;

/// When each client is due, the earliest first. A client's entry may come too early, never too late: a change that was
/// sent meanwhile has moved the repeat, which whoever takes the entry finds out.
#[derive(Debug)]
pub(super) struct TimerQueue {
    /// What the dues are counted from: so they take half as much room as instants.
    epoch: Instant,
    /// Nanoseconds, and the client's id.
    dues: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Default for TimerQueue {
    fn default() -> Self {
        Self { epoch: Instant::now(), dues: BinaryHeap::new() }
    }
}

impl TimerQueue {
    /// Enters client `id`, due then. One that is due after 584 years never is.
    pub(super) fn insert(&mut self, id: u64, due: Instant) {
        if let Ok(due) = u64::try_from(due.saturating_duration_since(self.epoch).as_nanos()) {
            self.dues.push(Reverse((due, id)));
        }
    }

    /// When the next client is due; `None` if there is none.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.dues.peek().and_then(|Reverse((due, _))| self.epoch.checked_add(Duration::from_nanos(*due)))
    }

    /// Takes the next client out, if it is due no later than `until`.
    pub(super) fn pop_due(&mut self, until: Instant) -> Option<u64> {
        self.earliest().filter(|due| *due <= until)?;
        self.dues.pop().map(|Reverse((_, id))| id)
    }

    /// How many entries there are, of clients that have gone too.
    pub(super) fn len(&self) -> usize {
        self.dues.len()
    }

    /// Strikes everyone out who is not here any more.
    pub(super) fn retain(&mut self, is_here: impl Fn(u64) -> bool) {
        self.dues.retain(|Reverse((_, id))| is_here(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_taken_in_the_order_in_which_they_are_due() {
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
    fn whoever_has_gone_is_struck_out() {
        let mut timers = TimerQueue::default();
        let start = Instant::now();
        (1..=3).for_each(|id| timers.insert(id, start));
        timers.retain(|id| id == 2);
        assert_eq!((timers.len(), timers.pop_due(start), timers.pop_due(start)), (1, Some(2), None));
    }
}
