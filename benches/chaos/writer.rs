//! The writer: a change of the hash every so often, at whatever Redis is the master, and what Redis itself has lost.
//!
//! Redis replicates after it has answered, so a failover may lose changes that were acknowledged, and that clients have seen.
//! Numbers are never used twice. Connected anew, the writer reads the number that the master has: the numbers between that
//! and the last that was tried are what Redis has lost. A client may go from one of these back to that one, and from none
//! else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redis::{Connection, cmd, pipe};
use serde_json::Value;

use crate::store::{Addrs, NAME};
use crate::support::map::{self, Published};

/// Bytes of padding in each map.
const PADDING: usize = 1024;

/// Changes that Redis has lost.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// The change that it still had; `None` if it had no hash.
    pub kept: Option<u64>,
    /// The last change that it may have lost.
    pub last: u64,
}

/// A master that was written to.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    pub node: usize,
    /// Its first change, and when it was acknowledged.
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
    /// Held for one change or look.
    state: Mutex<State>,
    /// True while no change is to be made. Held while one is made, which takes seconds where the master is away.
    is_paused: Mutex<bool>,
    stopped: AtomicBool,
}

/// The writer's thread.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Makes a change every `period`, and records it in `published` when it is acknowledged.
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

    /// Makes no more changes until [`resume`](Self::resume). Waits for the end of the one that is being made.
    pub fn pause(&self) {
        *lock(&self.shared.is_paused) = true;
    }

    pub fn resume(&self) {
        *lock(&self.shared.is_paused) = false;
    }

    /// The master that was written to last.
    pub fn term(&self) -> Option<Term> {
        lock(&self.shared.state).terms.last().copied()
    }

    /// How many masters there have been, one after the other.
    pub fn terms(&self) -> usize {
        lock(&self.shared.state).terms.len()
    }

    /// What Redis has lost so far.
    pub fn losses(&self) -> Vec<Loss> {
        lock(&self.shared.state).losses.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // A panic has been reported where it happened.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Loss {
    /// True if and only if this is why a client went from map `from` back to map `to`.
    pub fn explains(&self, from: u64, to: u64) -> bool {
        self.kept == Some(to) && (to + 1..=self.last).contains(&from)
    }
}

/// What the thread owns.
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
            // Those that were missed are not made up for.
            next = (next + period).max(Instant::now());
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Makes one change, at the master that the sentinels know.
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
            // As texts, which the source reads as JSON where it can.
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
