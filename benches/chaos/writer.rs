//! The writer: periodic changes of the hash at the current Redis master, and the changes that Redis has lost.
//!
//! Redis replicates after it has replied, so a failover may lose changes that were acknowledged and that clients have received.
//! Numbers are never reused. After a new connection, the writer reads the number that the master has: Redis has lost the numbers
//! after it, up to the last one that was sent. A client may return from one of the lost numbers to that number, and from no other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redis::{Connection, cmd, pipe};
use serde_json::Value;

use crate::store::{Addrs, NAME};
use crate::support::map::{self, Published};

/// The padding of each map in bytes.
const PADDING: usize = 1024;

/// Changes that Redis has lost.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// The change that Redis kept; `None` if it had no hash.
    pub kept: Option<u64>,
    /// The last change that it may have lost.
    pub last: u64,
}

/// A period in which one node was the master and was written to.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    pub node: usize,
    /// Its first change, and the time of its acknowledgement.
    pub first: u64,
    pub began: Instant,
}

#[derive(Debug, Default)]
struct State {
    terms: Vec<Term>,
    losses: Vec<Loss>,
}

#[derive(Debug)]
struct Shared {
    published: Arc<Published>,
    /// Locked for one change or query.
    state: Mutex<State>,
    /// True while paused. Locked while a change is made, which takes seconds if the master is down.
    is_paused: Mutex<bool>,
    stopped: AtomicBool,
}

/// The handle of the writer's thread.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts to make a change every `period`. Records it in `published` when it is acknowledged.
    pub fn start(addrs: Addrs, period: Duration, published: &Arc<Published>) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            published: Arc::clone(published),
            state: Mutex::default(),
            is_paused: Mutex::new(false),
            stopped: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let run = move || Session { shared: &own, addrs, connection: None, tried: None }.run(period);
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Pauses changes until [`resume`](Self::resume). Waits for the end of the current change.
    pub fn pause(&self) {
        *lock(&self.shared.is_paused) = true;
    }

    pub fn resume(&self) {
        *lock(&self.shared.is_paused) = false;
    }

    /// Returns the last term.
    pub fn term(&self) -> Option<Term> {
        lock(&self.shared.state).terms.last().copied()
    }

    /// Returns the number of terms so far.
    pub fn terms(&self) -> usize {
        lock(&self.shared.state).terms.len()
    }

    /// Returns the losses of Redis so far.
    pub fn losses(&self) -> Vec<Loss> {
        lock(&self.shared.state).losses.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // The panic was reported where it happened.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Loss {
    /// Returns true if and only if this loss explains that a client returned from map `from` to map `to`.
    pub fn explains(&self, from: u64, to: u64) -> bool {
        self.kept == Some(to) && (to + 1..=self.last).contains(&from)
    }
}

/// The state of the thread.
struct Session<'shared> {
    shared: &'shared Shared,
    addrs: Addrs,
    connection: Option<(usize, Connection)>,
    /// The last number that was sent, acknowledged or not.
    tried: Option<u64>,
}

impl Session<'_> {
    fn run(mut self, period: Duration) {
        let mut next = Instant::now();
        while !self.shared.stopped.load(Ordering::Relaxed) {
            let is_paused = lock(&self.shared.is_paused);
            if !*is_paused && self.change().is_err() {
                self.connection = None;
            }
            drop(is_paused);
            // Missed changes are not made later.
            next = (next + period).max(Instant::now());
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Makes one change at the master that the sentinels report.
    fn change(&mut self) -> anyhow::Result<()> {
        if self.connection.is_none() {
            let (node, mut connection) = self.addrs.connect_master()?;
            self.note_losses(&mut connection)?;
            self.connection = Some((node, connection));
        }
        let Some((node, connection)) = &mut self.connection else { return Ok(()) };
        let number = self.tried.map_or(0, |tried| tried + 1);
        self.tried = Some(number);
        let mut write = cmd("HSET");
        write.arg(NAME);
        for (field, value) in map::entries(number, PADDING) {
            // As strings, which the source reads as JSON if possible.
            let text = value.as_str().map_or_else(|| Value::to_string(&value), str::to_owned);
            write.arg(field).arg(text);
        }
        let mut all = pipe();
        all.atomic().add_command(write).cmd("PUBLISH").arg(format!("mapcast:{NAME}")).arg("");
        all.query::<()>(connection)?;
        self.shared.published.record(number);
        let mut state = lock(&self.shared.state);
        if state.terms.last().is_none_or(|term| term.node != *node) {
            state.terms.push(Term { node: *node, first: number, began: Instant::now() });
        }
        Ok(())
    }

    fn note_losses(&self, connection: &mut Connection) -> anyhow::Result<()> {
        let kept: Option<u64> = cmd("HGET").arg(NAME).arg("number").query(connection)?;
        if let Some(last) = self.tried.filter(|tried| kept.is_none_or(|kept| kept < *tried)) {
            lock(&self.shared.state).losses.push(Loss { kept, last });
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
