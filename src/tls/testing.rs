//! The pump over something that is no socket, for the checks in `tests/hostile/`. No part of the interface: it may change
//! at any time.

use std::io::{self, Read, Write};

use super::acceptor::Acceptor;
use super::connector::Connector;
use super::failure::{HandshakeError, causes};
use super::read_count::ReadCount;
use super::session::{Session, Step};

/// Returns what `error` means to a server.
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
    /// Returns a server's, with the handshake before it.
    ///
    /// # Errors
    /// If TLS refuses what the files hold.
    pub fn server(acceptor: &Acceptor, stream: S) -> Result<Self, HandshakeError> {
        acceptor.session(stream).map(Self)
    }

    /// Returns the one of a client that asks for `host`, with the handshake before it.
    ///
    /// # Errors
    /// If `host` is no name.
    pub fn client(connector: &Connector, host: &str, stream: S) -> Result<Self, HandshakeError> {
        connector.session(stream, connector.name(host)?).map(Self)
    }

    /// The stream below.
    pub fn stream(&self) -> &S {
        self.0.socket()
    }

    /// Goes on with the handshake as far as the stream lets it. Returns true if and only if it is over.
    ///
    /// # Errors
    /// What the pump says, in the words of a server.
    pub fn shake_hands(&self) -> Result<bool, HandshakeError> {
        loop {
            match self.0.step(None).map_err(causes::at_server)? {
                Step::Done => return Ok(true),
                Step::Again | Step::Late => {}
                Step::WaitReadable | Step::WaitWritable => return Ok(false),
            }
        }
    }

    /// True if and only if there is something to take that the stream does not tell of.
    pub fn has_input(&self) -> bool {
        self.0.has_input()
    }

    /// Sends as many of `bytes` as there is room for: the pump's own contract.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_send(bytes)
    }

    /// Takes what has come, and returns how many bytes; `None` at the end.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing, `InvalidData` if the peer breaks TLS's rules.
    pub fn try_take(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let taken = self.0.try_take(into)?;
        Ok(taken.map(|ReadCount { data, .. }| data))
    }

    /// Says that nothing follows.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room.
    pub fn try_close(&self) -> io::Result<()> {
        self.0.try_close()
    }
}
