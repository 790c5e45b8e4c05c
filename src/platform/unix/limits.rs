//! The system's limits on this process, as far as it reports them.

use std::num::NonZero;
use std::path::Path;
use std::{env, fs, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::platform::Limits;

/// The address space that glibc reserves for an arena on 64 bits: `HEAP_MAX_SIZE`, and briefly as much again, to align it
/// (malloc/arena.c).
const ARENA: u64 = 64 << 20;

/// Arenas per core on 64 bits (mallopt(3), `M_ARENA_MAX`).
const ARENAS_PER_CORE: u64 = 8;

/// The most descriptors that macOS accepts as a soft limit, whatever the hard one is: `OPEN_MAX` (setrlimit(2), COMPATIBILITY).
const OPEN_MAX: u64 = 10_240;

/// Reads the current limits.
pub(crate) fn read_limits() -> Limits {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let system = [number("/proc/sys/kernel/threads-max"), number("/proc/sys/kernel/pid_max")];
    // The fourth field of /proc/loadavg is running/existing scheduling entities (proc_loadavg(5)).
    let loadavg = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let existing = loadavg.split_whitespace().nth(3).and_then(|field| field.split_once('/')?.1.parse().ok());
    let user = rustix::process::getuid();
    // Other systems count the user's processes, not threads.
    let counts_threads = cfg!(any(target_os = "linux", target_os = "android"));
    let user_threads = getrlimit(Resource::Nproc).current.filter(|_| counts_threads && !user.is_root());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // proc_pid_status(5): `VmSize:	    1234 kB`
    let bytes = |name| {
        let field = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        field.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Limits {
        descriptors: getrlimit(Resource::Nofile).current,
        user_threads,
        user_threads_used: user_threads.map_or(0, |_| threads_of(user.as_raw())),
        maps: number("/proc/sys/vm/max_map_count"),
        maps_used: fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count() as u64),
        system_threads: system.into_iter().flatten().min(),
        system_threads_used: existing.unwrap_or(0),
        group_threads: group_threads(),
        address_space: getrlimit(Resource::As).current,
        address_space_used: bytes("VmSize:") + arenas(),
        data: getrlimit(Resource::Data).current,
        data_used: bytes("VmData:"),
    }
}

/// Returns the address space that the allocator may reserve for arenas, in bytes. It reserves them as threads allocate,
/// whether or not enough is left for stacks.
fn arenas() -> u64 {
    if !cfg!(all(target_env = "gnu", target_pointer_width = "64")) {
        return 0;
    }
    let most = ARENAS_PER_CORE * thread::available_parallelism().map_or(1, NonZero::get) as u64;
    // The first arena is the program's own heap. 0 is no limit (mallopt(3)).
    let chosen = env::var("MALLOC_ARENA_MAX").ok().and_then(|max| max.parse::<u64>().ok()).filter(|max| *max > 0);
    let arenas = chosen.unwrap_or(most).saturating_sub(1);
    if arenas == 0 { 0 } else { (arenas + 1).saturating_mul(ARENA) }
}

/// Returns the number of threads of all processes whose real user is `user`, as `RLIMIT_NPROC` counts them (getrlimit(2)).
fn threads_of(user: u32) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    processes
        // Skips entries that are not processes, and processes that have ended in the meantime.
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("status")).ok())
        .filter_map(|status| {
            let field = |name| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
            (field("Uid:")?.parse() == Ok(user)).then(|| field("Threads:")?.parse::<u64>().ok())?
        })
        .sum()
}

/// Returns how many threads this process's control groups, version 1 or 2, may still start (cgroups(7)).
fn group_threads() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            match (fields.next()?, fields.next()?, fields.next()?) {
                ("0", "", path) => room_up_from(Path::new("/sys/fs/cgroup"), path),
                (_, "pids", path) => room_up_from(Path::new("/sys/fs/cgroup/pids"), path),
                _ => None,
            }
        })
        .min()
}

/// Returns the smallest number of free threads from the group at `path` up to `root`; the root itself has no limit.
fn room_up_from(root: &Path, path: &str) -> Option<u64> {
    let group = root.join(path.trim_start_matches('/'));
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    group
        .ancestors()
        .take_while(|group| *group != root)
        .filter_map(|group| {
            let max = number(&group.join("pids.max"))?;
            Some(max.saturating_sub(number(&group.join("pids.current")).unwrap_or(0)))
        })
        .min()
}

/// Raises the soft limit on descriptors to the hard one. Returns the resulting limit; `None` is no limit.
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = raised(limit.current, limit.maximum, cfg!(target_vendor = "apple").then_some(OPEN_MAX));
    if limit.current != raised {
        // A supervisor may forbid it; the old limit then applies.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: raised, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current
}

/// Returns the soft limit above `current` that the hard limit `maximum` permits, and the system, which accepts at most `accepted`.
/// `None` is no limit.
fn raised(current: Option<u64>, maximum: Option<u64>, accepted: Option<u64>) -> Option<u64> {
    let most = maximum.into_iter().chain(accepted).min();
    Some(current?.max(most?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_as_far_as_the_system_accepts() {
        for (current, maximum, accepted, wanted) in [
            (Some(1024), Some(20_000), None, Some(20_000)),
            (Some(1024), None, None, None),
            (None, None, None, None),
            (Some(256), None, Some(OPEN_MAX), Some(OPEN_MAX)),
            (Some(256), Some(4096), Some(OPEN_MAX), Some(4096)),
            (Some(20_000), None, Some(OPEN_MAX), Some(20_000)),
            (None, None, Some(OPEN_MAX), None),
        ] {
            assert_eq!(raised(current, maximum, accepted), wanted, "{current:?} {maximum:?} {accepted:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_reports_its_limits() {
        let limits = read_limits();
        assert!(limits.maps.is_some_and(|maps| maps > limits.maps_used) && limits.maps_used > 10, "{limits:?}");
        assert!(limits.system_threads.is_some_and(|threads| threads > limits.system_threads_used), "{limits:?}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_threads_of_a_user_include_those_of_this_process() {
        let held = std::sync::Mutex::new(());
        let guard = held.lock();
        thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| drop(held.lock()));
            }
            assert!(threads_of(rustix::process::getuid().as_raw()) >= 6);
            drop(guard);
        });
        assert_eq!(threads_of(u32::MAX - 1), 0);
    }

    #[test]
    fn the_tightest_control_group_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("outer/inner");
        fs::create_dir_all(&inner).unwrap();
        let write = |path: &Path, max: &str, current: &str| {
            fs::write(path.join("pids.max"), max).unwrap();
            fs::write(path.join("pids.current"), current).unwrap();
        };
        write(&inner, "max\n", "5\n");
        assert_eq!(room_up_from(root.path(), "/outer/inner"), None);
        write(&root.path().join("outer"), "100\n", "40\n");
        assert_eq!(room_up_from(root.path(), "/outer/inner"), Some(60));
        write(&inner, "50\n", "20\n");
        assert_eq!(room_up_from(root.path(), "/outer/inner"), Some(30));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_raised_descriptor_limit_is_the_hard_limit() {
        assert_eq!(raise_descriptor_limit(), getrlimit(Resource::Nofile).maximum);
    }
}
