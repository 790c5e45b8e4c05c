//! The short-lived clients, well-behaved and misbehaving.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown as Direction, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use mapcast::{Client, ClientConfig, Format, Shutdown};
use socket2::SockRef;

use crate::certificates::Certificates;
use crate::server::Server;

/// How long a stalled client is kept: the server should have disconnected it by then.
const STALL: Duration = Duration::from_secs(15);

/// More bytes than a server discards before it closes: 64 KiB.
const FLOOD: usize = 100 * 1024;

/// The behaviour of a client.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    /// Reads one map and closes.
    Polite,
    /// Reads one map and resets.
    Reset,
    /// Half-closes at once, and reads to the end.
    HalfClose,
    /// Floods the server.
    Flood,
    /// Stays connected and never reads. Over TLS it does not send anything either.
    Stall,
}

const BEHAVIOURS: [Behaviour; 10] = [
    Behaviour::Polite,
    Behaviour::Reset,
    Behaviour::Polite,
    Behaviour::HalfClose,
    Behaviour::Polite,
    Behaviour::Flood,
    Behaviour::Polite,
    Behaviour::Reset,
    Behaviour::Polite,
    Behaviour::Stall,
];

/// One thread per server that connects clients at a steady rate until it is stopped.
pub struct Churn {
    connected: Arc<AtomicU64>,
    stop: Shutdown,
    threads: Vec<JoinHandle<()>>,
}

impl Churn {
    /// Starts to connect `rate` clients per second, half of them to each server.
    pub fn start(servers: &[Server; 2], rate: u32, certificates: &Certificates) -> anyhow::Result<Self> {
        let (connected, stop) = (Arc::new(AtomicU64::new(0)), Shutdown::new()?);
        let plain = ClientConfig { format: Some(Format::Json), ..ClientConfig::default() };
        let encrypted = ClientConfig { tls: Some(certificates.connector()?), ..plain.clone() };
        let mut threads = Vec::new();
        for (server, config) in servers.iter().zip([plain, encrypted]) {
            let (addr, connected, stop) = (server.addr, Arc::clone(&connected), stop.clone());
            let visit = move || run_clients(addr, &config, 2 * Duration::from_secs(1) / rate, &connected, &stop);
            threads.push(thread::Builder::new().name(format!("churn of {}", server.name)).spawn(visit)?);
        }
        Ok(Self { connected, stop, threads })
    }

    /// Returns the number of clients so far.
    pub fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Stops, and closes the remaining connections. Returns the number of clients.
    pub fn stop(self) -> anyhow::Result<u64> {
        self.stop.trigger();
        for thread in self.threads {
            thread.join().ok().context("a churn thread panicked")?;
        }
        Ok(self.connected.load(Ordering::Relaxed))
    }
}

fn run_clients(addr: SocketAddr, config: &ClientConfig, period: Duration, connected: &AtomicU64, stop: &Shutdown) {
    let mut stalled: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    let mut next = Instant::now();
    for behaviour in BEHAVIOURS.iter().cycle() {
        if stop.is_triggered() {
            return;
        }
        while stalled.front().is_some_and(|(since, _)| since.elapsed() > STALL) {
            stalled.pop_front();
        }
        // Errors of these clients do not matter: the servers are checked.
        if let Ok(Some(stays)) = run_client(addr, config, *behaviour, stop) {
            stalled.push_back((Instant::now(), stays));
        }
        connected.fetch_add(1, Ordering::Relaxed);
        next += period;
        stop.wait(next.saturating_duration_since(Instant::now()));
    }
}

/// Runs one client. Returns its socket if it should stay open.
fn run_client(
    addr: SocketAddr,
    config: &ClientConfig,
    behaviour: Behaviour,
    stop: &Shutdown,
) -> anyhow::Result<Option<TcpStream>> {
    if matches!(behaviour, Behaviour::Polite) {
        let mut client = Client::connect(&addr.to_string(), config, stop)?;
        client.next_payload()?.context("no map")?;
        return Ok(None);
    }
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    match behaviour {
        Behaviour::Polite => {}
        Behaviour::Reset => {
            if config.tls.is_none() {
                socket.read_exact(&mut [0; 10])?;
            }
            SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        }
        Behaviour::HalfClose => {
            socket.shutdown(Direction::Write)?;
            while socket.read(&mut [0; 4096])? > 0 {}
        }
        Behaviour::Flood => socket.write_all(&vec![b'x'; FLOOD])?,
        Behaviour::Stall => {
            SockRef::from(&socket).set_recv_buffer_size(4096)?;
            return Ok(Some(socket));
        }
    }
    Ok(None)
}
