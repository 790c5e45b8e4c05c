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

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Events taken from the kernel in one call.
const BATCH: usize = 1024;

/// Addresses that clients of a loopback server come from, so that no address runs out of ports: each has the 28,232 of
/// `ip_local_port_range` for itself.
const SOURCES: usize = 200;

/// What a stalled client's kernel takes before the server notices, in bytes: the least that Linux allows is near.
const STALLED_BUFFER: usize = 4096;

/// The load itself failed: what one connection meets is counted instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client could be made.
    #[error("cannot make client {number} (descriptor limit, or no port left)")]
    Client {
        /// Which one, from 1.
        number: usize,
        /// What the system says.
        source: io::Error,
    },
    /// The set of sockets cannot be waited for.
    #[error("cannot wait for the clients")]
    Wait(#[from] io::Error),
    /// A client got bytes that are no message.
    #[error("client {number} got what it cannot read")]
    Message {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with them.
        source: WireError,
    },
}

/// What has become of the clients so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were established.
    pub connected: usize,
    /// Connections that failed before.
    pub refused: usize,
    /// Connections that the server ended between two messages.
    pub ended: usize,
    /// Connections that it ended inside one.
    pub torn: usize,
    /// Connections that ended with a reset.
    pub reset: usize,
}

impl Counts {
    /// Connections that are over, one way or the other.
    pub fn over(&self) -> usize {
        self.refused + self.ended + self.torn + self.reset
    }
}

/// How clients come.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    /// The server.
    pub target: SocketAddr,
    /// How many.
    pub clients: usize,
    /// How many of them never read: the last ones.
    pub stalled: usize,
    /// How many begin in a second.
    pub rate: u32,
    /// How long the last one may take.
    pub patience: Duration,
}

/// A message with a payload.
#[derive(Debug)]
pub struct Arrival<'bytes> {
    /// Whose it is, from 0 in the order of connecting.
    pub client: usize,
    /// What was published.
    pub payload: &'bytes [u8],
    /// When it was read; when the client's kernel had it, in a swarm that reads late.
    pub at: Instant,
    /// When its client began to connect.
    pub begun: Instant,
}

/// The clients.
pub struct Swarm<W> {
    wire: W,
    /// With TLS, for `localhost`, if it is there.
    tls: Option<Arc<ClientConfig>>,
    /// How late it reads, with the kernel's word on when that came.
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
    /// A message as far as it has come.
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
    /// Connected, and never reads. Held, not used.
    Stalled {
        _socket: Socket,
    },
    Over,
}

impl<W: Wire> Swarm<W> {
    /// Returns a swarm of no clients that speak `wire`.
    ///
    /// # Errors
    /// If the system has no descriptor left.
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

    /// Has those who connect from now on encrypt.
    #[allow(dead_code, reason = "of those who share this file, one does")]
    pub fn encrypt(&mut self, tls: Option<Arc<ClientConfig>>) {
        self.tls = tls;
    }

    /// Has those who connect from now on, without TLS, read `lateness` after something has come, as if they had cores of
    /// their own: when it came is then the kernel's word.
    #[allow(dead_code, reason = "of those who share this file, one does")]
    pub fn read_late(&mut self, lateness: Duration) {
        self.lateness = Some(lateness);
    }

    /// What has become of the clients so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// True if and only if the connection of client `index` has ended.
    pub fn is_over(&self, index: usize) -> bool {
        matches!(self.clients[index].stage, Stage::Over)
    }

    /// From the begin of a connection to its being established, of all that were.
    pub fn connects(&mut self) -> &mut Sample {
        &mut self.connects
    }

    /// Connects as `burst` says. Returns as soon as every client is connected or has failed, at the latest when the
    /// patience is over, and at once if `progress` breaks: it is told what has become of them, some thousand times a
    /// second at most.
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
                // What has come is read between two connections: a server that is read late would look slow.
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

    /// Begins one more connection to `target`. One that `stalls` will be established and then never read.
    ///
    /// # Errors
    /// `Client` if the system has no descriptor or port for it.
    pub fn begin(&mut self, target: SocketAddr, stalls: bool) -> Result<(), Error> {
        let (index, begun) = (self.clients.len(), Instant::now());
        let stage = self.dial(index, target, stalls).map_err(|source| Error::Client { number: index + 1, source })?;
        self.clients.push(Client { stage, begun, partial: Vec::new(), session: None });
        Ok(())
    }

    /// Closes the connection of client `index`, if it is open, and begins another one to `target` in its place.
    ///
    /// # Errors
    /// As [`begin`](Self::begin); the client is over then.
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

    /// Waits until something happens or `timeout` is over, and gives what has come to `take`. Returns false if and only
    /// if nothing happened.
    ///
    /// # Errors
    /// `Message` if a client gets what is none; `Wait` if the system refuses.
    pub fn poll(&mut self, timeout: Duration, take: &mut impl FnMut(Arrival<'_>)) -> Result<bool, Error> {
        let timeout = Timespec::try_from(timeout).ok();
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        if let Some(lateness) = self.lateness.filter(|_| !self.events.is_empty()) {
            #[expect(clippy::disallowed_methods, reason = "nobody is to wake it")]
            std::thread::sleep(lateness);
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            // Written by `dial`, from an index.
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
            // Some hundred bytes into an empty buffer: they go whole, unless the server has closed already.
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
            // Some dozen bytes into an empty buffer: they go whole.
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

    /// Reads once: what is left is reported again.
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

/// Reads once, and decrypts if there is a session. `WouldBlock` means that nothing has come for the client.
fn read_some(mut socket: &Socket, session: Option<&mut ClientConnection>, chunk: &mut [u8]) -> io::Result<usize> {
    let Some(session) = session else { return socket.read(chunk) };
    session.read_tls(&mut socket)?;
    session.process_new_packets().map_err(io::Error::other)?;
    while session.wants_write() {
        session.write_tls(&mut socket)?;
    }
    session.reader().read(chunk)
}

/// Clients leave with a reset, so that their ports are free at once and no connection lingers.
impl<W> Drop for Swarm<W> {
    fn drop(&mut self) {
        for client in &self.clients {
            if let Stage::Connecting { socket, .. } | Stage::Open(socket) | Stage::Stalled { _socket: socket } =
                &client.stage
            {
                // It fails only if there is nothing to reset.
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
        }
    }
}

/// The address that client `index` comes from; `None` where the system chooses.
fn source_for(target: SocketAddr, index: usize) -> Option<SocketAddr> {
    let IpAddr::V4(ip) = target.ip() else { return None };
    // Never 127.0.0.1 itself: servers listen there, and their ports are of the same range.
    let last = u8::try_from(index % SOURCES).ok()? + 1;
    ip.is_loopback().then(|| SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0)))
}

/// Raises the soft limit on descriptors to the hard one. Returns the limit that holds then; `None` if there is none.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the old limit stays, and connecting says what is missing.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current
}
