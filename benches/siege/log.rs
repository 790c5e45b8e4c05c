//! The log of a server: a pipe from its standard error, whose reading can be paused.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::ChildStderr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use rustix::pipe::fcntl_setpipe_size;

/// The log of one process.
#[derive(Debug)]
pub struct Log {
    name: &'static str,
    pipe: File,
    is_listening: AtomicBool,
    /// The limit on connections in the log; 0 before it was logged.
    allowed: AtomicU64,
    lines: AtomicU64,
    bytes: AtomicU64,
    panics: AtomicU64,
    /// The last line, for a server that does not start. Locked for one change.
    last: Mutex<String>,
    /// True while reading is paused. Locked for one change.
    is_paused: Mutex<bool>,
    resumed: Condvar,
}

impl Log {
    /// Reads `stderr` on a new thread until its end.
    pub fn follow(name: &'static str, stderr: ChildStderr) -> anyhow::Result<Arc<Self>> {
        let log = Arc::new(Self {
            name,
            pipe: File::from(OwnedFd::from(stderr)),
            is_listening: AtomicBool::new(false),
            allowed: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            last: Mutex::default(),
            is_paused: Mutex::default(),
            resumed: Condvar::new(),
        });
        let reader = Arc::clone(&log);
        thread::Builder::new().name(format!("log of {name}")).spawn(move || reader.read())?;
        Ok(log)
    }

    /// Returns true as soon as the server has logged that it listens.
    pub fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    /// Returns the limit on connections in the log; `None` before it was logged.
    pub fn allowed(&self) -> Option<u64> {
        Some(self.allowed.load(Ordering::Relaxed)).filter(|allowed| *allowed > 0)
    }

    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the number of lines that contain `panicked`.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub fn last(&self) -> String {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops reading, and shrinks the pipe to the minimum, one page (`F_SETPIPE_SZ`, fcntl(2)).
    pub fn pause(&self) {
        *self.is_paused.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // Fails while the pipe holds more than a page; then it is full sooner.
        let _ = fcntl_setpipe_size(&self.pipe, 4096);
    }

    /// Resumes reading.
    pub fn resume(&self) {
        *self.is_paused.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.resumed.notify_all();
        let _ = fcntl_setpipe_size(&self.pipe, 1 << 16);
    }

    fn read(&self) {
        let (mut chunk, mut line) = (vec![0; 1 << 16], Vec::new());
        loop {
            let paused = self.is_paused.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.resumed.wait_while(paused, |is_paused| *is_paused));
            let Ok(read) = (&self.pipe).read(&mut chunk) else { return };
            if read == 0 {
                return;
            }
            self.bytes.fetch_add(read as u64, Ordering::Relaxed);
            for part in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    self.take(&String::from_utf8_lossy(&line));
                    line.clear();
                }
            }
        }
    }

    fn take(&self, line: &str) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        if line.contains("panicked") {
            self.panics.fetch_add(1, Ordering::Relaxed);
            eprintln!("{}: {}", self.name, line.trim_end());
        }
        if !self.is_listening() {
            if let Some(allowed) = line.split(" allowed (").next().filter(|head| head.len() < line.len()) {
                let number = allowed.rsplit(' ').next().and_then(|number| number.parse().ok());
                self.allowed.store(number.unwrap_or(0), Ordering::Relaxed);
            }
            line.trim_end().clone_into(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
            self.is_listening.store(line.contains("listening on "), Ordering::Relaxed);
        }
    }
}
