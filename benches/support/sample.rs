//! Durations kept whole, so that a percentile is one that was measured.

use std::time::Duration;

/// Measured durations, to the microsecond; those above 71 minutes count as that.
#[derive(Debug, Default)]
pub struct Sample {
    micros: Vec<u32>,
    is_sorted: bool,
}

impl Sample {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        self.micros.push(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX));
        self.is_sorted = false;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.micros.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// How many of them are shorter than `limit`.
    pub fn shorter_than(&mut self, limit: Duration) -> usize {
        self.sort();
        self.micros.partition_point(|micros| u128::from(*micros) < limit.as_micros())
    }

    /// The smallest duration that `percent` of them do not exceed (nearest rank); `None` if and only if there are none.
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
