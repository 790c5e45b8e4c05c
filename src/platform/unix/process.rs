//! The resource usage and the priority of this process.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, getpriority_process, getrlimit, setpriority_process};
use rustix::time::{ClockId, clock_gettime};

use crate::platform::Process;

/// Reads the current usage.
pub(crate) fn read_process() -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // proc_pid_status(5): `VmRSS:	    1234 kB`
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Process {
        cpu: Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok(),
        open_descriptors: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
        max_descriptors: getrlimit(Resource::Nofile).current,
        resident_bytes: field("VmRSS").map(|kib| kib * 1024),
        threads: field("Threads"),
    }
}

/// Returns what shows the processes that have `file` open: a command.
pub(crate) fn show_users(file: &str) -> String {
    format!("`fuser {file}`")
}

/// The maximum niceness (setpriority(2)).
const NICEST: i32 = 19;

/// Raises the niceness of the calling thread, and of threads that it starts later, by `by`, to 19 at most. Only on Linux
/// does a single thread have a priority of its own (setpriority(2), BUGS).
///
/// # Errors
/// If the system refuses, or is not Linux.
pub(crate) fn lower_priority(by: i32) -> io::Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let nice = getpriority_process(None)?.saturating_add(by).min(NICEST);
    Ok(setpriority_process(None, nice)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_reports_threads_memory_and_descriptors() {
        let process = read_process();
        assert!(process.threads.is_some_and(|threads| threads >= 1));
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(process.open_descriptors.is_some_and(|open| open >= 3));
        assert!(process.cpu > Some(Duration::ZERO));
    }
}
