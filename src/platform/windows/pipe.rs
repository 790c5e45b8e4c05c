//! Pipes and pairs of connected streams: sockets on loopback, because Windows waits for the readiness of sockets only.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::windows::io::OwnedSocket;

/// One end of a pair of connected streams.
pub(crate) type LocalStream = TcpStream;

/// Returns two connected streams.
pub(crate) fn local_pair() -> io::Result<(LocalStream, LocalStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    loop {
        let (theirs, peer) = listener.accept()?;
        // Another process may have connected first.
        if peer == ours.local_addr()? {
            ours.set_nodelay(true)?;
            theirs.set_nodelay(true)?;
            return Ok((ours, theirs));
        }
    }
}

/// Returns the reading and the writing end of a pipe.
pub(crate) fn pipe() -> io::Result<(OwnedSocket, OwnedSocket)> {
    let (reader, writer) = local_pair()?;
    Ok((reader.into(), writer.into()))
}
