//! A set of sockets that one thread watches: epoll on Linux, poll elsewhere.

use std::os::fd::AsFd;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use with_epoll::ReadinessSet;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use with_poll::ReadinessSet;

/// An object with a descriptor that can be watched.
pub(crate) trait Watched: AsFd + Send + Sync + 'static {}

impl<T: AsFd + Send + Sync + 'static> Watched for T {}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod with_epoll {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use rustix::event::Timespec;
    use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
    use rustix::io::Errno;

    use super::Watched;
    use crate::platform::{Readiness, pipe, wait_ready};

    /// The token of the pipe that ends the waits. Connection ids count up from 1 and never reach it.
    const ENDED: u64 = u64::MAX;

    /// Events taken from the kernel in one call.
    const BATCH: usize = 256;

    /// A set of sockets. Each reports input or a hang-up once, until it is armed again. Closing a socket removes it.
    #[derive(Debug)]
    pub(crate) struct ReadinessSet {
        epoll: OwnedFd,
        /// Its hang-up ends the waits.
        ended: OwnedFd,
        /// Closed by `end`. The lock guards only that.
        ender: Mutex<Option<OwnedFd>>,
    }

    impl ReadinessSet {
        /// Returns an empty set.
        pub(crate) fn new() -> io::Result<Self> {
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            let (ended, writer) = pipe()?;
            epoll::add(&epoll, ended.as_fd(), EventData::new_u64(ENDED), EventFlags::IN)?;
            Ok(Self { epoll, ended, ender: Mutex::new(Some(writer)) })
        }

        /// Returns a set whose waits fail, as `epoll_wait`(2) does for a descriptor that is not an epoll set.
        #[cfg(test)]
        pub(crate) fn refused() -> Self {
            let (ended, writer) = pipe().unwrap();
            let (other, _) = pipe().unwrap();
            Self { epoll: other, ended, ender: Mutex::new(Some(writer)) }
        }

        /// Adds `socket`: it is reported as `token` once, when it is or becomes readable or hung up.
        pub(crate) fn add(&self, socket: &Arc<impl Watched>, token: u64) -> io::Result<()> {
            Ok(epoll::add(&self.epoll, socket.as_fd(), EventData::new_u64(token), once())?)
        }

        /// Arms a socket again that was reported.
        pub(crate) fn rearm(&self, socket: &Arc<impl Watched>, token: u64) -> io::Result<()> {
            Ok(epoll::modify(&self.epoll, socket.as_fd(), EventData::new_u64(token), once())?)
        }

        /// Waits for reports, for `limit` at most, and stores their tokens in `ready`. Returns false if and only if `end` was
        /// called.
        pub(crate) fn wait(&self, ready: &mut Vec<u64>, limit: Duration) -> io::Result<bool> {
            let mut events: Vec<Event> = Vec::with_capacity(BATCH);
            // A time-out that exceeds a timespec is infinite.
            let limit = Timespec::try_from(limit).ok();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), limit.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            ready.clear();
            ready.extend(events.iter().map(|event| event.data.u64()));
            Ok(!ready.contains(&ENDED))
        }

        /// Waits for `limit` at most and takes no report. Returns true if and only if `end` was called.
        pub(crate) fn has_ended_within(&self, limit: Duration) -> bool {
            let ended = [(self.ended.as_fd(), Readiness::Readable)];
            // A wait that the system refuses ends early.
            wait_ready(ended, Instant::now().checked_add(limit)).is_ok_and(|ready| ready[0])
        }

        /// Ends all current and later waits.
        pub(crate) fn end(&self) {
            drop(self.ender.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    fn once() -> EventFlags {
        EventFlags::IN | EventFlags::RDHUP | EventFlags::ONESHOT
    }
}

/// Makes a system call over all sockets for each report: correct, but suitable for hundreds of clients only.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
#[allow(clippy::unnecessary_wraps, reason = "the same interface as the one above")]
mod with_poll {
    use std::collections::HashMap;
    use std::io::{self, Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, PoisonError, Weak};
    use std::time::{Duration, Instant};

    use super::Watched;
    use crate::platform::{Readiness, wait_any, wait_ready};

    /// As the set above, with poll.
    #[derive(Debug)]
    pub(crate) struct ReadinessSet {
        /// Guards the armed sockets; not held while waiting.
        armed: Mutex<HashMap<u64, Weak<dyn Watched>>>,
        /// A byte written to the first ends a wait after a change of the list.
        changed: (UnixStream, UnixStream),
        ended: AtomicBool,
    }

    impl ReadinessSet {
        pub(crate) fn new() -> io::Result<Self> {
            let (writer, reader) = UnixStream::pair()?;
            writer.set_nonblocking(true)?;
            reader.set_nonblocking(true)?;
            Ok(Self { armed: Mutex::default(), changed: (writer, reader), ended: AtomicBool::new(false) })
        }

        pub(crate) fn add(&self, socket: &Arc<impl Watched>, token: u64) -> io::Result<()> {
            let socket: Weak<dyn Watched> = Arc::downgrade(socket) as _;
            self.armed.lock().unwrap_or_else(PoisonError::into_inner).insert(token, socket);
            self.notify_change();
            Ok(())
        }

        pub(crate) fn rearm(&self, socket: &Arc<impl Watched>, token: u64) -> io::Result<()> {
            self.add(socket, token)
        }

        pub(crate) fn wait(&self, ready: &mut Vec<u64>, limit: Duration) -> io::Result<bool> {
            let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
            armed.retain(|_, socket| socket.strong_count() > 0);
            let watched: Vec<_> =
                armed.iter().filter_map(|(token, socket)| Some((*token, socket.upgrade()?))).collect();
            drop(armed);
            let mut fds = vec![self.changed.1.as_fd()];
            fds.extend(watched.iter().map(|(_, socket)| socket.as_fd()));
            let states = wait_any(&fds, Instant::now().checked_add(limit))?;
            ready.clear();
            ready.extend(watched.iter().zip(&states[1..]).filter(|(_, ready)| **ready).map(|((token, _), _)| *token));
            let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
            armed.retain(|token, _| !ready.contains(token));
            drop(armed);
            while (&self.changed.1).read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
            Ok(!self.ended.load(Ordering::SeqCst))
        }

        pub(crate) fn has_ended_within(&self, limit: Duration) -> bool {
            let changed = [(self.changed.1.as_fd(), Readiness::Readable)];
            let _ = wait_ready(changed, Instant::now().checked_add(limit));
            self.ended.load(Ordering::SeqCst)
        }

        pub(crate) fn end(&self) {
            self.ended.store(true, Ordering::SeqCst);
            self.notify_change();
        }

        fn notify_change(&self) {
            // A full buffer already wakes the waiter.
            let _ = (&self.changed.0).write(&[0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::Duration;

    /// Longer than any test takes.
    const NEVER: Duration = Duration::from_hours(1);

    fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(listener.accept().unwrap().0), peer)
    }

    macro_rules! battery {
        ($name:ident, $set:ty) => {
            mod $name {
                use super::*;

                #[test]
                fn input_is_reported_once_until_the_socket_is_armed_again() {
                    let (set, mut ready) = (<$set>::new().unwrap(), Vec::new());
                    let ((noisy, mut noise), (ending, end)) = (pair(), pair());
                    set.add(&noisy, 1).unwrap();
                    noise.write_all(b"x").unwrap();
                    assert!(set.wait(&mut ready, NEVER).unwrap());
                    assert_eq!(ready, [1]);
                    // The byte is still there: only the second socket is reported.
                    drop(end);
                    set.add(&ending, 2).unwrap();
                    while {
                        set.wait(&mut ready, NEVER).unwrap();
                        ready.is_empty()
                    } {}
                    assert_eq!(ready, [2]);
                    (&*noisy).read_exact(&mut [0]).unwrap();
                    set.rearm(&noisy, 1).unwrap();
                    noise.write_all(b"y").unwrap();
                    while {
                        set.wait(&mut ready, NEVER).unwrap();
                        ready.is_empty()
                    } {}
                    assert_eq!(ready, [1]);
                }

                #[test]
                fn a_wait_without_a_report_ends_at_its_limit() {
                    let (set, mut ready) = (<$set>::new().unwrap(), vec![1]);
                    assert!(set.wait(&mut ready, Duration::from_millis(1)).unwrap() && ready.is_empty());
                }

                #[test]
                fn a_closed_socket_is_removed_and_end_ends_the_waits() {
                    let (set, mut ready) = (<$set>::new().unwrap(), Vec::new());
                    let (socket, peer) = pair();
                    set.add(&socket, 1).unwrap();
                    drop((socket, peer));
                    assert!(!set.has_ended_within(Duration::from_millis(1)));
                    set.end();
                    assert!(set.has_ended_within(NEVER));
                    while set.wait(&mut ready, NEVER).unwrap() {}
                    assert!(!ready.contains(&1));
                }
            }
        };
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    battery!(epoll, super::super::with_epoll::ReadinessSet);
    battery!(poll, super::super::with_poll::ReadinessSet);
}
