//! Times that several files use.

use std::time::Duration;

/// N, the interval of every server.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The time between two changes.
pub const PERIOD: Duration = Duration::from_millis(100);

/// The longest time for the sentinels to elect another master. They retry after twice their failover time.
pub const FAILOVER: Duration = Duration::from_secs(40);

/// Returns `duration` in seconds, for a table.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
