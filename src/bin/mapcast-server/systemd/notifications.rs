//! Notifications to the service manager: datagrams of `NAME=value` lines.

use std::fmt;
use std::time::Duration;

/// A notification; `sd_notify`(3) defines each one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notification<'a> {
    Ready,
    Stopping,
    /// One line for people.
    Status(&'a str),
    Watchdog,
    /// The current state may take this long.
    ExtendTimeout(Duration),
}

impl fmt::Display for Notification<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1"),
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Status(text) => write!(f, "STATUS={text}"),
            Self::Watchdog => f.write_str("WATCHDOG=1"),
            Self::ExtendTimeout(timeout) => write!(f, "EXTEND_TIMEOUT_USEC={}", timeout.as_micros()),
        }
    }
}
