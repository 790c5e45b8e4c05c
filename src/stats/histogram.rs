//! A histogram of durations.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// Counts durations in buckets, and sums them.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// Ascending.
    bounds: &'static [Duration],
    /// Bucket `i` counts durations up to bound `i` and above the previous bound; the last one those above all bounds.
    buckets: Box<[AtomicU64]>,
    micros: AtomicU64,
}

/// The counts of a histogram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// For each bound, the number of durations up to it; `None` is the unbounded total.
    pub(crate) cumulated: Vec<(Option<Duration>, u64)>,
    /// The sum of all durations.
    pub(crate) sum: Duration,
}

impl Histogram {
    /// Returns an empty histogram. `bounds` must be ascending.
    pub(crate) fn new(bounds: &'static [Duration]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, micros: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub(crate) fn observe(&self, duration: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(duration.as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the counts. They are not read atomically: each number is exact on its own.
    pub(crate) fn tally(&self) -> Tally {
        let sum = Duration::from_micros(self.micros.load(Ordering::Relaxed));
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        let cumulated = bounds.zip(&self.buckets).scan(0, |sum, (bound, bucket)| {
            *sum += bucket.load(Ordering::Relaxed);
            Some((bound, *sum))
        });
        Tally { cumulated: cumulated.collect(), sum }
    }
}

impl Tally {
    /// The number of durations.
    pub(crate) fn count(&self) -> u64 {
        self.cumulated.last().map_or(0, |(_, count)| *count)
    }

    /// Adds `count` durations of zero.
    pub(crate) fn add_instant(&mut self, count: u64) {
        self.cumulated.iter_mut().for_each(|(_, cumulated)| *cumulated += count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[Duration] = &[Duration::from_secs(1), Duration::from_secs(10)];

    #[test]
    fn durations_are_counted_up_to_each_bound() {
        let histogram = Histogram::new(BOUNDS);
        for seconds in [0, 1, 2, 100] {
            histogram.observe(Duration::from_secs(seconds));
        }
        let mut tally = histogram.tally();
        let cumulated = [(Some(BOUNDS[0]), 2), (Some(BOUNDS[1]), 3), (None, 4)];
        assert_eq!(tally, Tally { cumulated: cumulated.to_vec(), sum: Duration::from_secs(103) });
        tally.add_instant(5);
        assert_eq!((tally.cumulated[0].1, tally.count(), tally.sum), (7, 9, Duration::from_secs(103)));
    }
}
