//! The socket of a connection, with reads that end at a deadline or at the stop.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::error::Error;
use crate::platform::{AsFd, BorrowedFd, Readiness};
use crate::shutdown::Shutdown;
use crate::stream::Stream as Transport;

/// What cancels a wait: the stop, or a deadline.
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

    /// Returns the error for which of the two it was.
    pub(super) fn reason(&self) -> Error {
        if self.shutdown.is_triggered() { Error::Stopped } else { Error::TimedOut }
    }

    /// Returns a cancellation after `limit` at the latest.
    pub(super) fn within(&self, limit: Duration) -> Self {
        Self { shutdown: self.shutdown.clone(), deadline: sooner(self.deadline, Instant::now().checked_add(limit)) }
    }

    /// Waits until `source` is ready. Returns false if and only if it was cancelled first.
    pub(super) fn wait_ready(&self, source: BorrowedFd<'_>, readiness: Readiness) -> io::Result<bool> {
        self.shutdown.wait_ready(source, readiness, self.deadline)
    }

    /// Waits for the cancellation.
    pub(super) fn wait(&self) {
        self.shutdown.wait_until(self.deadline);
    }
}

/// Returns the earlier instant; `None` never comes.
pub(super) fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

/// A connected, non-blocking socket whose waits can be cancelled.
#[derive(Debug)]
pub(super) struct ClientSocket {
    socket: Transport,
    peer: SocketAddr,
    local: SocketAddr,
    cancellation: Cancellation,
    /// Nothing has been read yet.
    is_fresh: bool,
    /// The last read had to wait.
    had_to_wait: bool,
}

impl ClientSocket {
    /// Returns the stream over `socket`, which must be non-blocking.
    pub(super) fn new(socket: Transport, cancellation: Cancellation) -> io::Result<Self> {
        // Read now: a socket that the peer has reset has no addresses any more.
        let (peer, local) = (socket.tcp().peer_addr()?, socket.tcp().local_addr()?);
        Ok(Self { socket, peer, local, cancellation, is_fresh: true, had_to_wait: false })
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn socket(&self) -> &Transport {
        &self.socket
    }

    pub(super) fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// True if and only if something has been read.
    pub(super) fn has_received(&self) -> bool {
        !self.is_fresh
    }

    /// True if and only if the last read had to wait; false at the second call after a read.
    pub(super) fn take_waited(&mut self) -> bool {
        std::mem::take(&mut self.had_to_wait)
    }

    pub(super) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.cancellation.deadline = deadline;
    }
}

/// Waits for bytes. `WouldBlock` means a cancellation, and only that: the system returns `TimedOut` when the peer does
/// not acknowledge.
impl Read for ClientSocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.cancellation.is_over() {
            // Checked before every read: a peer that sends without a pause never causes a wait.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.had_to_wait = false;
        loop {
            match self.socket.try_take(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.had_to_wait = true;
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
                        return Err(io::Error::new(io::ErrorKind::InvalidData, TlsAlert));
                    }
                    return Ok(taken.data);
                }
                Ok(Some(_)) => {}
            }
        }
    }
}

/// Sends the end of the TLS session, if the socket accepts it.
impl Drop for ClientSocket {
    fn drop(&mut self) {
        let _ = self.socket.try_close();
    }
}

/// The first received bytes are a TLS alert.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("received a TLS alert on a connection without TLS")]
pub(super) struct TlsAlert;

/// True if and only if `bytes` are the alert that a TLS server sends to a plain client: content type 21, any version,
/// two bytes, warning or fatal (RFC 8446, sections 5.1 and 6). No frame begins like that.
pub(super) fn is_tls_alert(bytes: &[u8]) -> bool {
    matches!(bytes, [21, 3, 0..=4, 0, 2, 1 | 2, _])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_tls_alert_is_distinguished_from_a_frame() {
        assert!(is_tls_alert(b"\x15\x03\x01\0\x02\x02\x32"));
        for other in [&b"4         Hola"[..], b"\x15\x03\x01\0\x02\x02", b"", b"\x16\x03\x01\0\x02\x02\x32"] {
            assert!(!is_tls_alert(other), "{other:?}");
        }
    }

    #[test]
    fn a_cancellation_takes_precedence_over_readable_data() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap().0.write_all(b"Hola").unwrap();
        socket.peek(&mut [0]).unwrap();
        socket.set_nonblocking(true).unwrap();
        let cancellation = Cancellation { shutdown: Shutdown::new().unwrap(), deadline: Some(Instant::now()) };
        let mut stream = ClientSocket::new(Transport::Plain(socket), cancellation).unwrap();
        assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stream.set_deadline(None);
        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 4);
        stream.cancellation.shutdown.trigger();
        assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
