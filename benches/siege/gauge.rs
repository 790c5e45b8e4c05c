//! Resource usage of a process (proc(5)): now, and the peaks since the last reset.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// The time between two samples of the peaks: the peak number of threads in a storm lasts for seconds.
const PERIOD: Duration = Duration::from_millis(10);

/// The resource usage of a process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Resident memory, in KiB.
    pub resident: u64,
    pub threads: u64,
    pub descriptors: u64,
    pub maps: u64,
}

impl Reading {
    /// Reads the usage of process `pid`. Fails if it has exited.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let (threads, resident) = status_of(pid).context("the server has exited")?;
        Ok(Self {
            resident,
            threads,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            maps: fs::read_to_string(format!("/proc/{pid}/maps"))?.lines().count() as u64,
        })
    }
}

/// Returns the threads of a process and its resident memory in KiB; `None` if it has exited.
fn status_of(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
    };
    Some((field("Threads:")?, field("VmRSS:")?))
}

/// The peak usage of one process.
#[derive(Debug)]
pub struct Gauge {
    pub name: &'static str,
    pid: u32,
    threads: AtomicU64,
    resident: AtomicU64,
    /// The peak since the start.
    resident_ever: AtomicU64,
}

impl Gauge {
    /// Returns the peak number of threads since [`reset`](Self::reset).
    pub fn threads(&self) -> u64 {
        self.threads.load(Ordering::Relaxed)
    }

    /// Returns the peak resident memory in KiB since [`reset`](Self::reset).
    pub fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    /// Returns the peak resident memory in KiB since the start.
    pub fn resident_ever(&self) -> u64 {
        self.resident_ever.load(Ordering::Relaxed)
    }

    pub fn reset(&self) {
        self.threads.store(0, Ordering::Relaxed);
        self.resident.store(0, Ordering::Relaxed);
        self.sample();
    }

    fn sample(&self) {
        if let Some((threads, resident)) = status_of(self.pid) {
            self.threads.fetch_max(threads, Ordering::Relaxed);
            self.resident.fetch_max(resident, Ordering::Relaxed);
            self.resident_ever.fetch_max(resident, Ordering::Relaxed);
        }
    }
}

/// A thread that samples every process that still has a gauge.
#[derive(Debug, Clone, Default)]
pub struct Sampler {
    gauges: Arc<Mutex<Vec<Weak<Gauge>>>>,
}

impl Sampler {
    pub fn start() -> anyhow::Result<Self> {
        let sampler = Self::default();
        let gauges = Arc::clone(&sampler.gauges);
        let sample = move || {
            loop {
                let mut all = gauges.lock().unwrap_or_else(PoisonError::into_inner).clone();
                all.retain(|gauge| gauge.upgrade().inspect(|gauge| gauge.sample()).is_some());
                thread::park_timeout(PERIOD);
            }
        };
        thread::Builder::new().name("sampler".to_owned()).spawn(sample)?;
        Ok(sampler)
    }

    /// Starts to sample process `pid`, until the gauge is dropped.
    pub fn gauge(&self, name: &'static str, pid: u32) -> Arc<Gauge> {
        let gauge = Arc::new(Gauge {
            name,
            pid,
            threads: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            resident_ever: AtomicU64::new(0),
        });
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.retain(|gauge| gauge.strong_count() > 0);
        gauges.push(Arc::downgrade(&gauge));
        gauge
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, threads, descriptors, maps } = self;
        write!(f, "{threads} threads, {descriptors} descriptors, {maps} maps, {resident} KiB")
    }
}
