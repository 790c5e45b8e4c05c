//! The kernel's counters for all connections of this network namespace.

use std::fs;

use anyhow::Context;

/// Returns the number of retransmitted SYNs so far (`TCPSynRetrans` in /proc/net/netstat).
pub fn syn_retries() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/net/netstat")?;
    // Two lines have the same prefix: the names, then the values.
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let (names, values) = lines.next().zip(lines.next()).context("no TcpExt in /proc/net/netstat")?;
    let (_, value) = names.zip(values).find(|(name, _)| *name == "TCPSynRetrans").context("no TCPSynRetrans")?;
    Ok(value.parse()?)
}
