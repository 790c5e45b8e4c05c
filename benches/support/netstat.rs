//! The kernel's counters for all connections of this network namespace.

use std::{fs, io};

/// Returns a counter of `TcpExt` in /proc/net/netstat so far, such as `TCPSynRetrans`, the retransmitted SYNs.
///
/// # Errors
/// If the system has no such counter.
pub fn tcp_counter(name: &str) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/netstat")?;
    // Two lines have the same prefix: the names, then the values.
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let value =
        lines.next().zip(lines.next()).and_then(|(names, values)| names.zip(values).find(|(found, _)| *found == name));
    value
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no {name} in /proc/net/netstat")))
}
