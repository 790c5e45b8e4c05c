//! Times as JSON writes them: milliseconds, since 1970 where they are moments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn now_ms() -> u64 {
    since_epoch(SystemTime::now())
}

pub(super) fn since_epoch(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
