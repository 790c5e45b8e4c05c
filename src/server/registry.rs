//! The registry of connections, which notifies them of the stop and cuts them after the drain.

use std::collections::BTreeMap;
use std::net::{Shutdown as Direction, SocketAddr};
use std::sync::{Arc, Weak};

use super::peer::Peer;
use crate::connection::{ClientSender, SendCounts};
use crate::sync::{Condvar, Instant, JoinHandle, Mutex};
use crate::threads::WakeReason;

/// The connections that have a thread.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Guards the entries only. Held for one lookup or change; never while notifying, closing, joining or logging.
    entries: Mutex<Entries>,
    /// Signals that the last entry was removed.
    left: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    /// By connection id: the newest is the last.
    active: BTreeMap<u64, Entry>,
    /// The sum of the frames that closed connections were sent.
    departed: SendCounts,
    /// The last reason that all connections were notified with, Stop or Cut. New connections are notified with it too.
    announced: Option<WakeReason>,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    /// Empty until the connection is open.
    client: Weak<ClientSender>,
    /// `None` until the accept loop has stored it; the thread may end before that.
    thread: Option<JoinHandle<()>>,
}

/// A registered connection, as listed by [`Registry::list`].
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) sender: Weak<ClientSender>,
}

impl Registry {
    /// Adds a connection, before its thread is started.
    pub(super) fn enter(&self, id: u64, peer: SocketAddr) {
        self.entries.lock().active.insert(id, Entry { peer: peer.into(), client: Weak::new(), thread: None });
    }

    /// Returns the sum of closed connections' counts and the registered connections, newest last, read under one lock.
    pub(super) fn list(&self) -> (SendCounts, Vec<Registered>) {
        let entries = self.entries.lock();
        let listed =
            |(id, entry): (&u64, &Entry)| Registered { id: *id, peer: entry.peer.addr(), sender: entry.client.clone() };
        (entries.departed, entries.active.iter().map(listed).collect())
    }

    /// Stores the thread's handle until the connection is removed. Returns it if that has happened already.
    pub(super) fn keep_thread(&self, id: u64, thread: JoinHandle<()>) -> Option<JoinHandle<()>> {
        match self.entries.lock().active.get_mut(&id) {
            Some(entry) => {
                entry.thread = Some(thread);
                None
            }
            None => Some(thread),
        }
    }

    /// Stores the connection's sender, to notify or cut it later; does so at once if the others already were.
    pub(super) fn keep_client(&self, id: u64, client: &Arc<ClientSender>) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.active.get_mut(&id) {
            entry.client = Arc::downgrade(client);
        }
        let announced = entries.announced;
        drop(entries);
        if let Some(reason) = announced {
            notify_or_cut(client, reason);
        }
    }

    /// Removes a connection and adds its counts. Returns its thread's handle, unless the accept loop has not stored it yet.
    pub(super) fn leave(&self, id: u64, sent: SendCounts) -> Option<JoinHandle<()>> {
        let mut entries = self.entries.lock();
        entries.departed += sent;
        let entry = entries.active.remove(&id);
        if entries.active.is_empty() {
            self.left.notify_all();
        }
        entry.and_then(|entry| entry.thread)
    }

    /// Notifies every connection, and every later one, of the stop.
    pub(super) fn notify_stop(&self) {
        self.announce(WakeReason::Stop);
    }

    /// Cuts every remaining connection, and every later one, whatever it waits for. Returns their number without the later ones.
    pub(super) fn cut(&self) -> usize {
        self.announce(WakeReason::Cut)
    }

    fn announce(&self, reason: WakeReason) -> usize {
        let mut entries = self.entries.lock();
        entries.announced = Some(reason);
        let clients: Vec<_> = entries.active.values().map(|entry| entry.client.clone()).collect();
        drop(entries);
        // Skips connections that have ended in the meantime; `keep_client` notifies those that are not open yet.
        clients.iter().filter_map(Weak::upgrade).for_each(|client| notify_or_cut(&client, reason));
        clients.len()
    }

    /// Waits until every connection is removed or `deadline` has passed. Returns true if and only if all are removed.
    pub(super) fn wait_empty(&self, deadline: Option<Instant>) -> bool {
        self.left.wait_while(self.entries.lock(), deadline, |entries| !entries.active.is_empty()).active.is_empty()
    }
}

/// Notifies the connection's thread, and shuts its socket down if `reason` is the cut.
fn notify_or_cut(client: &ClientSender, reason: WakeReason) {
    client.notifier().notify(reason);
    if reason == WakeReason::Cut {
        // Fails only if the peer has disconnected, which wakes the thread as well.
        let _ = client.socket().tcp().shutdown(Direction::Both);
    }
}
