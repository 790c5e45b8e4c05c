//! A fault proxy between a client and a server: it does to the server's bytes what networks do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown as Direction, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mapcast::Shutdown;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::PATIENCE;

/// The fault for the bytes from one connection's server. Bytes from its client pass unchanged.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// Each read of up to 4 KiB is delayed by this.
    Delay(Duration),
    /// Each byte is a segment of its own, this long after the previous one; the server has to wait.
    Slices(Duration),
    /// After this many bytes nothing is passed on any more, and nothing ends.
    Stall(usize),
    /// After this many bytes the stream ends in an orderly way.
    Cut(usize),
    /// After this many bytes the connection is reset.
    Reset(usize),
}

/// Ends on drop, with all of its connections.
pub struct Proxy {
    addr: SocketAddr,
    stop: Shutdown,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy for `server`, on a free port. `fault` returns the fault for the first connection, the second ...
    #[track_caller]
    pub fn before(server: SocketAddr, mut fault: impl FnMut(usize) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let (addr, stop) = (listener.local_addr().expect("an address"), Shutdown::new().expect("a pipe"));
        let stopping = stop.clone();
        let run = move || {
            let mut pipes = Vec::new();
            while !stopping.wait(Duration::from_millis(1)) {
                let Ok((client, _)) = listener.accept() else { continue };
                let pipe = Pipe::new(client, server, fault(pipes.len()), stopping.clone());
                pipes.push(thread::Builder::new().spawn(move || pipe.run()).expect("a thread"));
            }
            for pipe in pipes {
                pipe.join().expect("a pipe that does not panic");
            }
        };
        let acceptor = thread::Builder::new().spawn(run).expect("a thread");
        Self { addr, stop, acceptor: Some(acceptor) }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.trigger();
        let panicked = self.acceptor.take().is_some_and(|acceptor| acceptor.join().is_err());
        assert!(!panicked || thread::panicking(), "the proxy panicked");
    }
}

/// One connection through the proxy.
struct Pipe {
    client: TcpStream,
    server: TcpStream,
    fault: Fault,
    stop: Shutdown,
}

impl Pipe {
    fn new(client: TcpStream, server: SocketAddr, fault: Fault, stop: Shutdown) -> Self {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        // Small, so that bytes that the proxy does not read soon wait at the server.
        socket.set_recv_buffer_size(4096).expect("a socket");
        socket.connect(&SockAddr::from(server)).expect("a server that listens");
        let server = TcpStream::from(socket);
        client.set_nonblocking(false).expect("a socket");
        client.set_nodelay(true).expect("a socket");
        // A wait for one side must not block the other for long.
        for side in [&client, &server] {
            side.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket");
            side.set_write_timeout(Some(PATIENCE)).expect("a socket");
        }
        Self { client, server, fault, stop }
    }

    fn run(mut self) {
        // One side has failed; dropping both closes the other.
        let _ = self.pass();
        if let Fault::Reset(_) = self.fault {
            let _ = SockRef::from(&self.client).set_linger(Some(Duration::ZERO));
        }
        let _ = self.client.shutdown(Direction::Write);
    }

    /// Passes bytes on until a side ends, the fault ends them, or the proxy stops.
    fn pass(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let (mut passed, mut stalled) = (0, false);
        while !self.stop.is_triggered() {
            match some(self.client.read(&mut chunk))? {
                Some(0) => return Ok(()),
                Some(read) => self.server.write_all(&chunk[..read])?,
                None => {}
            }
            if stalled {
                continue;
            }
            let room = match self.fault {
                Fault::Pass | Fault::Delay(_) => chunk.len(),
                Fault::Slices(_) => 1,
                Fault::Stall(after) | Fault::Cut(after) | Fault::Reset(after) => chunk.len().min(after - passed),
            };
            if room == 0 {
                match self.fault {
                    Fault::Stall(_) => stalled = true,
                    _ => return Ok(()),
                }
                continue;
            }
            match some(self.server.read(&mut chunk[..room]))? {
                Some(0) => return Ok(()),
                Some(read) => {
                    if let Fault::Delay(pause) | Fault::Slices(pause) = self.fault {
                        self.stop.wait(pause);
                    }
                    self.client.write_all(&chunk[..read])?;
                    passed += read;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Returns what was read; `None` if nothing has come yet.
fn some(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}
