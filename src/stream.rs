//! A connected socket that never waits, plain or with TLS: the one thing that knows which.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

pub(crate) use crate::tls::ReadCount;
use crate::tls::Session;

/// A connected, non-blocking socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// The bytes as they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<Session<TcpStream>>),
}

impl Stream {
    /// The socket below, for its options and its end.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(session) => session.socket(),
        }
    }

    /// True if and only if it is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Sends as many of `bytes` as there is room for, and returns how many have gone, all the way. With TLS it may hold a
    /// record beside them, the last of which has not gone: `Ok(0)` too means that it has begun, and whatever is sent next
    /// must begin with the bytes that have not been counted.
    ///
    /// # Errors
    /// `WouldBlock` if there is room for none, and nothing has begun that had not before.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => (&mut &*socket).write(bytes),
            Self::Tls(session) => session.try_send(bytes),
        }
    }

    /// Takes what has come, with one read of the socket at most. Returns `None` if and only if the peer has ended its
    /// side.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing, in the socket or out of it; `InvalidData` if it breaks TLS's rules.
    pub(crate) fn try_take(&self, into: &mut [u8]) -> io::Result<Option<ReadCount>> {
        match self {
            Self::Plain(socket) => {
                let read = (&mut &*socket).read(into)?;
                Ok((read > 0).then_some(ReadCount { data: read, wire: read }))
            }
            Self::Tls(session) => session.try_take(into),
        }
    }

    /// True if and only if there is something to take that the socket does not tell of any more.
    pub(crate) fn has_input(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(session) => session.has_input(),
        }
    }

    /// Tells the peer that nothing follows, but for the end of the socket's own stream. Repeated after `WouldBlock`, it
    /// goes on. A plain stream has nothing to tell.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room.
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
