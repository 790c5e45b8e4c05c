//! The resource usage and the priority of this process.

use std::io;

use crate::platform::Process;

/// Returns nothing: each number would need unsafe code.
pub(crate) fn read_process() -> Process {
    Process { cpu: None, open_descriptors: None, max_descriptors: None, resident_bytes: None, threads: None }
}

/// Fails with `Unsupported`.
pub(crate) fn lower_priority(_by: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns what shows the processes that have `file` open: a program of Windows, where one can search for the file.
pub(crate) fn show_users(file: &str) -> String {
    format!("Resource Monitor, CPU, Associated Handles, {file}")
}
