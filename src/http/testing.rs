//! HTTP without a network, for the checks in `tests/hostile/`. No part of the interface: it may change at any time.

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

/// The most bytes that are sent at once: what is read at once, because a read throws away the rest of a piece.
pub const MAX_PIECE: usize = 4096;

/// The longest answer: the page has some 30 KiB.
const MAX_ANSWER: usize = 256 * 1024;

/// A server without clients.
#[derive(Debug, Default)]
struct Nobody(Stats);

impl ServerMonitor for Nobody {
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

/// The service, and what its connections need.
#[derive(Debug)]
pub struct Site {
    http: Http,
    watcher: Arc<Watcher>,
    stop: Shutdown,
    connections: u64,
    /// Room for one answer.
    answer: Vec<u8>,
}

impl Site {
    /// Returns the site of `feed`, which is `localhost` and may be written by who has `token`.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn new(feed: Arc<Feed>, token: TokenFile) -> io::Result<Self> {
        let config = Config { interval: Duration::from_mins(1), token: Some(token), ..Config::default() };
        let stop = Shutdown::new()?;
        let monitor = || Arc::new(Nobody::default());
        let http = Http::new(config, feed, monitor(), monitor(), stop.clone());
        let watcher = Arc::new(Watcher::start(&Threads::default())?);
        http.start()?;
        Ok(Self { http, watcher, stop, connections: 0, answer: vec![0; MAX_ANSWER] })
    }

    /// Serves one client, which sends `pieces`, reads each alone, and ends its side. Returns all that it is sent, and true if
    /// and only if that is all that there was to send.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn serve<'p>(&mut self, pieces: impl Iterator<Item = &'p [u8]>) -> io::Result<(Vec<u8>, bool)> {
        // Such a socket keeps the pieces apart, and both ends are this thread's.
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
        let is_whole = self.http.serve(&mut connection, &self.stop).is_ok();
        drop(connection);
        // The watcher may hold the other end for a moment longer.
        client.set_nonblocking(false)?;
        let mut answers = Vec::new();
        loop {
            match client.read(&mut self.answer) {
                Ok(0) => return Ok((answers, is_whole)),
                Ok(read) => answers.extend_from_slice(&self.answer[..read]),
                // What was not read when the other end closed; the answers follow.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error),
            }
        }
    }
}
