//! The origins of maps: lines on a server's standard input, and a writer over HTTP.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Map, Value};

use crate::http::{self, HttpClient};
use crate::support::map::{self, Published};

/// The time between two changes over HTTP, or longer if acknowledgements take longer.
const WRITE_PERIOD: Duration = Duration::from_millis(50);

/// How long the writer waits for an acknowledgement before it retries.
const ACKNOWLEDGE: Duration = Duration::from_secs(8);

/// Bytes of padding in a map that is written over HTTP.
const PADDING: usize = 1024;

/// A thread that writes maps to a server's standard input.
#[derive(Debug)]
pub struct Lines {
    period: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Lines {
    /// Writes a map with `len` bytes of padding every `period`, until this is dropped or the server exits.
    pub fn start(
        mut input: ChildStdin,
        published: &Arc<Published>,
        len: usize,
        period: Duration,
    ) -> anyhow::Result<Self> {
        let lines = Self { period: Arc::new(AtomicU64::new(millis(period))), stopped: Arc::default() };
        let (published, period) = (Arc::clone(published), Arc::clone(&lines.period));
        let stopped = Arc::clone(&lines.stopped);
        let mut write = move || -> io::Result<()> {
            let mut last = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let number = published.newest().map_or(0, |number| number + 1);
                let mut line = serde_json::to_vec(&map::entries(number, len))?;
                line.push(b'\n');
                published.record(number);
                input.write_all(&line)?;
                // In short steps, because the period may become shorter meanwhile.
                let due = || last + Duration::from_millis(period.load(Ordering::Relaxed));
                while Instant::now() < due() && !stopped.load(Ordering::Relaxed) {
                    thread::park_timeout((due() - Instant::now()).min(Duration::from_millis(50)));
                }
                last = Instant::now();
            }
            Ok(())
        };
        // Fails when the server has exited, which is detected elsewhere.
        thread::Builder::new().name("lines".to_owned()).spawn(move || write().unwrap_or_default())?;
        Ok(lines)
    }

    /// Writes a map every `period` from now on.
    pub fn pace(&self, period: Duration) {
        self.period.store(millis(period), Ordering::Relaxed);
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The results of the writer since the last call.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    pub acknowledged: u64,
    /// Attempts without an acknowledgement. Each is retried.
    pub failed: u64,
    /// The last failure.
    pub last_failure: String,
    /// The longest time without an acknowledgement.
    pub longest: Duration,
}

#[derive(Debug)]
struct Progress {
    writes: Writes,
    last: Instant,
}

/// A thread that changes a map over HTTP with a token. It retries every change until it is acknowledged.
#[derive(Debug)]
pub struct Writer {
    page: SocketAddr,
    token: PathBuf,
    published: Arc<Published>,
    /// Locked for one change.
    progress: Arc<Mutex<Progress>>,
    stopped: Arc<AtomicBool>,
}

impl Writer {
    /// Replaces the whole map by map 0, and starts to change it. `token` is the file with the token.
    pub fn start(page: SocketAddr, token: PathBuf, published: &Arc<Published>) -> anyhow::Result<Self> {
        let secret = fs::read_to_string(&token)?;
        let body = serde_json::to_vec(&map::entries(0, PADDING))?;
        let answer = http::request(page, &http::send("PUT", "/map", secret.trim(), &body), ACKNOWLEDGE)?;
        anyhow::ensure!(answer.status == 200, "the request with the first map returned {}", answer.status);
        published.record(0);
        let progress = Progress { writes: Writes::default(), last: Instant::now() };
        let writer = Self {
            page,
            token,
            published: Arc::clone(published),
            progress: Arc::new(Mutex::new(progress)),
            stopped: Arc::default(),
        };
        let (published, progress) = (Arc::clone(published), Arc::clone(&writer.progress));
        let stopped = Arc::clone(&writer.stopped);
        let write = move || write(page, secret.trim(), &published, &progress, &stopped);
        thread::Builder::new().name("writer".to_owned()).spawn(write)?;
        Ok(writer)
    }

    /// Returns the file with the token.
    pub fn token(&self) -> &PathBuf {
        &self.token
    }

    /// Returns the newest change that the server has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.published.newest().unwrap_or(0)
    }

    /// Waits at most `patience` until the server acknowledges another change. Returns how long it took; `None` if there was no
    /// acknowledgement.
    pub fn wait(&self, patience: Duration) -> Option<Duration> {
        let (began, before) = (Instant::now(), self.acknowledged());
        while self.acknowledged() == before {
            if began.elapsed() > patience {
                return None;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        Some(began.elapsed())
    }

    /// Sends a change with a wrong token, which must be answered with 401. Returns the status.
    pub fn ask_without_token(&self, patience: Duration) -> io::Result<u16> {
        let request = http::send("PATCH", "/map", "wrong", b"{}");
        http::request(self.page, &request, patience).map(|answer| answer.status)
    }

    /// Returns the results since the last call.
    pub fn take(&self) -> Writes {
        let mut progress = lock(&self.progress);
        let mut writes = std::mem::take(&mut progress.writes);
        writes.longest = writes.longest.max(progress.last.elapsed());
        progress.last = Instant::now();
        writes
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn write(page: SocketAddr, token: &str, published: &Published, progress: &Mutex<Progress>, stopped: &AtomicBool) {
    let mut client = HttpClient::new(page);
    while !stopped.load(Ordering::Relaxed) {
        let number = published.newest().map_or(0, |number| number + 1);
        let began = Instant::now();
        let body = serde_json::to_vec(&map::patch(number, PADDING)).unwrap_or_default();
        let failure = match client.ask(&http::send("PATCH", "/map", token, &body), ACKNOWLEDGE) {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("returned {}", answer.status)),
            Err(error) => Some(error.to_string()),
        };
        if failure.is_none() {
            published.record(number);
        }
        {
            let mut progress = lock(progress);
            if let Some(failure) = failure {
                progress.writes.failed += 1;
                progress.writes.last_failure = failure;
            } else {
                progress.writes.acknowledged += 1;
                progress.writes.longest = progress.writes.longest.max(progress.last.elapsed());
                progress.last = Instant::now();
            }
        }
        thread::park_timeout(WRITE_PERIOD.saturating_sub(began.elapsed()));
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the number of the complete map in the state file `path`.
///
/// # Errors
/// If it is not a regular file (reading a FIFO would never end), or its map is not complete.
pub fn kept(path: &std::path::Path) -> anyhow::Result<u64> {
    let kind = fs::metadata(path).with_context(|| path.display().to_string())?.file_type();
    anyhow::ensure!(kind.is_file(), "{} is not a file: {kind:?}", path.display());
    let map: Map<String, Value> = serde_json::from_slice(&fs::read(path)?)?;
    map::verify(&serde_json::to_vec(&map)?)
}
