//! Unix sockets: not supported.

use std::io;
use std::path::Path;

use super::LocalStream;

/// Fails with `Unsupported`.
pub(crate) fn connect_local(_path: &Path) -> io::Result<LocalStream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "Unix sockets are not supported on Windows; connect over TCP"))
}
