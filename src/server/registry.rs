//! The connections: which to notify at the stop, and which to cut after it.

use std::collections::BTreeMap;
use std::net::{Shutdown as Direction, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::peer::Peer;
use crate::connection::{ClientSender, SendCounts};
use crate::sync::{Condvar, JoinHandle, Mutex, MutexGuard, PoisonError};
use crate::threads::WakeReason;

/// The connections that have a thread.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Guards the lists alone. Held for one lookup or change; never while a thread is notified, closing, joining or logging.
    entries: Mutex<Entries>,
    /// Tells that an entry has departed.
    left: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    /// By their numbers: the newest is the last.
    active: BTreeMap<u64, Entry>,
    /// What those who have left were sent.
    departed: SendCounts,
    /// What everyone has been announced, the stop or the cut: whoever comes later must hear it too.
    announced: Option<WakeReason>,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    /// Nobody's until the thread has come so far.
    client: Weak<ClientSender>,
    /// `None` until the accept loop has it; the thread may be quicker.
    thread: Option<JoinHandle<()>>,
}

/// A connection that is entered, as it is listed.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) sender: Weak<ClientSender>,
}

impl Registry {
    /// Enters a connection, before its thread is started.
    pub(super) fn enter(&self, id: u64, peer: SocketAddr) {
        self.lock().active.insert(id, Entry { peer: peer.into(), client: Weak::new(), thread: None });
    }

    /// What those who have left were sent, and those who are entered, the newest last, at one moment.
    pub(super) fn list(&self) -> (SendCounts, Vec<Registered>) {
        let entries = self.lock();
        let listed =
            |(id, entry): (&u64, &Entry)| Registered { id: *id, peer: entry.peer.addr(), sender: entry.client.clone() };
        (entries.departed, entries.active.iter().map(listed).collect())
    }

    /// Keeps the thread's handle until the connection leaves. Returns it if the connection has left already.
    pub(super) fn keep_thread(&self, id: u64, thread: JoinHandle<()>) -> Option<JoinHandle<()>> {
        match self.lock().active.get_mut(&id) {
            Some(entry) => {
                entry.thread = Some(thread);
                None
            }
            None => Some(thread),
        }
    }

    /// Keeps the thread's client, to notify it or cut it; does so if the others have been already.
    pub(super) fn keep_client(&self, id: u64, client: &Arc<ClientSender>) {
        let mut entries = self.lock();
        if let Some(entry) = entries.active.get_mut(&id) {
            entry.client = Arc::downgrade(client);
        }
        let announced = entries.announced;
        drop(entries);
        if let Some(reason) = announced {
            notify_or_cut(client, reason);
        }
    }

    /// Removes a connection, which was `sent` that. Returns its thread's handle, unless the accept loop has it yet to keep.
    pub(super) fn leave(&self, id: u64, sent: SendCounts) -> Option<JoinHandle<()>> {
        let mut entries = self.lock();
        entries.departed += sent;
        let entry = entries.active.remove(&id);
        if entries.active.is_empty() {
            self.left.notify_all();
        }
        entry.and_then(|entry| entry.thread)
    }

    /// Tells every connection, and every later one, that the server stops.
    pub(super) fn notify_stop(&self) {
        self.announce(WakeReason::Stop);
    }

    /// Cuts every connection that is left, in whatever it waits for, and every later one. Returns how many there were.
    pub(super) fn cut(&self) -> usize {
        self.announce(WakeReason::Cut)
    }

    fn announce(&self, reason: WakeReason) -> usize {
        let mut entries = self.lock();
        entries.announced = Some(reason);
        let clients: Vec<_> = entries.active.values().map(|entry| entry.client.clone()).collect();
        drop(entries);
        // A connection that has ended meanwhile is left out; one that is not there yet will hear it when it comes.
        clients.iter().filter_map(Weak::upgrade).for_each(|client| notify_or_cut(&client, reason));
        clients.len()
    }

    /// Waits until every connection has left, or `deadline` has passed. Returns true if and only if all have.
    pub(super) fn wait_empty(&self, deadline: Option<Instant>) -> bool {
        let mut entries = self.lock();
        while !entries.active.is_empty() {
            let Some(deadline) = deadline else {
                entries = self.left.wait(entries).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            entries = self.left.wait_timeout(entries, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notifies the client, and shuts its socket down if this is the cut.
fn notify_or_cut(client: &ClientSender, reason: WakeReason) {
    client.notifier().notify(reason);
    if reason == WakeReason::Cut {
        // It fails only if the peer has departed, which wakes the thread as well.
        let _ = client.socket().tcp().shutdown(Direction::Both);
    }
}
