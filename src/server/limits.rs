//! The number of clients that this machine can hold, and the system limit that determines it.

use std::fmt;

use crate::platform::{self, Limits};

/// Descriptors reserved for standard streams, listeners, pipes and the source's file: 32, as in Redis.
const SPARE_DESCRIPTORS: u64 = 32;

/// Threads reserved for other purposes than connections: 32. The table of threads in `docs/design.md` has 24 at most.
const SPARE_THREADS: u64 = 32;

/// Memory maps of one Rust thread: stack, guard, signal stack, guard (measured).
const MAPS_PER_THREAD: u64 = 4;

/// Memory maps reserved for other purposes than the stacks of connections: 3000. Without a map for its signal stack a new
/// thread aborts the process (rust-lang/rust#78497), so this must suffice for all of these together: 200 for the program and
/// its libraries; 128 for the threads above; 640 for stacks that glibc caches for later threads (40 MiB, two maps for each
/// 128 KiB); 1,000 for buffers above 128 KiB, each a map of its own (mallopt(3), `M_MMAP_THRESHOLD`).
const SPARE_MAPS: u64 = 3000;

/// Address space and writable memory of one connection: 1 MiB, for a stack of up to 512 KiB, its guard, the signal stack
/// and heap allocations.
const BYTES_PER_CLIENT: u64 = 1 << 20;

/// Address space and writable memory reserved for the rest: 128 MiB; the stacks of the threads above take half of it.
const SPARE_BYTES: u64 = 128 << 20;

/// The system limit that determines the number of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// `RLIMIT_NOFILE`: one descriptor per client.
    Descriptors(u64),
    /// `vm.max_map_count`: four maps per thread.
    Maps(u64),
    /// `RLIMIT_NPROC`.
    UserThreads(u64),
    /// `kernel.threads-max` or `kernel.pid_max`.
    SystemThreads(u64),
    /// `pids.max` of the control group: the number of threads that it may still start.
    GroupThreads(u64),
    /// `RLIMIT_AS`, in bytes.
    AddressSpace(u64),
    /// `RLIMIT_DATA`, in bytes.
    Data(u64),
    /// The system reports no limit.
    Unknown,
}

impl Limit {
    /// The system's name of the limit; empty for `Unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Descriptors(_) => "RLIMIT_NOFILE",
            Self::Maps(_) => "vm.max_map_count",
            Self::UserThreads(_) => "RLIMIT_NPROC",
            Self::SystemThreads(_) => "kernel.threads-max, kernel.pid_max",
            Self::GroupThreads(_) => "pids.max",
            Self::AddressSpace(_) => "RLIMIT_AS",
            Self::Data(_) => "RLIMIT_DATA",
            Self::Unknown => "",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptors(limit) => write!(f, "open files are limited to {limit} (raise: ulimit -n, LimitNOFILE=)"),
            Self::Maps(limit) => {
                write!(f, "memory maps are limited to {limit}, 4 per thread (raise: sysctl vm.max_map_count)")
            }
            Self::UserThreads(limit) => {
                write!(f, "this user's threads are limited to {limit} (raise: ulimit -u, LimitNPROC=)")
            }
            Self::SystemThreads(limit) => {
                write!(
                    f,
                    "the system's threads are limited to {limit} (raise: sysctl kernel.threads-max, kernel.pid_max)"
                )
            }
            Self::GroupThreads(limit) => {
                write!(f, "the control group may start {limit} more threads (raise: pids.max, TasksMax=)")
            }
            Self::AddressSpace(limit) => write!(
                f,
                "the address space is limited to {} MiB (raise: ulimit -v, LimitAS=; or set MALLOC_ARENA_MAX=1)",
                limit >> 20
            ),
            Self::Data(limit) => {
                write!(f, "the data segment is limited to {} MiB (raise: ulimit -d, LimitDATA=)", limit >> 20)
            }
            Self::Unknown => f.write_str("the system reports no limit"),
        }
    }
}

/// The number of clients that this machine can hold now, each with a thread and a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Maximum number of clients at once.
    pub clients: u64,
    /// Descriptors for connections, including those that wait for a permit; `u64::MAX` without a limit.
    pub descriptors: u64,
    /// The limit that determines `clients`.
    pub limit: Limit,
}

impl Capacity {
    /// Reads the system's limits, after raising the soft limit on descriptors to the hard one. Ignores limits that the system
    /// does not report.
    pub fn of_this_machine() -> Self {
        platform::raise_descriptor_limit();
        Self::under(&platform::read_limits())
    }

