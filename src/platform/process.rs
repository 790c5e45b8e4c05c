//! The resource usage of a process.

use std::time::Duration;

/// The resource usage of this process. `None`: the system does not report it (no `/proc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// The CPU time of all threads, user and system.
    pub(crate) cpu: Option<Duration>,
    pub(crate) open_descriptors: Option<u64>,
    /// The soft limit; `None` may also mean unlimited.
    pub(crate) max_descriptors: Option<u64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
}
