//! A set of sockets that one thread watches: epoll, kqueue or I/O completion ports, by way of the crate `polling`.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polling::{Event, Events, Poller};

use super::descriptors::{AsFd, BorrowedFd};

/// Events taken from the kernel in one call.
const BATCH: NonZero<usize> = NonZero::new(256).unwrap();

/// A set of sockets. Each reports input or a hang-up once, until it is armed again. It holds each socket until that is
/// removed.
pub(crate) struct ReadinessSet<S> {
    /// Dropped before the sockets.
    poller: Poller,
    /// The sockets by key. Held for one lookup or change of the list, and while a socket is added to the poller.
    sockets: Mutex<HashMap<usize, Arc<S>>>,
    /// Whether `end` was called. Held only to read or to set it.
    ended: Mutex<bool>,
    /// Wakes the threads in `has_ended_within`.
    ender: Condvar,
    /// All waits fail.
    #[cfg(test)]
    is_refused: bool,
}

impl<S: AsFd> ReadinessSet<S> {
    /// Returns an empty set.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            sockets: Mutex::default(),
            ended: Mutex::new(false),
            ender: Condvar::new(),
            #[cfg(test)]
            is_refused: false,
        })
    }

    /// Returns a set whose waits fail.
    #[cfg(test)]
    pub(crate) fn refused() -> Self {
        Self { is_refused: true, ..Self::new().unwrap() }
    }

    /// Adds `socket`: it is reported once, when it is or becomes readable or hung up. Call [`remove`](Self::remove) with the
    /// same `token` to close it.
    pub(crate) fn add(&self, token: u64, socket: &Arc<S>) -> io::Result<()> {
        let key = key(token);
        let mut sockets = lock(&self.sockets);
        add(&self.poller, socket.as_fd(), key)?;
        sockets.insert(key, Arc::clone(socket));
        Ok(())
    }

    /// Arms a socket again that was reported.
    pub(crate) fn rearm(&self, token: u64, socket: &Arc<S>) -> io::Result<()> {
        self.poller.modify(socket.as_fd(), Event::readable(key(token)))
    }

    /// Removes the socket of `token`, if the set has it.
    pub(crate) fn remove(&self, token: u64) {
        let removed = lock(&self.sockets).remove(&key(token));
        if let Some(socket) = removed {
            // Fails only if the poller has none.
            let _ = self.poller.delete(socket.as_fd());
        }
    }

    /// Waits for reports, for `limit` at most, and appends the sockets to `ready`. Returns false if and only if `end` was
    /// called.
    pub(crate) fn wait(&self, ready: &mut Vec<Arc<S>>, limit: Duration) -> io::Result<bool> {
        #[cfg(test)]
        if self.is_refused {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut events = Events::with_capacity(BATCH);
        self.poller.wait(&mut events, Some(limit))?;
        let sockets = lock(&self.sockets);
        ready.extend(events.iter().filter_map(|event| sockets.get(&event.key).cloned()));
        drop(sockets);
        Ok(!*lock(&self.ended))
    }

    /// Waits for `limit` at most and takes no report. Returns true if and only if `end` was called.
    pub(crate) fn has_ended_within(&self, limit: Duration) -> bool {
        let waited = self.ender.wait_timeout_while(lock(&self.ended), limit, |has_ended| !*has_ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends all current and later waits.
    pub(crate) fn end(&self) {
        *lock(&self.ended) = true;
        self.ender.notify_all();
        // Fails only if the poller is broken; the wait then fails, too.
        let _ = self.poller.notify();
    }
}

impl<S> fmt::Debug for ReadinessSet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadinessSet").field("poller", &self.poller).finish_non_exhaustive()
    }
}

/// Adds a socket that the caller keeps open until it is deleted from the poller, or the poller is dropped.
#[allow(unsafe_code, reason = "the poller uses the socket after the call; see the argument")]
fn add(poller: &Poller, socket: BorrowedFd<'_>, key: usize) -> io::Result<()> {
    // SAFETY: The socket must not be closed before it is deleted from the poller. `ReadinessSet` is the only caller. Its
    // `sockets` keep the socket open, from before the lock is released until `remove`, which deletes it from the poller
    // before it drops it. A set that is dropped drops its poller first, because fields are dropped in their order.
    unsafe { poller.add(&socket, Event::readable(key)) }
}

/// Returns the key of `token`. The greatest one is the poller's own. Where a key has 32 bits, two tokens have the same one
/// only if there are 4 billion between them.
#[allow(clippy::cast_possible_truncation, reason = "below the greatest key")]
fn key(token: u64) -> usize {
    (token % usize::MAX as u64) as usize
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// Longer than any test takes.
    const NEVER: Duration = Duration::from_hours(1);

    fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(listener.accept().unwrap().0), peer)
    }

    /// Waits for the next report, and returns true if and only if it is of `socket` alone.
    fn reports(set: &ReadinessSet<TcpStream>, socket: &Arc<TcpStream>) -> bool {
        let mut ready = Vec::new();
        while ready.is_empty() {
            assert!(set.wait(&mut ready, NEVER).unwrap());
        }
        ready.len() == 1 && Arc::ptr_eq(&ready[0], socket)
    }

    #[test]
    fn input_is_reported_once_until_the_socket_is_armed_again() {
        let set = ReadinessSet::new().unwrap();
        let ((socket, mut peer), (ending, end)) = (pair(), pair());
        set.add(1, &socket).unwrap();
        peer.write_all(b"x").unwrap();
        assert!(reports(&set, &socket));
        // The byte is still there: only the second socket is reported.
        drop(end);
        set.add(2, &ending).unwrap();
        assert!(reports(&set, &ending));
        (&*socket).read_exact(&mut [0]).unwrap();
        set.rearm(1, &socket).unwrap();
        peer.write_all(b"y").unwrap();
        assert!(reports(&set, &socket));
    }

    #[test]
    fn a_socket_armed_again_with_unread_input_is_reported() {
        let set = ReadinessSet::new().unwrap();
        let (socket, mut peer) = pair();
        set.add(1, &socket).unwrap();
        peer.write_all(b"x").unwrap();
        assert!(reports(&set, &socket));
        set.rearm(1, &socket).unwrap();
        assert!(reports(&set, &socket));
    }

    #[test]
    fn a_wait_without_a_report_ends_at_its_limit() {
        let (set, mut ready) = (ReadinessSet::<TcpStream>::new().unwrap(), Vec::new());
        assert!(set.wait(&mut ready, Duration::from_millis(1)).unwrap() && ready.is_empty());
    }

    #[test]
    fn a_removed_socket_is_closed_and_end_ends_the_waits() {
        let (set, mut ready) = (ReadinessSet::new().unwrap(), Vec::new());
        let (socket, mut peer) = pair();
        set.add(1, &socket).unwrap();
        set.remove(1);
        drop(socket);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        assert!(!set.has_ended_within(Duration::from_millis(1)));
        set.end();
        assert!(set.has_ended_within(NEVER));
        while set.wait(&mut ready, NEVER).unwrap() {}
        assert!(ready.is_empty());
    }
}
