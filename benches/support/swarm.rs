//! Many clients on one thread: nonblocking sockets in one epoll set.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};

use super::sample::Sample;
use super::stamp::{read_stamped, stamp};
use super::wire::{Wire, WireError};

/// The number of bytes per read.
const CHUNK: usize = 64 * 1024;

/// The number of events per call of epoll.
const BATCH: usize = 1024;

/// The number of source addresses of the clients of a loopback server. Each address has its own 28,232 ports
/// (`ip_local_port_range`), so that none runs out of ports.
const SOURCES: usize = 200;

/// The receive buffer of a stalled client in bytes, near the minimum that Linux allows.
const STALLED_BUFFER: usize = 4096;

/// An error of the load itself. Errors of single connections are counted instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A client could not be created.
    #[error("cannot create client {number}: descriptor limit reached, or no port left")]
    Client {
        /// The number of the client, from 1.
        number: usize,
        /// The error of the system.
        source: io::Error,
    },
    /// Waiting for the sockets failed.
    #[error("cannot wait for the clients")]
    Wait(#[from] io::Error),
    /// A client received bytes that are not a message.
    #[error("client {number} received bytes that it cannot read")]
    Message {
        /// The number of the client, from 1.
        number: usize,
        /// The reason.
        source: WireError,
    },
}

/// Counts of connections by their result so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were established.
    pub connected: usize,
    /// Connections that were never established.
    pub refused: usize,
    /// Connections that the server closed between two messages.
    pub ended: usize,
    /// Connections that the server closed inside a message.
    pub torn: usize,
    /// Connections that were reset.
    pub reset: usize,
}

impl Counts {
    /// Returns the number of connections that have ended in any way.
    pub fn over(&self) -> usize {
        self.refused + self.ended + self.torn + self.reset
    }
}

/// How clients connect.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    /// The server.
    pub target: SocketAddr,
    /// The number of clients.
    pub clients: usize,
    /// How many of them, the last ones, never read.
    pub stalled: usize,
    /// Connections begun per second.
    pub rate: u32,
    /// The longest time for the last one to connect.
    pub patience: Duration,
}

/// A received message with a payload.
#[derive(Debug)]
pub struct Arrival<'bytes> {
    /// The index of the client, from 0 in the order of connecting.
    pub client: usize,
    /// The published bytes.
    pub payload: &'bytes [u8],
    /// When it was read, or, in a swarm that reads late, when the client's kernel received it.
    pub at: Instant,
    /// When the client began to connect.
    pub begun: Instant,
}

/// Many clients on one thread.
pub struct Swarm<W> {
    wire: W,
    /// The TLS configuration, if clients use TLS; the server name is `localhost`.
    tls: Option<Arc<ClientConfig>>,
    /// How late clients read; arrival times are then kernel timestamps.
    lateness: Option<Duration>,
    epoll: OwnedFd,
    clients: Vec<Client>,
    counts: Counts,
    connects: Sample,
    events: Vec<Event>,
    chunk: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    stage: Stage,
    begun: Instant,
    /// The received part of an incomplete message.
    partial: Vec<u8>,
    session: Option<Box<ClientConnection>>,
}

#[derive(Debug)]
enum Stage {
    Connecting {
        socket: Socket,
        stalls: bool,
    },
    Open(Socket),
    /// Connected, and never reads. The socket is only kept open.
    Stalled {
        _socket: Socket,
    },
    Over,
}

