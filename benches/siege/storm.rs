//! Connection churn: thousands of connections that are closed and reopened at once, on one thread.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::AddAssign;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};

/// The number of source addresses in 127.0.1.0/24.
const SOURCES: usize = 200;

/// Connections opened between two polls.
const BATCH: usize = 32;

/// An incomplete request, and a complete one.
const HALF_REQUEST: &[u8] = b"GET /map HTTP/1.1\r\n";
const REQUEST: &[u8] = b"GET /map HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The port of a storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Port {
    /// The map's port without TLS
    Map,
    /// The HTTP port
    Http,
    /// The map's port with TLS
    Tls,
}

/// Counts of connections by their result.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Connections that were begun.
    pub opened: u64,
    /// Connections that received a byte.
    pub served: u64,
    /// Connections that ended without a byte.
    pub refused: u64,
    /// Connections that the system could not begin.
    pub failed: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.opened += other.opened;
        self.served += other.served;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

/// How a storm closes its connections.
#[derive(Debug, Clone, Copy)]
pub enum Closing {
    /// Each connection is closed and reopened at once.
    OneByOne,
    /// All are closed, then all are opened.
    Together,
}

#[derive(Debug)]
struct Slot {
    socket: Option<Socket>,
    /// Whether it received a byte, or ended without one.
    is_settled: bool,
}

/// A storm: many connections to one port.
pub struct Storm {
    target: SocketAddr,
    /// The first bytes of one connection in four, and of another one in four. The others send nothing.
    hellos: [Vec<u8>; 2],
    /// Whether the server sends first on this port.
    speaks_first: bool,
    slots: Vec<Slot>,
    unsettled: usize,
    epoll: OwnedFd,
    events: Vec<Event>,
    figures: Figures,
    cycles: usize,
}

impl Storm {
    /// Returns a storm of `width` connections to `target`, all of them closed. `tls` is the configuration of honest clients of a TLS
    /// port.
    pub fn new(target: SocketAddr, port: Port, width: usize, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let hellos = match (port, tls) {
            (Port::Map, _) | (Port::Tls, None) => Default::default(),
            (Port::Http, _) => [HALF_REQUEST.to_vec(), REQUEST.to_vec()],
            (Port::Tls, Some(config)) => [client_hello(config)?, client_hello(config)?],
        };
        Ok(Self {
            target,
            hellos,
            speaks_first: port == Port::Map,
            slots: (0..width).map(|_| Slot { socket: None, is_settled: true }).collect(),
            unsettled: 0,
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(io::Error::from)?,
            events: Vec::with_capacity(1024),
            figures: Figures::default(),
            cycles: 0,
        })
    }

    /// Returns the counts so far.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Returns the number of connections that are neither served nor refused.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Closes every open connection, half of them with a reset and half with FIN, and opens all. Then waits until each has been served
    /// or refused, at most `patience`, or always `patience` if the server does not send first. Stops early, between two connections,
    /// when `is_over`.
    pub fn cycle(&mut self, closing: Closing, patience: Duration, is_over: &mut dyn FnMut() -> bool) -> io::Result<()> {
        self.cycles += 1;
        if matches!(closing, Closing::Together) {
            (0..self.slots.len()).for_each(|index| self.close(index));
        }
        for index in 0..self.slots.len() {
            self.close(index);
            self.open(index);
            if index % BATCH == 0 {
                self.poll(Duration::ZERO)?;
                if is_over() {
                    return Ok(());
                }
            }
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && (self.unsettled > 0 || !self.speaks_first) && !is_over() {
            self.poll(Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn close(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(socket) = slot.socket.take() else { return };
        self.unsettled -= usize::from(!slot.is_settled);
        slot.is_settled = true;
        if (index + self.cycles).is_multiple_of(2) {
            // Fails only if there is nothing to reset.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }

    fn open(&mut self, index: usize) {
        match self.dial(index) {
            Ok(socket) => {
                self.figures.opened += 1;
                self.unsettled += 1;
                self.slots[index] = Slot { socket: Some(socket), is_settled: false };
            }
            Err(_) => self.figures.failed += 1,
        }
    }

    fn dial(&self, index: usize) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&source(index).into())?;
        match socket.connect(&self.target.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
            _ => {}
        }
        if index.is_multiple_of(2) {
            // On loopback it is connected now, unless the queue is full. Then it sends nothing.
            let _ = (&socket).write(&self.hellos[index / 2 % 2]);
        }
        let (token, once) = (EventData::new_u64(index as u64), EventFlags::IN | EventFlags::ONESHOT);
        epoll::add(&self.epoll, &socket, token, once)?;
        Ok(socket)
    }

    /// Handles events of the connections.
    fn poll(&mut self, timeout: Duration) -> io::Result<()> {
        self.events.clear();
        let timeout = Timespec::try_from(timeout).ok();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let Some(slot) = usize::try_from(event.data.u64()).ok().and_then(|index| self.slots.get_mut(index)) else {
                continue;
            };
            let Some(mut socket) = slot.socket.as_ref().filter(|_| !slot.is_settled) else { continue };
            slot.is_settled = true;
            self.unsettled -= 1;
            match socket.read(&mut [0; 16]) {
                Ok(read) if read > 0 => self.figures.served += 1,
                _ => self.figures.refused += 1,
            }
        }
        Ok(())
    }
}

/// Connects, sends the first line of a request, and resets, one connection after another, until `is_over`. Returns the number of
/// connections.
pub fn one_at_a_time(target: SocketAddr, is_over: &mut dyn FnMut() -> bool) -> u64 {
    let mut opened = 0;
    while !is_over() {
        opened += u64::from(connect_and_reset(target).is_ok());
    }
    opened
}

/// Makes one connection that sends the first line of a request and resets.
fn connect_and_reset(target: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&source(0).into())?;
    match socket.connect(&target.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        _ => {}
    }
    // If the queue is full, it is not connected yet, and is closed all the same.
    (&socket).write_all(HALF_REQUEST)
}

/// Returns the source address of connection `index`, with any port. Never in 127.0.0.0/24, the network of the servers.
pub fn source(index: usize) -> SocketAddr {
    let last = u8::try_from(index % SOURCES).unwrap_or(0) + 1;
    SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0))
}

/// Returns the first bytes of a TLS handshake.
pub fn client_hello(config: &Arc<ClientConfig>) -> anyhow::Result<Vec<u8>> {
    let mut hello = Vec::new();
    ClientConnection::new(Arc::clone(config), "localhost".try_into()?)?.write_tls(&mut hello)?;
    Ok(hello)
}

/// Threads that keep every core busy until this is dropped.
pub struct CpuLoad(Arc<AtomicBool>);

impl CpuLoad {
    pub fn start() -> anyhow::Result<Self> {
        let cpu_load = Self(Arc::default());
        for _ in 0..thread::available_parallelism()?.get() {
            let stopped = Arc::clone(&cpu_load.0);
            let burn = move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            };
            thread::Builder::new().name("burner".to_owned()).spawn(burn)?;
        }
        Ok(cpu_load)
    }
}

impl Drop for CpuLoad {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
