//! A wait that is left to chance, so that a fleet does not do the same thing in the same moment.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Returns somewhere between nothing and `most`. The standard library's hash keys differ from process to process and
/// from call to call: all the chance that is needed here.
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
    fn the_whole_time_is_used_and_no_more() {
        let most = Duration::from_mins(1);
        let waits: Vec<Duration> = (0..1000).map(|_| splay(most)).collect();
        assert!(waits.iter().all(|wait| *wait <= most));
        assert!(waits.iter().any(|wait| *wait < most / 10) && waits.iter().any(|wait| *wait > most * 9 / 10));
        assert_eq!(splay(Duration::ZERO), Duration::ZERO);
        assert!(splay(Duration::MAX) <= Duration::MAX);
    }
}
