//! The socket of the service manager: there is none.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;

use super::notifications::Notification;

/// A socket that does not exist.
#[derive(Debug)]
pub(super) struct NotifySocket(Infallible);

impl NotifySocket {
    /// Fails with `Unsupported`.
    pub(super) fn connect(_path: &OsStr) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn send(&self, _notifications: &[Notification<'_>]) {
        match self.0 {}
    }
}
