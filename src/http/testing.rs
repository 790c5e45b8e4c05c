//! HTTP without a network, for the checks in `tests/hostile/`. Not part of the public interface: it may change at any time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use socket2::{Domain, Socket, Type};

use super::{Config, Http, TokenFile};
use crate::connection::{Watcher, testing};
use crate::feed::Feed;
use crate::service::{ConnectionsSnapshot, ServerMonitor, Service};
use crate::shutdown::Shutdown;
use crate::stats::Stats;
use crate::threads::Threads;

/// The maximum size of a piece: one read returns one piece and discards what exceeds its buffer.
pub const MAX_PIECE: usize = 4096;

/// The maximum size of a response: the page has some 30 KiB.
const MAX_RESPONSE: usize = 256 * 1024;

/// A server without clients.
#[derive(Debug, Default)]
struct EmptyMonitor(Stats);

impl ServerMonitor for EmptyMonitor {
    fn stats(&self) -> &Stats {
        &self.0
    }

    fn max_connections(&self) -> u64 {
        1
    }

    fn certificate_end(&self) -> Option<SystemTime> {
        None
    }

    fn snapshot(&self, _newest: usize) -> ConnectionsSnapshot {
        ConnectionsSnapshot::default()
    }
}

/// The service, with everything that its connections need.
#[derive(Debug)]
pub struct Site {
    http: Http,
    watcher: Arc<Watcher>,
    stop: Shutdown,
    connections: u64,
    /// A buffer for one response.
    buffer: Vec<u8>,
}

impl Site {
    /// Returns a service for `feed` at `localhost` that accepts changes with `token`.
    ///
    /// # Errors
    /// If the system refuses a thread or a descriptor.
    pub fn new(feed: Arc<Feed>, token: TokenFile) -> io::Result<Self> {
        let config = Config { interval: Duration::from_mins(1), token: Some(token), ..Config::default() };
        let stop = Shutdown::new()?;
        let monitor = || Arc::new(EmptyMonitor::default());
        let http = Http::new(config, feed, monitor(), monitor(), stop.clone());
        let watcher = Arc::new(Watcher::start(&Threads::default())?);
        http.start()?;
        Ok(Self { http, watcher, stop, connections: 0, buffer: vec![0; MAX_RESPONSE] })
    }

    /// Serves one client that sends `pieces`, each received by a read of its own, and then closes its side. Returns everything
    /// that the client received, and true if and only if the service completed without an error.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn serve<'p>(&mut self, pieces: impl Iterator<Item = &'p [u8]>) -> io::Result<(Vec<u8>, bool)> {
        // SEQPACKET preserves the boundaries of the pieces. This thread owns both ends.
        let (mut client, server) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
        server.set_nonblocking(true)?;
        client.set_nonblocking(true)?;
        for piece in pieces.flat_map(|piece| piece.chunks(MAX_PIECE)) {
            client.write_all(piece)?;
        }
        client.shutdown(std::net::Shutdown::Write)?;
        self.connections += 1;
        let server = TcpStream::from(OwnedFd::from(server));
        let mut connection = testing::connection(self.connections, server, &self.watcher);
        let is_complete = self.http.serve(&mut connection, &self.stop).is_ok();
        drop(connection);
        // The watcher may keep the other end open for a moment longer.
        client.set_nonblocking(false)?;
        let mut responses = Vec::new();
        loop {
            match client.read(&mut self.buffer) {
                Ok(0) => return Ok((responses, is_complete)),
                Ok(read) => responses.extend_from_slice(&self.buffer[..read]),
                // The service left input unread; its responses follow.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error),
            }
        }
    }
}
