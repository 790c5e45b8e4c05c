//! The times in certificates.

use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;

/// Returns `time` as the system counts it; `None` if it is too late for that.
pub(super) fn system_time(time: UnixTime) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()))
}

/// Returns `time` as messages show it: `2100-12-31T00:00:00Z`.
pub(super) fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
