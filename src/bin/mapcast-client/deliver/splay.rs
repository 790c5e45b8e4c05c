//! Random delays, so that many clients do not act at the same moment.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Returns a random duration from zero to `most`. The randomness comes from the standard library's hash keys, which
/// differ with each process and each call.
pub(super) fn splay(most: Duration) -> Duration {
    let bits = RandomState::new().build_hasher().finish();
    // A u32 is exact in an f64.
    let fraction = f64::from((bits >> 32) as u32) / f64::from(u32::MAX);
    Duration::try_from_secs_f64(most.as_secs_f64() * fraction).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_range_is_used_and_not_exceeded() {
        let most = Duration::from_mins(1);
        let waits: Vec<Duration> = (0..1000).map(|_| splay(most)).collect();
        assert!(waits.iter().all(|wait| *wait <= most));
        assert!(waits.iter().any(|wait| *wait < most / 10) && waits.iter().any(|wait| *wait > most * 9 / 10));
        assert_eq!(splay(Duration::ZERO), Duration::ZERO);
        assert!(splay(Duration::MAX) <= Duration::MAX);
    }
}
