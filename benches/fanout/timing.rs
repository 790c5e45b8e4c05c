//! Time limits that the scenarios share, and conversions of durations.

use std::time::Duration;

/// The longest time for the last client to connect, for a change to reach every client, and for a server to exit.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The longest time that the bench waits for events before it checks a deadline.
pub const TICK: Duration = Duration::from_millis(5);

/// Returns `duration` in microseconds.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Returns `duration` in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
