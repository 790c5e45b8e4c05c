//! The connection that is subscribed to the announcements of changes.

use std::time::{Duration, Instant};

use redis::{Msg, Value, cmd};

use super::address::Address;
use super::connection::Connection;
use super::error::Error;
use super::limits::TIMEOUT;
use crate::platform::{AsFd, BorrowedFd};

/// How long a connection may be silent before a PING: 5 s, the server's default interval.
pub(super) const PING_PERIOD: Duration = Duration::from_secs(5);

/// The longest time for reading announcements at once: 10 ms. A writer may send them faster than they are read.
const MAX_DRAIN: Duration = Duration::from_millis(10);

/// A connection that is subscribed to at least one of the two channels.
pub(super) struct PubSub {
    connection: Connection,
    /// When the last message was received.
    last_received: Instant,
    /// When the PING was sent that is not answered yet.
    pinged: Option<Instant>,
}

/// The result of reading the available announcements.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drained {
    /// A change was announced.
    pub(super) announced: bool,
    /// There may be more, for which the socket need not become readable again.
    pub(super) unfinished: bool,
}

impl PubSub {
    /// Subscribes `connection` to the channels that this user may read.
    ///
    /// # Errors
    /// `Ok(Err(_))` if this user may not subscribe to any channel, although the hash may be read; `Err` if the connection or
    /// Redis as a whole fails.
    pub(super) fn subscribe(mut connection: Connection, address: &Address) -> Result<Result<Self, Error>, Error> {
        let (mut subscribed, mut refusal) = (false, Error::Unexpected);
        // One by one: Redis refuses the whole command for one forbidden channel.
        for channel in [address.channel(), address.keyspace_channel()] {
            match connection.ask::<Value>(cmd("SUBSCRIBE").arg(&channel)) {
                Ok(_) => subscribed = true,
                Err(error) if error.is_temporary() || error.ends_session() => return Err(error),
                Err(error) => {
                    log::debug!("{address}: no subscription to {channel:?}: {error}");
                    refusal = error;
                }
            }
        }
        let pubsub = Self { connection, last_received: Instant::now(), pinged: None };
        Ok(if subscribed { Ok(pubsub) } else { Err(refusal) })
    }

    /// Reads the available messages, for 10 ms at most, without waiting for more. All of them count as one change.
    ///
    /// # Errors
    /// `Subscription` if the connection is lost.
    pub(super) fn drain(&mut self) -> Result<Drained, Error> {
        let (started, mut announced) = (Instant::now(), false);
        while let Some(value) = self.connection.read_ready().map_err(lost)? {
            (self.last_received, self.pinged) = (Instant::now(), None);
            announced |= Msg::from_owned_value(value).is_some();
            if self.last_received.saturating_duration_since(started) >= MAX_DRAIN {
                return Ok(Drained { announced, unfinished: true });
            }
        }
        Ok(Drained { announced, unfinished: false })
    }

    /// When to call [`ping`](Self::ping).
    pub(super) fn due(&self) -> Instant {
        self.pinged.map_or(self.last_received + PING_PERIOD, |since| since + TIMEOUT)
    }

    /// Sends a PING if it is due: a silent connection may be dead.
    ///
    /// # Errors
    /// `Subscription` if the last PING was not answered in time.
    pub(super) fn ping(&mut self) -> Result<(), Error> {
        if Instant::now() < self.due() {
            return Ok(());
        }
        if self.pinged.is_some() {
            return Err(lost(Error::NoAnswer));
        }
        self.pinged = Some(Instant::now());
        self.connection.send(&cmd("PING")).map_err(lost)
    }
}

fn lost(error: Error) -> Error {
    Error::Subscription(Box::new(error))
}

/// For waiting until there is something to [`drain`](PubSub::drain).
impl AsFd for PubSub {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::iter;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use crate::shutdown::Shutdown;

    const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$9\r\nmapcast:k\r\n$1\r\nx\r\n";

    /// A listener and the other end of its connection.
    fn pair(stop: &Shutdown) -> (PubSub, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let connection = Connection::over(ours, 1000, stop);
        (PubSub { connection, last_received: Instant::now(), pinged: None }, theirs)
    }

    #[test]
    fn reading_an_endless_flood_of_announcements_ends() {
        let stop = Shutdown::new().unwrap();
        let (mut listener, mut theirs) = pair(&stop);
        let has_ended = AtomicBool::new(false);
        let (drained, was_in_time) = thread::scope(|scope| {
            scope.spawn(|| {
                while !has_ended.load(Ordering::SeqCst) {
                    // It fails when the listener is dropped.
                    let _ = theirs.write_all(&MESSAGE.repeat(500));
                }
            });
            // Ends the test in any case.
            let watchdog = scope.spawn(|| {
                thread::park_timeout(Duration::from_secs(20));
                has_ended.store(true, Ordering::SeqCst);
            });
            let mut drained = Drained::default();
            while !drained.unfinished && !has_ended.load(Ordering::SeqCst) {
                drained = listener.drain().unwrap();
            }
            let was_in_time = !has_ended.swap(true, Ordering::SeqCst);
            watchdog.thread().unpark();
            drop(listener);
            (drained, was_in_time)
        });
        assert!(was_in_time, "the flood ended first");
        assert_eq!(drained, Drained { announced: true, unfinished: true });
    }

    #[test]
    fn a_silent_connection_is_pinged_and_a_pong_is_not_a_change() {
        let stop = Shutdown::new().unwrap();
        let (mut listener, mut theirs) = pair(&stop);
        listener.ping().unwrap();
        assert!(listener.pinged.is_none(), "a message was received a moment ago");
        listener.last_received -= PING_PERIOD;
        listener.ping().unwrap();
        let mut ping = [0; 14];
        theirs.read_exact(&mut ping).unwrap();
        assert_eq!(&ping, b"*1\r\n$4\r\nPING\r\n");
        theirs.write_all(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n").unwrap();
        // Reading may be interrupted for longer than one drain lasts.
        let drained = iter::repeat_with(|| listener.drain().unwrap()).find(|drained| !drained.unfinished);
        assert_eq!(drained, Some(Drained::default()));
        assert!(listener.pinged.is_none());
        listener.pinged = Instant::now().checked_sub(TIMEOUT);
        assert!(matches!(listener.ping(), Err(Error::Subscription(error)) if matches!(*error, Error::NoAnswer)));
    }
}
