//! The socket of a connection: reads that end at a deadline, or when someone else says stop.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::Error;
use crate::platform::Readiness;
use crate::shutdown::Shutdown;
use crate::stream::Stream as Socket;

/// What ends a wait before its time: the stop, or an instant.
#[derive(Debug, Clone)]
pub(super) struct Cancellation {
    pub(super) shutdown: Shutdown,
    /// `None` never comes.
    pub(super) deadline: Option<Instant>,
}

impl Cancellation {
    /// True if and only if the stop was requested or the deadline has passed.
    pub(super) fn is_over(&self) -> bool {
        self.shutdown.is_triggered() || self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Which of the two it was.
    pub(super) fn reason(&self) -> Error {
        if self.shutdown.is_triggered() { Error::Stopped } else { Error::TimedOut }
    }

    /// Returns an ending that comes after `limit` at the latest.
    pub(super) fn within(&self, limit: Duration) -> Self {
        Self { shutdown: self.shutdown.clone(), deadline: sooner(self.deadline, Instant::now().checked_add(limit)) }
    }

    /// Waits until `source` is ready. Returns false if and only if the ending came first.
    pub(super) fn wait_ready(&self, source: BorrowedFd<'_>, readiness: Readiness) -> io::Result<bool> {
        self.shutdown.wait_ready(source, readiness, self.deadline)
    }

    /// Waits until it comes.
    pub(super) fn pass(&self) {
        self.shutdown.wait_until(self.deadline);
    }
}

/// Returns the instant that comes first; `None` never comes.
pub(super) fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

/// A connected socket. It never blocks by itself, so that what waits for it waits for the ending too.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    peer: SocketAddr,
    local: SocketAddr,
    cancellation: Cancellation,
    /// Nothing has been read yet.
    is_fresh: bool,
    /// The last read had to wait.
    has_waited: bool,
}

impl Stream {
    /// Returns the stream over `socket`, which has been set to non-blocking.
    pub(super) fn new(socket: Socket, cancellation: Cancellation) -> io::Result<Self> {
        // Now, because a socket whose peer has reset it does not know its addresses any more.
        let (peer, local) = (socket.tcp().peer_addr()?, socket.tcp().local_addr()?);
        Ok(Self { socket, peer, local, cancellation, is_fresh: true, has_waited: false })
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// True if and only if something has been read.
    pub(super) fn has_heard(&self) -> bool {
        !self.is_fresh
    }

    /// True if and only if the last read had to wait, and this is asked for the first time after it.
    pub(super) fn take_waited(&mut self) -> bool {
        std::mem::take(&mut self.has_waited)
    }

    pub(super) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.cancellation.deadline = deadline;
    }
}

/// Waits for bytes. `WouldBlock` means that the ending came, and only that: `TimedOut` is also what the system says
/// when the peer does not acknowledge.
impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.cancellation.is_over() {
            // Looked at before every read: a peer whose bytes never cease would never be waited for.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.has_waited = false;
        loop {
            match self.socket.try_take(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.has_waited = true;
                    if !self.cancellation.wait_ready(self.socket.as_fd(), Readiness::Readable)? {
                        return Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(None) => return Ok(0),
                Ok(Some(taken)) if taken.data > 0 => {
                    if std::mem::take(&mut self.is_fresh) && !self.socket.is_tls() && is_tls_alert(&into[..taken.data])
                    {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, SpeaksTls));
                    }
                    return Ok(taken.data);
                }
                Ok(Some(_)) => {}
            }
        }
    }
}

/// Sends the end of the TLS session, as far as there is room for it.
impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.socket.try_close();
    }
}

/// The first thing that came is an alert of TLS.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("an alert of TLS came, where nobody speaks it")]
pub(super) struct SpeaksTls;

/// True if and only if `bytes` are the alert that a server of TLS sends to a client that speaks none: content type 21, any
/// version, two bytes, warning or fatal (RFC 8446, sections 5.1 and 6). No frame begins like that.
pub(super) fn is_tls_alert(bytes: &[u8]) -> bool {
    matches!(bytes, [21, 3, 0..=4, 0, 2, 1 | 2, _])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn an_alert_is_told_from_a_frame() {
        assert!(is_tls_alert(b"\x15\x03\x01\0\x02\x02\x32"));
        for other in [&b"4         Hola"[..], b"\x15\x03\x01\0\x02\x02", b"", b"\x16\x03\x01\0\x02\x02\x32"] {
            assert!(!is_tls_alert(other), "{other:?}");
        }
    }

    #[test]
    fn the_ending_counts_even_when_there_is_something_to_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap().0.write_all(b"Hola").unwrap();
        socket.peek(&mut [0]).unwrap();
        socket.set_nonblocking(true).unwrap();
        let cancellation = Cancellation { shutdown: Shutdown::new().unwrap(), deadline: Some(Instant::now()) };
        let mut stream = Stream::new(Socket::Plain(socket), cancellation).unwrap();
        assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stream.set_deadline(None);
        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 4);
        stream.cancellation.shutdown.trigger();
        assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
