//! The types of `tls` without the feature: they have no values, so the rest of the library needs no conditions.

#[path = "read_count.rs"]
mod read_count;

use std::io;
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use crate::platform::Readiness;
use crate::shutdown::Shutdown;
pub(crate) use read_count::ReadCount;

/// The default deadline for a whole handshake: 10 s.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Has no values without the feature `tls`.
#[derive(Debug)]
pub enum Acceptor {}

/// Has no values without the feature `tls`.
#[derive(Debug)]
pub enum Connector {}

/// Has no values without the feature `tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientTls {}

/// Has no values without the feature `tls`.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Has no values without the feature `tls`.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {}

#[derive(Debug)]
pub(crate) struct Session<S> {
    socket: S,
    none: Acceptor,
}

impl Acceptor {
    /// When the certificate expires.
    pub fn not_after(&self) -> Option<SystemTime> {
        match *self {}
    }

    pub(crate) fn session(&self, _: TcpStream) -> Result<Box<Session<TcpStream>>, HandshakeError> {
        match *self {}
    }

    pub(crate) fn shake_hands(&self, _: &Session<TcpStream>, _: Duration, _: &Shutdown) -> Result<(), HandshakeError> {
        match *self {}
    }

    pub(crate) fn follow(&self, _: &Shutdown) {
        match *self {}
    }

    pub(crate) fn describe(&self) -> String {
        match *self {}
    }
}

impl HandshakeError {
    pub(crate) fn is_refusal(&self) -> bool {
        match *self {}
    }
}

pub(crate) fn in_server_session(error: io::Error) -> Result<HandshakeError, io::Error> {
    Err(error)
}

impl Connector {
    /// Cannot be called: `options` has no values.
    ///
    /// # Errors
    /// None.
    pub fn load(options: &ClientTls) -> Result<Self, Error> {
        match *options {}
    }

    pub(crate) fn connect(
        &self,
        _: TcpStream,
        _: &str,
        _: Duration,
        _: impl FnMut(&TcpStream, Readiness) -> io::Result<bool>,
    ) -> Result<Box<Session<TcpStream>>, HandshakeError> {
        match *self {}
    }

    pub(crate) fn refusal(&self, _: io::Error) -> Result<HandshakeError, io::Error> {
        match *self {}
    }
}

impl<S> Session<S> {
    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    pub(crate) fn has_input(&self) -> bool {
        match self.none {}
    }

    pub(crate) fn try_send(&self, _: &[u8]) -> io::Result<usize> {
        match self.none {}
    }

    pub(crate) fn try_take(&self, _: &mut [u8]) -> io::Result<Option<ReadCount>> {
        match self.none {}
    }

    pub(crate) fn try_close(&self) -> io::Result<()> {
        match self.none {}
    }
}
