//! Event streams that are read at once, on one thread.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    events: u64,
    is_open: bool,
    /// The end of what came last: an event's end may be cut in two.
    tail: Vec<u8>,
}

/// The streams.
#[derive(Debug, Default)]
pub struct Streams {
    streams: Vec<Stream>,
    slowest_first: Duration,
}

impl Streams {
    /// Opens one more stream of `page`, at `path`.
    pub fn open(&mut self, page: SocketAddr, path: &str) -> io::Result<()> {
        let mut socket = TcpStream::connect_timeout(&page, PATIENCE)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        socket.set_nonblocking(true)?;
        self.streams.push(Stream { socket, events: 0, is_open: true, tail: Vec::new() });
        Ok(())
    }

    /// Reads what has come, for at most `timeout`.
    pub fn poll_once(&mut self, timeout: Duration, began: Instant) -> io::Result<()> {
        let open: Vec<_> = (0..self.streams.len()).filter(|index| self.streams[*index].is_open).collect();
        let timeout = Timespec::try_from(timeout).ok();
        let mut polled: Vec<_> =
            open.iter().map(|index| PollFd::new(&self.streams[*index].socket, PollFlags::IN)).collect();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<_> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (index, _) in open.into_iter().zip(ready).filter(|(_, is_ready)| *is_ready) {
            let stream = &mut self.streams[index];
            if stream.read() {
                self.slowest_first = self.slowest_first.max(began.elapsed());
            }
        }
        Ok(())
    }

    /// Streams that have had no event, or have ended.
    pub fn without_event(&self) -> usize {
        self.streams.iter().filter(|stream| stream.events == 0 || !stream.is_open).count()
    }

    /// Events of all streams.
    pub fn events(&self) -> u64 {
        self.streams.iter().map(|stream| stream.events).sum()
    }

    /// The fewest events of a stream.
    pub fn fewest(&self) -> u64 {
        self.streams.iter().map(|stream| stream.events).min().unwrap_or(0)
    }

    /// When the last stream got its first event, counted from the begin that was given.
    pub fn slowest_first(&self) -> Duration {
        self.slowest_first
    }
}

impl Stream {
    /// Reads once. Returns true if and only if the first event has come with it.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 1 << 14];
        match self.socket.read(&mut chunk) {
            Ok(0) => self.is_open = false,
            Ok(read) => {
                let before = self.events;
                self.tail.extend_from_slice(&chunk[..read]);
                // Each event has one line of data, and its end is an empty line.
                let ends = self.tail.windows(7).filter(|window| *window == b"\ndata: ").count();
                self.events += ends as u64;
                self.tail.drain(..self.tail.len().saturating_sub(6));
                return before == 0 && self.events > 0;
            }
            Err(error) => self.is_open = error.kind() == io::ErrorKind::WouldBlock,
        }
        false
    }
}
