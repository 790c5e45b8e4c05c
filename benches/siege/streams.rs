//! Event streams that are read without delay, on one thread.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// The longest time for a connection.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    events: u64,
    is_open: bool,
    /// The last received bytes, because the end of an event may be split.
    tail: Vec<u8>,
}

/// All event streams.
#[derive(Debug, Default)]
pub struct Streams {
    streams: Vec<Stream>,
    slowest_first: Duration,
}

impl Streams {
    /// Opens another stream of `path` at `page`.
    pub fn open(&mut self, page: SocketAddr, path: &str) -> io::Result<()> {
        let mut socket = TcpStream::connect_timeout(&page, PATIENCE)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        socket.set_nonblocking(true)?;
        self.streams.push(Stream { socket, events: 0, is_open: true, tail: Vec::new() });
        Ok(())
    }

    /// Reads received bytes, and waits at most `timeout` for them.
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

    /// Returns the number of streams without an event, or that have ended.
    pub fn without_event(&self) -> usize {
        self.streams.iter().filter(|stream| stream.events == 0 || !stream.is_open).count()
    }

    /// Returns the number of events of all streams.
    pub fn events(&self) -> u64 {
        self.streams.iter().map(|stream| stream.events).sum()
    }

    /// Returns the smallest number of events of a stream.
    pub fn fewest(&self) -> u64 {
        self.streams.iter().map(|stream| stream.events).min().unwrap_or(0)
    }

    /// Returns the longest time from the given start to the first event of a stream.
    pub fn slowest_first(&self) -> Duration {
        self.slowest_first
    }
}

impl Stream {
    /// Reads once. Returns true if and only if this completed the first event.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 1 << 14];
        match self.socket.read(&mut chunk) {
            Ok(0) => self.is_open = false,
            Ok(read) => {
                let before = self.events;
                self.tail.extend_from_slice(&chunk[..read]);
                // Each event has one line of data and ends with an empty line.
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