    fn under(limits: &Limits) -> Self {
        let room = |limit: u64, used: u64, each: u64| limit.saturating_sub(used) / each;
        let threads_used = limits.system_threads_used + SPARE_THREADS;
        let user_threads_used = limits.user_threads_used + SPARE_THREADS;
        let descriptors = limits.descriptors.map_or(u64::MAX, |limit| room(limit, SPARE_DESCRIPTORS, 1));
        let (clients, limit) = [
            limits.descriptors.map(|limit| (descriptors, Limit::Descriptors(limit))),
            limits.maps.map(|limit| (room(limit, limits.maps_used + SPARE_MAPS, MAPS_PER_THREAD), Limit::Maps(limit))),
            limits.user_threads.map(|limit| (room(limit, user_threads_used, 1), Limit::UserThreads(limit))),
            limits.system_threads.map(|limit| (room(limit, threads_used, 1), Limit::SystemThreads(limit))),
            limits.group_threads.map(|limit| (room(limit, SPARE_THREADS, 1), Limit::GroupThreads(limit))),
            limits.address_space.map(|limit| {
                (room(limit, limits.address_space_used + SPARE_BYTES, BYTES_PER_CLIENT), Limit::AddressSpace(limit))
            }),
            limits
                .data
                .map(|limit| (room(limit, limits.data_used + SPARE_BYTES, BYTES_PER_CLIENT), Limit::Data(limit))),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(clients, _)| *clients)
        .unwrap_or((u64::MAX, Limit::Unknown));
        Self { clients, descriptors, limit }
    }
}

/// `16355 clients (vm.max_map_count)`.
impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Limit::Unknown => write!(f, "any number of clients ({})", self.limit),
            limit => write!(f, "{} clients ({})", self.clients, limit.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the limits of a common machine: 20,000 descriptors, 65,530 maps.
    fn limits() -> Limits {
        Limits {
            descriptors: Some(20_000),
            user_threads: None,
            user_threads_used: 0,
            maps: Some(65_530),
            maps_used: 30,
            system_threads: Some(32_768),
            system_threads_used: 200,
            ..Limits::default()
        }
    }

    fn fits(limits: &Limits) -> (u64, Limit) {
        let Capacity { clients, limit, .. } = Capacity::under(limits);
        (clients, limit)
    }

    #[test]
    fn the_smallest_limit_determines_the_capacity() {
        assert_eq!(fits(&limits()), (15_625, Limit::Maps(65_530)));
        let few_files = Limits { descriptors: Some(64), ..limits() };
        assert_eq!(fits(&few_files), (32, Limit::Descriptors(64)));
        let busy_user = Limits { user_threads: Some(1000), user_threads_used: 900, ..limits() };
        assert_eq!(fits(&busy_user), (100 - SPARE_THREADS, Limit::UserThreads(1000)));
        let small_group = Limits { group_threads: Some(10), ..limits() };
        assert_eq!(fits(&small_group), (0, Limit::GroupThreads(10)));
        let small_space = Limits { address_space: Some(300 << 20), address_space_used: 20 << 20, ..limits() };
        assert_eq!(fits(&small_space), (152, Limit::AddressSpace(300 << 20)));
        let small_heap = Limits { data: Some(200 << 20), data_used: 2 << 20, ..limits() };
        assert_eq!(fits(&small_heap), (70, Limit::Data(200 << 20)));
    }

    #[test]
    fn each_limits_text_says_how_to_raise_it() {
        for limit in [
            Limit::Descriptors(1),
            Limit::Maps(1),
            Limit::UserThreads(1),
            Limit::SystemThreads(1),
            Limit::GroupThreads(1),
            Limit::AddressSpace(1),
            Limit::Data(1),
        ] {
            assert!(limit.to_string().contains("raise"), "{limit}");
        }
    }

    #[test]
    fn unreported_limits_are_ignored() {
        assert_eq!(fits(&Limits::default()), (u64::MAX, Limit::Unknown));
    }

    #[test]
    fn a_capacity_shows_its_limit_by_the_systems_name() {
        let maps = Capacity { clients: 16_355, descriptors: 19_968, limit: Limit::Maps(65_530) };
        assert_eq!(maps.to_string(), "16355 clients (vm.max_map_count)");
        let unknown = Capacity { clients: u64::MAX, descriptors: u64::MAX, limit: Limit::Unknown };
        assert_eq!(unknown.to_string(), "any number of clients (the system reports no limit)");
    }

    #[test]
    fn this_machine_has_a_capacity_above_zero() {
        assert!(Capacity::of_this_machine().clients > 0);
    }
}
