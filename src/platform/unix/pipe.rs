//! Pipes, and pairs of connected streams.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// One end of a pair of connected streams.
pub(crate) type LocalStream = UnixStream;

/// Returns two connected streams.
pub(crate) fn local_pair() -> io::Result<(LocalStream, LocalStream)> {
    UnixStream::pair()
}

/// Returns the reading and the writing end of a new pipe, closed on exec.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// For systems without pipe2(2). A child started between the calls would inherit the ends; mapcast starts none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::io::{FdFlags, fcntl_setfd};
    let (reader, writer) = rustix::pipe::pipe()?;
    fcntl_setfd(&reader, FdFlags::CLOEXEC)?;
    fcntl_setfd(&writer, FdFlags::CLOEXEC)?;
    Ok((reader, writer))
}
