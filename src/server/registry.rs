//! Who is connected: whom to ring at the stop, whom to cut after it, whom to join.

use std::collections::BTreeMap;
use std::net::{Shutdown as Direction, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use super::census::Sent;
use crate::connection::{Belled, Cause, ClientOutlet};

/// The connections that have a thread, and the threads that are to be joined.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Guards the lists alone. Held for one look-up or change; never while ringing, closing, joining or logging.
    entries: Mutex<Entries>,
    /// Tells that an entry has gone.
    left: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    /// By their numbers: the newest is the last.
    active: BTreeMap<u64, Entry>,
    /// What those who have left were sent.
    gone: Sent,
    /// Threads that have left and are about to return. The next one to leave joins them, so that no more than a few
    /// stacks wait for the stop.
    ended: Vec<JoinHandle<()>>,
    /// The stop has been told: whoever comes later must hear it too.
    stopping: bool,
}

#[derive(Debug)]
struct Entry {
    peer: SocketAddr,
    since: Instant,
    /// Nobody's until the thread has come so far.
    client: Weak<ClientOutlet>,
    /// `None` until the accept loop has it; the thread may be quicker.
    thread: Option<JoinHandle<()>>,
}

/// A connection that is entered, as it is listed.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) since: Instant,
    pub(super) outlet: Weak<ClientOutlet>,
}

impl Registry {
    /// Enters a connection, before its thread is started.
    pub(super) fn enter(&self, id: u64, peer: SocketAddr) {
        let entry = Entry { peer, since: Instant::now(), client: Weak::new(), thread: None };
        self.lock().active.insert(id, entry);
    }

    /// What those who have left were sent, and those who are entered, the newest last, at one moment.
    pub(super) fn list(&self) -> (Sent, Vec<Registered>) {
        let entries = self.lock();
        let listed = |(id, entry): (&u64, &Entry)| {
            let Entry { peer, since, client, .. } = entry;
            Registered { id: *id, peer: *peer, since: *since, outlet: client.clone() }
        };
        (entries.gone, entries.active.iter().map(listed).collect())
    }

    /// Keeps the thread's handle, to join it when it has left.
    pub(super) fn keep_thread(&self, id: u64, thread: JoinHandle<()>) {
        let mut entries = self.lock();
        match entries.active.get_mut(&id) {
            Some(entry) => entry.thread = Some(thread),
            None => entries.ended.push(thread),
        }
    }

    /// Keeps the thread's client, to ring it or cut it; rings it if the server stops already.
    pub(super) fn keep_client(&self, id: u64, client: &Arc<ClientOutlet>) {
        let mut entries = self.lock();
        if let Some(entry) = entries.active.get_mut(&id) {
            entry.client = Arc::downgrade(client);
        }
        let stopping = entries.stopping;
        drop(entries);
        if stopping {
            client.bell().ring(Cause::Stop);
        }
    }

    /// Strikes a connection off, which was `sent` that. Returns the threads that have left before and are to be joined now; none once the server
    /// stops, when thousands leave at once and would queue up to join each other.
    pub(super) fn leave(&self, id: u64, sent: Sent) -> Vec<JoinHandle<()>> {
        let mut entries = self.lock();
        entries.gone.frames += sent.frames;
        entries.gone.bytes += sent.bytes;
        entries.gone.skipped += sent.skipped;
        let entry = entries.active.remove(&id);
        let ended = if entries.stopping { Vec::new() } else { std::mem::take(&mut entries.ended) };
        entries.ended.extend(entry.and_then(|entry| entry.thread));
        if entries.active.is_empty() {
            self.left.notify_all();
        }
        ended
    }

    /// Tells every connection, and every later one, that the server stops.
    pub(super) fn ring_stop(&self) {
        let mut entries = self.lock();
        entries.stopping = true;
        drop(entries);
        for client in self.clients() {
            client.bell().ring(Cause::Stop);
        }
    }

    /// Cuts every connection that is left, in whatever it waits for. Returns how many there were.
    pub(super) fn cut(&self) -> usize {
        let left = self.lock().active.len();
        for client in self.clients() {
            client.bell().ring(Cause::Cut);
            // It fails only if the peer has gone, which wakes the thread as well.
            let _ = client.socket().shutdown(Direction::Both);
        }
        left
    }

    /// Everyone who is entered, one after the other; a connection that has ended meanwhile is left out.
    fn clients(&self) -> impl Iterator<Item = Arc<ClientOutlet>> {
        let clients: Vec<_> = self.lock().active.values().map(|entry| entry.client.clone()).collect();
        clients.into_iter().filter_map(|client| client.upgrade())
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

    /// Takes the threads that have left and are to be joined.
    pub(super) fn take_ended(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.lock().ended)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Bell, Outlet};
    use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

    /// The outlet of a socket, and the listener that keeps it from being reset.
    fn client() -> (Arc<ClientOutlet>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(Outlet::new(socket, Bell::for_this_thread())), listener)
    }

    fn thread() -> JoinHandle<()> {
        thread::Builder::new().spawn(|| ()).unwrap()
    }

    #[test]
    fn a_thread_that_leaves_is_joined_by_the_next_one() {
        let registry = Registry::default();
        for id in [1, 2] {
            registry.enter(id, PEER);
            registry.keep_thread(id, thread());
        }
        assert!(registry.leave(1, Sent::default()).is_empty());
        assert_eq!(registry.leave(2, Sent::default()).len(), 1);
        assert_eq!(registry.take_ended().len(), 1);
    }

    #[test]
    fn a_thread_that_is_quicker_than_its_handle_is_joined_too() {
        let registry = Registry::default();
        registry.enter(1, PEER);
        assert!(registry.leave(1, Sent::default()).is_empty());
        registry.keep_thread(1, thread());
        assert_eq!(registry.take_ended().len(), 1);
    }

    #[test]
    fn the_stop_rings_those_who_are_there_and_those_who_come() {
        let (registry, (early, _early), (late, _late)) = (Registry::default(), client(), client());
        registry.enter(1, PEER);
        registry.keep_client(1, &early);
        registry.enter(2, PEER);
        registry.ring_stop();
        registry.keep_client(2, &late);
        assert!(early.bell().wait(None).contains(Cause::Stop) && late.bell().wait(None).contains(Cause::Stop));
    }

    #[test]
    fn a_cut_reaches_everyone_who_is_left() {
        let (registry, (client, _listener)) = (Registry::default(), client());
        registry.enter(1, PEER);
        registry.keep_client(1, &client);
        assert!(!registry.wait_empty(Some(Instant::now())));
        assert_eq!(registry.cut(), 1);
        assert!(client.bell().is_cut());
        assert_eq!(std::io::Read::read(&mut client.socket(), &mut [0]).unwrap(), 0);
    }

    #[test]
    fn the_last_one_to_leave_ends_the_wait() {
        let registry = Registry::default();
        registry.enter(1, PEER);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| registry.wait_empty(Instant::now().checked_add(Duration::from_mins(1))));
            registry.leave(1, Sent::default());
            assert!(waiter.join().unwrap());
        });
    }
}