impl<W: Wire> Swarm<W> {
    /// Returns a swarm without clients, for the protocol `wire`.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn new(wire: W) -> Result<Self, Error> {
        Ok(Self {
            wire,
            tls: None,
            lateness: None,
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(io::Error::from)?,
            clients: Vec::new(),
            counts: Counts::default(),
            connects: Sample::default(),
            events: Vec::with_capacity(BATCH),
            chunk: vec![0; CHUNK],
        })
    }

    /// Uses TLS for clients that connect from now on.
    #[allow(dead_code, reason = "not every program that shares this file uses it")]
    pub fn encrypt(&mut self, tls: Option<Arc<ClientConfig>>) {
        self.tls = tls;
    }

    /// Makes clients that connect from now on, without TLS, read `lateness` after bytes have arrived, as if they had their own
    /// cores. Arrival times are then kernel timestamps.
    #[allow(dead_code, reason = "not every program that shares this file uses it")]
    pub fn read_late(&mut self, lateness: Duration) {
        self.lateness = Some(lateness);
    }

    /// Counts of connections by their result so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns true if and only if the connection of client `index` has ended.
    pub fn is_over(&self, index: usize) -> bool {
        matches!(self.clients[index].stage, Stage::Over)
    }

    /// Returns the times that all established connections took to connect.
    pub fn connects(&mut self) -> &mut Sample {
        &mut self.connects
    }

    /// Connects the clients of `burst`. Returns as soon as every client is connected or has failed, at the latest after the
    /// burst's patience, and at once if `progress` breaks. `progress` gets the counts, at most about a thousand times a second.
    ///
    /// # Errors
    /// As [`begin`](Self::begin) and [`poll`](Self::poll).
    pub fn connect(
        &mut self,
        burst: &Burst,
        mut take: impl FnMut(Arrival<'_>),
        mut progress: impl FnMut(Counts) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let (started, before) = (Instant::now(), self.counts);
        let pace = Duration::from_secs(1) / burst.rate.max(1);
        let whole = pace.saturating_mul(u32::try_from(burst.clients).unwrap_or(u32::MAX));
        let mut begun = 0;
        loop {
            while begun < burst.clients && pace.as_nanos() * begun as u128 <= started.elapsed().as_nanos() {
                self.begin(burst.target, begun + burst.stalled >= burst.clients)?;
                begun += 1;
                // Read between two connections: otherwise the server would appear slow.
                self.poll(Duration::ZERO, &mut take)?;
            }
            self.poll(Duration::from_millis(1), &mut take)?;
            let wanted = progress(self.counts).is_continue();
            let settled = self.counts.connected + self.counts.refused - before.connected - before.refused;
            if !wanted || settled == burst.clients || started.elapsed() > whole + burst.patience {
                return Ok(());
            }
        }
    }

    /// Begins one more connection to `target`. If it `stalls`, it is established and then never read.
    ///
    /// # Errors
    /// `Client` if there is no descriptor or port for it.
    pub fn begin(&mut self, target: SocketAddr, stalls: bool) -> Result<(), Error> {
        let (index, begun) = (self.clients.len(), Instant::now());
        let stage = self.dial(index, target, stalls).map_err(|source| Error::Client { number: index + 1, source })?;
        self.clients.push(Client { stage, begun, partial: Vec::new(), session: None });
        Ok(())
    }

    /// Closes the connection of client `index`, if it is open, and begins another one to `target`.
    ///
    /// # Errors
    /// As [`begin`](Self::begin). Then the client has ended.
    pub fn renew(&mut self, index: usize, target: SocketAddr) -> Result<(), Error> {
        // The old socket leaves the epoll set when it is closed.
        self.clients[index] = Client { stage: Stage::Over, begun: Instant::now(), partial: Vec::new(), session: None };
        let stage = self.dial(index, target, false);
        self.clients[index].stage = stage.map_err(|source| Error::Client { number: index + 1, source })?;
        Ok(())
    }

    fn dial(&mut self, index: usize, target: SocketAddr, stalls: bool) -> io::Result<Stage> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if stalls {
            socket.set_recv_buffer_size(STALLED_BUFFER)?;
        }
        if let Some(source) = source_for(target, index) {
            socket.bind(&source.into())?;
        }
        match socket.connect(&target.into()) {
            Ok(()) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.counts.refused += 1;
                return Ok(Stage::Over);
            }
            Err(error) => return Err(error),
        }
        epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), EventFlags::OUT)?;
        Ok(Stage::Connecting { socket, stalls })
    }

    /// Waits for events, at most `timeout`, and passes received messages to `take`. Returns false if and only if there were no
    /// events.
    ///
    /// # Errors
    /// `Message` if a client receives bytes that are not a message; `Wait` if the system call fails.
    pub fn poll(&mut self, timeout: Duration, take: &mut impl FnMut(Arrival<'_>)) -> Result<bool, Error> {
        let timeout = Timespec::try_from(timeout).ok();
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        if let Some(lateness) = self.lateness.filter(|_| !self.events.is_empty()) {
            #[expect(clippy::disallowed_methods, reason = "there is no event to wait for")]
            std::thread::sleep(lateness);
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            // `dial` sets the data from an index.
            #[expect(clippy::cast_possible_truncation)]
            self.advance(event.data.u64() as usize, take)?;
        }
        let happened = !events.is_empty();
        self.events = events;
        Ok(happened)
    }

    fn advance(&mut self, index: usize, take: &mut impl FnMut(Arrival<'_>)) -> Result<(), Error> {
        let stage = std::mem::replace(&mut self.clients[index].stage, Stage::Over);
        self.clients[index].stage = match stage {
            Stage::Connecting { socket, stalls } => self.establish(index, socket, stalls)?,
            Stage::Open(socket) => self.read(index, socket, take)?,
            stage => stage,
        };
        Ok(())
    }

    fn establish(&mut self, index: usize, socket: Socket, stalls: bool) -> Result<Stage, Error> {
        if socket.take_error()?.is_some() {
            self.counts.refused += 1;
            return Ok(Stage::Over);
        }
        self.counts.connected += 1;
        self.connects.add(self.clients[index].begun.elapsed());
        if let Some(tls) = &self.tls {
            let name = "localhost".try_into().map_err(io::Error::other)?;
            let mut session = Box::new(ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?);
            // A few hundred bytes fit into an empty buffer, so they are sent whole unless the server has closed.
            if session.write_tls(&mut &socket).is_err() {
                self.counts.reset += 1;
                return Ok(Stage::Over);
            }
            self.clients[index].session = Some(session);
        }
        if self.lateness.is_some() {
            stamp(&socket)?;
        }
        let hello = self.wire.hello();
        if !hello.is_empty() {
            // A few dozen bytes fit into an empty buffer, so they are sent whole.
            socket.send(&hello)?;
        }
        if stalls {
            epoll::delete(&self.epoll, &socket).map_err(io::Error::from)?;
            return Ok(Stage::Stalled { _socket: socket });
        }
        let token = EventData::new_u64(index as u64);
        epoll::modify(&self.epoll, &socket, token, EventFlags::IN).map_err(io::Error::from)?;
        Ok(Stage::Open(socket))
    }

    /// Reads once. epoll reports the remaining bytes again.
    fn read(&mut self, index: usize, socket: Socket, take: &mut impl FnMut(Arrival<'_>)) -> Result<Stage, Error> {
        let client = &mut self.clients[index];
        let taken = if self.lateness.is_some() {
            read_stamped(&socket, &mut self.chunk)
        } else {
            read_some(&socket, client.session.as_deref_mut(), &mut self.chunk).map(|read| (read, Instant::now()))
        };
        let (read, at) = match taken {
            Ok((0, _)) if client.partial.is_empty() => {
                self.counts.ended += 1;
                return Ok(Stage::Over);
            }
            Ok((0, _)) => {
                self.counts.torn += 1;
                return Ok(Stage::Over);
            }
            Ok(taken) => taken,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(Stage::Open(socket));
            }
            Err(_) => {
                self.counts.reset += 1;
                return Ok(Stage::Over);
            }
        };
        let failed = |source| Error::Message { number: index + 1, source };
        let mut bytes = &self.chunk[..read];
        if !client.partial.is_empty() {
            client.partial.extend_from_slice(bytes);
            bytes = &client.partial;
        }
        let mut used = 0;
        while let Some(message) = self.wire.split(&bytes[used..]).map_err(failed)? {
            used += message.len;
            if !message.reply.is_empty() {
                socket.send(message.reply)?;
            }
            if let Some(payload) = message.payload {
                take(Arrival { client: index, payload, at, begun: client.begun });
            }
        }
        client.partial = bytes[used..].to_vec();
        Ok(Stage::Open(socket))
    }
}

/// Reads once, and decrypts if there is a session. `WouldBlock` means that no payload has arrived.
fn read_some(mut socket: &Socket, session: Option<&mut ClientConnection>, chunk: &mut [u8]) -> io::Result<usize> {
    let Some(session) = session else { return socket.read(chunk) };
    session.read_tls(&mut socket)?;
    session.process_new_packets().map_err(io::Error::other)?;
    while session.wants_write() {
        session.write_tls(&mut socket)?;
    }
    session.reader().read(chunk)
}

/// Resets all connections, so that their ports are free at once and no connection lingers.
impl<W> Drop for Swarm<W> {
    fn drop(&mut self) {
        for client in &self.clients {
            if let Stage::Connecting { socket, .. } | Stage::Open(socket) | Stage::Stalled { _socket: socket } =
                &client.stage
            {
                // Fails only if there is nothing to reset.
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
        }
    }
}

/// Returns the source address of client `index`; `None` if the system chooses it.
fn source_for(target: SocketAddr, index: usize) -> Option<SocketAddr> {
    let IpAddr::V4(ip) = target.ip() else { return None };
    // Not 127.0.0.1: servers listen there on ports of the same range.
    let last = u8::try_from(index % SOURCES).ok()? + 1;
    ip.is_loopback().then(|| SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0)))
}

/// Raises the soft limit on descriptors to the hard limit. Returns the resulting limit; `None` if there is none.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // If it fails, the old limit stays, and connecting reports what is missing.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current
}
