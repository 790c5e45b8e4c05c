//! The limits of the system on this process: Windows has none that it reports.

use crate::platform::Limits;

/// Returns no limits.
pub(crate) fn read_limits() -> Limits {
    Limits::default()
}

/// Returns `None`: the number of sockets is not limited.
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    None
}
