//! TLS sessions over any stream, for the tests in `tests/hostile/`. Not a part of the public interface: it may change at any
//! time.

use std::io::{self, Read, Write};

use super::acceptor::Acceptor;
use super::connector::Connector;
use super::failure::{HandshakeError, causes};
use super::read_count::ReadCount;
use super::session::{Session, Step};

/// Returns the error for a server whose handshake failed with `error`.
pub fn at_server(error: io::Error) -> HandshakeError {
    causes::at_server(error)
}

/// A session and the stream below it.
#[derive(Debug)]
pub struct Pump<S>(Box<Session<S>>);

impl<S> Pump<S>
where
    for<'stream> &'stream S: Read + Write,
{
    /// Returns the session of a server, before its handshake.
    ///
    /// # Errors
    /// If rustls rejects the configuration.
    pub fn server(acceptor: &Acceptor, stream: S) -> Result<Self, HandshakeError> {
        acceptor.session(stream).map(Self)
    }

    /// Returns the session of a client that connects to `host`, before its handshake.
    ///
    /// # Errors
    /// If `host` is not a valid name.
    pub fn client(connector: &Connector, host: &str, stream: S) -> Result<Self, HandshakeError> {
        connector.session(stream, connector.name(host)?).map(Self)
    }

    /// The stream below.
    pub fn stream(&self) -> &S {
        self.0.socket()
    }

    /// Continues the handshake until it is complete or the stream blocks. Returns true if and only if it is complete.
    ///
    /// # Errors
    /// The error of a server whose handshake fails.
    pub fn shake_hands(&self) -> Result<bool, HandshakeError> {
        loop {
            match self.0.step(None).map_err(causes::at_server)? {
                Step::Done => return Ok(true),
                Step::Again | Step::Late => {}
                Step::WaitReadable | Step::WaitWritable => return Ok(false),
            }
        }
    }

    /// True if and only if there is decrypted input.
    pub fn has_input(&self) -> bool {
        self.0.has_input()
    }

    /// Sends as many of `bytes` as there is room for, as the session does.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_send(bytes)
    }

    /// Reads input, and returns how many bytes; `None` at the end.
    ///
    /// # Errors
    /// `WouldBlock` if there is no input, `InvalidData` if the peer violates the TLS protocol.
    pub fn try_take(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let taken = self.0.try_take(into)?;
        Ok(taken.map(|ReadCount { data, .. }| data))
    }

    /// Sends `close_notify`.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room.
    pub fn try_close(&self) -> io::Result<()> {
        self.0.try_close()
    }
}
