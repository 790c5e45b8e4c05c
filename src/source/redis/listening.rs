//! The connection that is subscribed to the announcements, and nothing else.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use redis::{Msg, Value, cmd};

use super::address::Address;
use super::connection::Connection;
use super::{Error, TIMEOUT};

/// How long nothing may be said on a connection before it is asked for a sign of life: 5 s, the server's default interval.
pub(super) const LIFE_PERIOD: Duration = Duration::from_secs(5);

/// How long announcements are read in one go: 10 ms. A writer may send them faster than they are read.
const MAX_DRAIN: Duration = Duration::from_millis(10);

/// A connection that is subscribed to at least one of the two channels.
pub(super) struct Listener {
    connection: Connection,
    /// When anything was said on it.
    heard: Instant,
    /// When it was asked for a sign of life that has not come yet.
    pinged: Option<Instant>,
}

/// What has come in one go.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drained {
    /// Something was announced.
    pub(super) announced: bool,
    /// There may be more, of which the socket need not tell any more.
    pub(super) unfinished: bool,
}

impl Listener {
    /// Subscribes `connection` to both channels, as far as this user may.
    ///
    /// # Errors
    /// `Ok(Err(_))` is the reason why Redis does not let this user subscribe to any, although the hash may be read; `Err` is a
    /// failure of the connection, or of Redis as a whole.
    pub(super) fn subscribe(mut connection: Connection, address: &Address) -> Result<Result<Self, Error>, Error> {
        let (mut subscribed, mut refusal) = (false, Error::Unexpected);
        // One by one: where one channel is forbidden, the whole command is.
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
        let listener = Self { connection, heard: Instant::now(), pinged: None };
        Ok(if subscribed { Ok(listener) } else { Err(refusal) })
    }

    /// Reads what has come, for 10 ms at most, and does not wait for more. However much it is, it is one change.
    ///
    /// # Errors
    /// `Subscription` if the connection is lost.
    pub(super) fn drain(&mut self) -> Result<Drained, Error> {
        let (started, mut announced) = (Instant::now(), false);
        while let Some(value) = self.connection.read_ready().map_err(lost)? {
            (self.heard, self.pinged) = (Instant::now(), None);
            announced |= Msg::from_owned_value(value).is_some();
            if self.heard.saturating_duration_since(started) >= MAX_DRAIN {
                return Ok(Drained { announced, unfinished: true });
            }
        }
        Ok(Drained { announced, unfinished: false })
    }

    /// When [`ask_for_life`](Self::ask_for_life) is to be called.
    pub(super) fn due(&self) -> Instant {
        self.pinged.map_or(self.heard + LIFE_PERIOD, |since| since + TIMEOUT)
    }

    /// Asks for a sign of life if nothing was said for long: a connection on which nothing is said may have died.
    ///
    /// # Errors
    /// `Subscription` if none has come in time.
    pub(super) fn ask_for_life(&mut self) -> Result<(), Error> {
        if Instant::now() < self.due() {
            return Ok(());
        }
        if self.pinged.is_some() {
            return Err(lost(Error::NoAnswer));
        }
        self.pinged = Some(Instant::now());
        self.connection.tell(&cmd("PING")).map_err(lost)
    }
}

fn lost(error: Error) -> Error {
    Error::Subscription(Box::new(error))
}

/// For waiting until there is something to [`drain`](Listener::drain).
impl AsFd for Listener {
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
    fn pair(stop: &Shutdown) -> (Listener, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let connection = Connection::over(ours, 1000, stop);
        (Listener { connection, heard: Instant::now(), pinged: None }, theirs)
    }

    #[test]
    fn reading_a_flood_of_announcements_ends_before_the_flood() {
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
            // So that the test ends, whatever becomes of it.
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
        assert!(was_in_time, "the flood came to its end first");
        assert_eq!(drained, Drained { announced: true, unfinished: true });
    }

    #[test]
    fn a_silent_connection_is_asked_for_life_and_its_answer_is_no_announcement() {
        let stop = Shutdown::new().unwrap();
        let (mut listener, mut theirs) = pair(&stop);
        listener.ask_for_life().unwrap();
        assert!(listener.pinged.is_none(), "it was heard of a moment ago");
        listener.heard -= LIFE_PERIOD;
        listener.ask_for_life().unwrap();
        let mut ping = [0; 14];
        theirs.read_exact(&mut ping).unwrap();
        assert_eq!(&ping, b"*1\r\n$4\r\nPING\r\n");
        theirs.write_all(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n").unwrap();
        // Reading may be interrupted for longer than one drain lasts.
        let drained = iter::repeat_with(|| listener.drain().unwrap()).find(|drained| !drained.unfinished);
        assert_eq!(drained, Some(Drained::default()));
        assert!(listener.pinged.is_none());
        listener.pinged = Instant::now().checked_sub(TIMEOUT);
        assert!(
            matches!(listener.ask_for_life(), Err(Error::Subscription(error)) if matches!(*error, Error::NoAnswer))
        );
    }
}
