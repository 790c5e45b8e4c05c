//! Memory: that of a process, and that of the whole machine.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;

/// The time between two samples of the machine's memory.
const PERIOD: Duration = Duration::from_millis(100);

/// The kernel's memory has settled when two samples in a row differ by at most this many bytes.
const SMALL_DIFFERENCE: u64 = 1 << 20;

/// The longest time to wait until it has settled.
const PATIENCE: Duration = Duration::from_secs(3);

/// The number of samples of which the median counts.
const SAMPLES: usize = 5;

/// Returns the resident memory of process `pid` in bytes (`VmRSS`, proc(5)).
///
/// # Errors
/// If the process has exited.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the server has exited")?;
    kibibytes(&status, "VmRSS:").context("no VmRSS in /proc/PID/status")
}

/// The memory of the machine in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Available to programs: `MemAvailable`, and the free pages that each CPU keeps for itself.
    pub available: u64,
    /// In use, and neither a program's nor a copy of a file: the kernel's own. Other programs change it far less than `available`.
    pub kernel: u64,
}

/// Returns the memory of the machine: each figure is the median of [`SAMPLES`] samples, after the kernel's memory has settled or
/// [`PATIENCE`] has passed. `wait` waits for the given time.
///
/// # Errors
/// If `wait` fails, or the system does not report its memory.
pub fn settled(mut wait: impl FnMut(Duration) -> anyhow::Result<()>) -> anyhow::Result<Machine> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = sample()?;
    loop {
        wait(PERIOD)?;
        let before = std::mem::replace(&mut last, sample()?);
        if last.kernel.abs_diff(before.kernel) <= SMALL_DIFFERENCE || Instant::now() >= deadline {
            break;
        }
    }
    let mut samples = vec![last];
    while samples.len() < SAMPLES {
        wait(PERIOD)?;
        samples.push(sample()?);
    }
    let median = |figure: fn(&Machine) -> u64| {
        let mut values: Vec<u64> = samples.iter().map(figure).collect();
        values.sort_unstable();
        values[SAMPLES / 2]
    };
    Ok(Machine { available: median(|machine| machine.available), kernel: median(|machine| machine.kernel) })
}

/// Reads /proc/meminfo, and from /proc/zoneinfo the free pages that each CPU keeps (`count`). Linux counts these as used. After
/// processes have ended they reach hundreds of MB (measured), and the next server takes its memory from them.
fn sample() -> anyhow::Result<Machine> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let zones = fs::read_to_string("/proc/zoneinfo").context("cannot read /proc/zoneinfo")?;
    let field = |name: &str| kibibytes(&meminfo, name).with_context(|| format!("no {name} in /proc/meminfo"));
    let counts = zones.lines().filter_map(|line| line.trim().strip_prefix("count:")?.trim().parse::<u64>().ok());
    let kept = counts.sum::<u64>() * page_size()?;
    let mut kernel = field("MemTotal:")?.saturating_sub(kept);
    for other in ["MemFree:", "Buffers:", "Cached:", "AnonPages:", "SReclaimable:"] {
        kernel = kernel.saturating_sub(field(other)?);
    }
    Ok(Machine { available: field("MemAvailable:")? + kept, kernel })
}

/// Returns the size of a page in bytes.
fn page_size() -> anyhow::Result<u64> {
    let maps = fs::read_to_string("/proc/self/smaps").context("cannot read /proc/self/smaps")?;
    kibibytes(&maps, "KernelPageSize:").context("no KernelPageSize in /proc/self/smaps")
}

/// Returns the bytes in the first line `NAME: NUMBER kB` of `text`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
