//! The changing map, and its age on arrival.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mapcast::Shutdown;
use serde::Deserialize;

/// The time between two changes.
const PERIOD: Duration = Duration::from_millis(100);

/// Padding of the map in bytes: the buffers of a client that does not read are full after some seconds.
const PADDING: usize = 2048;

/// The part of the map that a client needs.
#[derive(Debug, Deserialize)]
pub struct Change {
    pub number: u64,
    /// The time of publication in microseconds since 1970.
    at: u64,
}

impl Change {
    /// Returns the time since publication.
    pub fn age(&self) -> Duration {
        Duration::from_micros(now().saturating_sub(self.at))
    }
}

/// A thread that publishes a new map to all servers ten times a second. Stopped on drop.
pub struct Changes {
    published: Arc<AtomicU64>,
    stop: Shutdown,
    /// Taken on drop.
    thread: Option<JoinHandle<()>>,
}

impl Changes {
    /// Starts to write to the servers' standard inputs.
    pub fn start(mut inputs: Vec<ChildStdin>) -> anyhow::Result<Self> {
        let (published, stop) = (Arc::new(AtomicU64::new(0)), Shutdown::new()?);
        let (count, stopped) = (Arc::clone(&published), stop.clone());
        let padding = "x".repeat(PADDING);
        let publish = move || {
            while !stopped.is_triggered() {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                let line = format!("{{\"number\":{number},\"at\":{},\"padding\":\"{padding}\"}}\n", now());
                // The clients detect a server that has exited.
                for input in &mut inputs {
                    let _ = input.write_all(line.as_bytes());
                }
                stopped.wait(PERIOD);
            }
        };
        let thread = thread::Builder::new().name("changes".to_owned()).spawn(publish)?;
        Ok(Self { published, stop, thread: Some(thread) })
    }

    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.stop.trigger();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
