//! What a follower says while it has received no map.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use mapcast::client::{Connectivity, Follower, LossCause};

use crate::refusal;

/// How long a follower waits in silence: 3 s. A server that has a map sends it at once.
const SILENCE: Duration = Duration::from_secs(3);

/// Says once on standard error what a follower waits for if no map comes within 3 s, and once why a server may have
/// closed a connection before any map. Says nothing after the first map.
#[derive(Debug)]
pub(crate) struct FirstMap {
    state: Arc<State>,
    /// Dropped by the first map, which ends the thread that waits.
    waits: RefCell<Option<Sender<()>>>,
}

#[derive(Debug)]
struct State {
    address: String,
    is_encrypted: bool,
    has_map: AtomicBool,
    is_connected: AtomicBool,
    /// Whether a lost connection or a failed attempt is in the log, which says what the follower waits for.
    has_reported: AtomicBool,
}

impl FirstMap {
    /// Observes `follower`, which follows `address`. Without a thread, which only a system at its limit refuses, it does
    /// not say what the follower waits for.
    pub(crate) fn observe(follower: &mut Follower, address: &str, is_encrypted: bool) -> Self {
        let state = Arc::new(State {
            address: address.to_owned(),
            is_encrypted,
            has_map: AtomicBool::new(false),
            is_connected: AtomicBool::new(false),
            has_reported: AtomicBool::new(false),
        });
        let (waits, ended) = mpsc::channel();
        let of_thread = Arc::clone(&state);
        let wait = move || {
            if ended.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                of_thread.say_what_is_awaited();
            }
        };
        // The thread ends with the process at the latest.
        let started = thread::Builder::new().name("first-map".to_owned()).spawn(wait);
        let of_observer = Arc::clone(&state);
        let mut has_explained = false;
        follower.on_connectivity(move |news| of_observer.observe(&news, &mut has_explained));
        Self { state, waits: RefCell::new(started.is_ok().then_some(waits)) }
    }

    /// Records that a map has come: nothing more is said.
    pub(crate) fn came(&self) {
        if !self.state.has_map.swap(true, Ordering::SeqCst) {
            drop(self.waits.take());
        }
    }

    /// Says why the server may have closed its only connection, if that was before any map.
    pub(crate) fn explain_end(&self) {
        if !self.state.has_map.load(Ordering::SeqCst) {
            self.state.explain();
        }
    }
}

impl State {
    fn say_what_is_awaited(&self) {
        let flag = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        let (address, seconds) = (&self.address, SILENCE.as_secs());
        if flag(&self.has_map) || flag(&self.has_reported) {
            return;
        }
        if !flag(&self.is_connected) {
            return log::warn!("not connected to {address} after {seconds}s; still trying");
        }
        let tls = if self.is_encrypted { "" } else { "need --tls, " };
        log::warn!(
            "connected to {address}, and no map after {seconds}s; still waiting: the server may {tls}be full, have no map \
             yet, or have its map on another port"
        );
    }

    fn observe(&self, news: &Connectivity, has_explained: &mut bool) {
        let was_connected = self.is_connected.swap(matches!(news, Connectivity::Connected { .. }), Ordering::SeqCst);
        if let Connectivity::Lost { cause, .. } = news {
            self.has_reported.store(true, Ordering::SeqCst);
            let is_closed = matches!(cause, LossCause::Closed | LossCause::Failed);
            if was_connected && is_closed && !*has_explained && !self.has_map.load(Ordering::SeqCst) {
                *has_explained = true;
                self.explain();
            }
        }
    }

    fn explain(&self) {
        log::warn!("{}", refusal::text(&self.address, self.is_encrypted));
    }
}
