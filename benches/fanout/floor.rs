//! The floor: the minimum work of a server for a change, one `send` per client on one thread.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use anyhow::Context;
use mapcast::frame::Frame;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendFlags, send};
use socket2::{Domain, Socket, Type};

/// The same as in mapcast.
const BACKLOG: i32 = 4096;

/// Accepts every client, and sends each line of standard input as a frame to all clients, until the input ends. Drops a client
/// whose socket is full instead of waiting for it.
pub fn run(addr: SocketAddr) -> anyhow::Result<()> {
    let listener = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    listener.set_nonblocking(true)?;
    listener.set_tcp_nodelay(true)?;
    listener.bind(&addr.into()).with_context(|| format!("cannot listen on {addr}"))?;
    listener.listen(BACKLOG)?;
    let mut clients: Vec<TcpStream> = Vec::new();
    // Without the buffer of `io::stdin`, which may hold bytes that `poll` does not report.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (mut lines, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let mut ready = [PollFd::new(&listener, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
        poll(&mut ready, None)?;
        let [has_client, has_input] = ready.map(|fd| !fd.revents().is_empty());
        if has_client {
            accept_all(&listener, &mut clients)?;
        }
        if has_input {
            let read = input.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            lines.extend_from_slice(&chunk[..read]);
            while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
                let frame = Frame::new(&lines[..end], usize::MAX)?;
                let whole = Ok(frame.as_bytes().len());
                clients.retain(|client| send(client, frame.as_bytes(), SendFlags::DONTWAIT) == whole);
                lines.drain(..=end);
            }
        }
    }
}

fn accept_all(listener: &Socket, clients: &mut Vec<TcpStream>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((client, _)) => clients.push(client.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
