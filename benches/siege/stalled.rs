//! Stalled peers of every kind: they connect, send a request, and read nothing or one byte a second. A peer that the server
//! disconnects is replaced.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};

use crate::storm::source;

/// The receive buffer of a peer in bytes, near the minimum that Linux allows.
const BUFFER: usize = 4096;

/// How long a disconnected peer waits before it reconnects.
const PAUSE: Duration = Duration::from_millis(250);

/// How often a slow reader reads a byte.
const DRIP: Duration = Duration::from_secs(1);

/// The longest time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// Several peers with the same behaviour.
#[derive(Debug, Clone)]
pub struct PeerKind {
    pub target: SocketAddr,
    /// The bytes that each sends when it is connected.
    pub hello: Vec<u8>,
    /// The TLS configuration, if they use TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// Whether each reads one byte a second; otherwise none.
    pub drips: bool,
    pub count: usize,
}

impl PeerKind {
    /// Returns peers that send `hello` and never read.
    pub fn silent(target: SocketAddr, hello: impl Into<Vec<u8>>, count: usize) -> Self {
        Self { target, hello: hello.into(), tls: None, drips: false, count }
    }

    /// Returns peers that send `hello` and read one byte a second.
    pub fn dripping(target: SocketAddr, hello: impl Into<Vec<u8>>, count: usize) -> Self {
        Self { drips: true, ..Self::silent(target, hello, count) }
    }

    /// Returns peers that complete a TLS handshake and never read.
    pub fn encrypted(target: SocketAddr, tls: &Arc<ClientConfig>, count: usize) -> Self {
        Self { tls: Some(Arc::clone(tls)), ..Self::silent(target, [], count) }
    }
}

#[derive(Debug)]
struct Peer {
    kind: usize,
    socket: Option<Socket>,
    /// When it reconnects.
    due: Instant,
}

/// The peers, on the thread that calls [`poll`](Self::poll).
pub struct StalledPeers {
    kinds: Vec<PeerKind>,
    peers: Vec<Peer>,
    epoll: OwnedFd,
    events: Vec<Event>,
    next_drip: Instant,
    cut: u64,
}

impl StalledPeers {
    pub fn new(kinds: Vec<PeerKind>) -> anyhow::Result<Self> {
        let due = Instant::now();
        let peers = kinds.iter().enumerate().flat_map(|(kind, PeerKind { count, .. })| vec![kind; *count]);
        Ok(Self {
            peers: peers.map(|kind| Peer { kind, socket: None, due }).collect(),
            kinds,
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(io::Error::from)?,
            events: Vec::with_capacity(256),
            next_drip: due,
            cut: 0,
        })
    }

    /// Returns how many peers the server has disconnected, refused or answered so far.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// Connects the peers that are due, and waits up to 50 ms for disconnections.
    pub fn poll(&mut self) -> io::Result<()> {
        let began = Instant::now();
        for index in 0..self.peers.len() {
            let Peer { kind, ref socket, due } = self.peers[index];
            // Handshakes wait for the server: a call takes no longer than one of them.
            if socket.is_some() || due > Instant::now() || began.elapsed() > HANDSHAKE / 2 {
                continue;
            }
            let socket = dial(&self.kinds[kind], index).and_then(|socket| {
                let token = EventData::new_u64(index as u64);
                epoll::add(&self.epoll, &socket, token, EventFlags::RDHUP)?;
                Ok(socket)
            });
            self.peers[index].due = Instant::now() + PAUSE;
            self.peers[index].socket = socket.ok();
        }
        self.drip();
        self.events.clear();
        let timeout = Timespec::try_from(Duration::from_millis(50)).ok();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            if let Some(peer) = usize::try_from(event.data.u64()).ok().and_then(|index| self.peers.get_mut(index)) {
                peer.due = Instant::now() + PAUSE;
                peer.socket = None;
                self.cut += 1;
            }
        }
        Ok(())
    }

    fn drip(&mut self) {
        if Instant::now() < self.next_drip {
            return;
        }
        self.next_drip = Instant::now() + DRIP;
        for peer in self.peers.iter_mut().filter(|peer| self.kinds[peer.kind].drips) {
            if let Some(mut socket) = peer.socket.as_ref() {
                // The end of the stream is a separate event.
                let _ = socket.read(&mut [0]);
            }
        }
    }
}

fn dial(kind: &PeerKind, index: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.bind(&source(index).into())?;
    // On loopback this takes microseconds, unless the queue of the server is full.
    socket.connect_timeout(&kind.target.into(), HANDSHAKE)?;
    if let Some(config) = &kind.tls {
        socket.set_read_timeout(Some(HANDSHAKE))?;
        socket.set_write_timeout(Some(HANDSHAKE))?;
        let name = "localhost".try_into().map_err(io::Error::other)?;
        let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            let (read, _) = session.complete_io(&mut &socket)?;
            if read == 0 && session.is_handshaking() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
    socket.set_nonblocking(true)?;
    let _ = (&socket).write(&kind.hello)?;
    Ok(socket)
}
