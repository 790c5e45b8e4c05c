//! Samples of durations. All values are kept, so that a percentile is a measured value.

use std::time::Duration;

/// Measured durations in whole microseconds. Durations above 71 minutes count as 71 minutes.
#[derive(Debug, Default)]
pub struct Sample {
    micros: Vec<u32>,
    is_sorted: bool,
}

impl Sample {
    /// Adds a duration.
    pub fn add(&mut self, duration: Duration) {
        self.micros.push(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX));
        self.is_sorted = false;
    }

    /// Removes all durations.
    pub fn clear(&mut self) {
        self.micros.clear();
    }

    /// Returns the number of durations.
    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// Returns the number of durations below `limit`.
    pub fn shorter_than(&mut self, limit: Duration) -> usize {
        self.sort();
        self.micros.partition_point(|micros| u128::from(*micros) < limit.as_micros())
    }

    /// Returns the smallest duration that `percent` of all durations do not exceed (nearest rank); `None` if there are none.
    pub fn percentile(&mut self, percent: f64) -> Option<Duration> {
        self.sort();
        let last = self.micros.len().checked_sub(1)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (percent / 100.0 * self.micros.len() as f64).ceil() as usize;
        Some(Duration::from_micros(self.micros[rank.saturating_sub(1).min(last)].into()))
    }

    fn sort(&mut self) {
        if !self.is_sorted {
            self.micros.sort_unstable();
            self.is_sorted = true;
        }
    }
}
