//! The limits of the system on a process.

/// Limits on threads, descriptors and memory. `None`: unlimited, or not reported (no `/proc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// Descriptors that this process may open (`RLIMIT_NOFILE`, soft).
    pub(crate) descriptors: Option<u64>,
    /// Threads that this user may have (`RLIMIT_NPROC`, soft); root has no such limit (getrlimit(2)).
    pub(crate) user_threads: Option<u64>,
    /// Threads that this user has; not read without a limit.
    pub(crate) user_threads_used: u64,
    /// Memory maps that this process may have (`vm.max_map_count`).
    pub(crate) maps: Option<u64>,
    /// Memory maps in use.
    pub(crate) maps_used: u64,
    /// Threads that the whole system may have (`kernel.threads-max` and `kernel.pid_max`, the smaller).
    pub(crate) system_threads: Option<u64>,
    /// Threads in use.
    pub(crate) system_threads_used: u64,
    /// Threads that the control group may still start: the minimum of `pids.max` less `pids.current` over its ancestors.
    pub(crate) group_threads: Option<u64>,
    /// Bytes of address space that this process may have (`RLIMIT_AS`, soft).
    pub(crate) address_space: Option<u64>,
    /// Bytes of address space in use, plus those that the allocator may reserve for arenas.
    pub(crate) address_space_used: u64,
    /// Bytes of writable private memory that this process may have (`RLIMIT_DATA`, soft).
    pub(crate) data: Option<u64>,
    /// Bytes of it in use.
    pub(crate) data_used: u64,
}
