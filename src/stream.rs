//! A connected, non-blocking socket, plain or with TLS. Only this module distinguishes the two.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::platform::{AsFd, BorrowedFd};
pub(crate) use crate::tls::ReadCount;
use crate::tls::Session;

#[cfg(test)]
thread_local! {
    /// How often this thread has tried to send over a stream.
    pub(crate) static SENDS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A connected, non-blocking socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<Session<TcpStream>>),
}

impl Stream {
    /// The underlying TCP socket, for its options and its shutdown.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(session) => session.socket(),
        }
    }

    /// True if and only if the stream is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Sends as many of `bytes` as fit and returns how many were sent completely. With TLS, a further record may be encrypted
    /// and sent in part: even after `Ok(0)`, the next call must begin with the bytes that were not counted.
    ///
    /// # Errors
    /// `WouldBlock` if no byte fits and no further record was started.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        SENDS.set(SENDS.get() + 1);
        match self {
            Self::Plain(socket) => (&mut &*socket).write(bytes),
            Self::Tls(session) => session.try_send(bytes),
        }
    }

    /// Receives available data, with one read of the socket at most. Returns `None` if and only if the peer has shut down its
    /// sending side.
    ///
    /// # Errors
    /// `WouldBlock` if no data is available, in the socket or decrypted; `InvalidData` after a TLS protocol violation.
    pub(crate) fn try_take(&self, into: &mut [u8]) -> io::Result<Option<ReadCount>> {
        match self {
            Self::Plain(socket) => {
                let read = (&mut &*socket).read(into)?;
                Ok((read > 0).then_some(ReadCount { data: read, wire: read }))
            }
            Self::Tls(session) => session.try_take(into),
        }
    }

    /// True if and only if received data is buffered, for which the socket does not become readable again.
    pub(crate) fn has_input(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(session) => session.has_input(),
        }
    }

    /// Sends TLS's `close_notify`; a call after `WouldBlock` resumes it. Does nothing for a plain stream.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full.
    pub(crate) fn try_close(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(session) => session.try_close(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp().as_fd()
    }
}
