//! Which client is due for a repeat, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// When each client is due, the earliest first. A client's entry may come too early, never too late: a change that was
/// sent meanwhile has moved the repeat, which whoever takes the entry finds out.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    dues: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Schedule {
    /// Enters client `id`, due then.
    pub(super) fn enter(&mut self, id: u64, due: Instant) {
        self.dues.push(Reverse((due, id)));
    }

    /// When the next client is due; `None` if there is none.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.dues.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes the next client out, if it is due no later than `until`.
    pub(super) fn take(&mut self, until: Instant) -> Option<u64> {
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
    use std::time::Duration;

    #[test]
    fn clients_are_taken_in_the_order_in_which_they_are_due() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut schedule = Schedule::default();
        for (id, due) in [(1, 3), (2, 1), (3, 2)] {
            schedule.enter(id, start + second * due);
        }
        assert_eq!(schedule.earliest(), Some(start + second));
        assert_eq!(schedule.take(start), None);
        assert_eq!([schedule.take(start + second * 2), schedule.take(start + second * 2)], [Some(2), Some(3)]);
        assert_eq!((schedule.take(start + second * 2), schedule.earliest()), (None, Some(start + second * 3)));
    }

    #[test]
    fn whoever_has_gone_is_struck_out() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        (1..=3).for_each(|id| schedule.enter(id, start));
        schedule.retain(|id| id == 2);
        assert_eq!((schedule.len(), schedule.take(start), schedule.take(start)), (1, Some(2), None));
    }
}
