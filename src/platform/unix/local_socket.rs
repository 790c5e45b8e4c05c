//! Unix sockets.

use std::io;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use super::LocalStream;

/// Returns a non-blocking stream connected to the Unix socket at `path`. Fails at once if the server's queue is full.
pub(crate) fn connect_local(path: &Path) -> io::Result<LocalStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}
