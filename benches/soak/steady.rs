//! The steady clients, which read everything and must never be without a frame for long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mapcast::client::Error;
use mapcast::{Client, ClientConfig, Format, Shutdown};

use crate::certificates::Certificates;
use crate::load::Change;
use crate::server::Server;

/// The stack of a client's thread in bytes, enough for a handshake and a small map in a debug build.
const STACK: usize = 256 * 1024;

/// The number of clients that connect at once. More handshakes at once would only wait for each other.
const CONNECTING: usize = 8;

/// The worst values of all clients, in microseconds.
#[derive(Debug, Default)]
struct Worst {
    gap: AtomicU64,
    age: AtomicU64,
}

/// The worst values of all clients since the warm-up.
#[derive(Debug, Clone, Copy)]
pub struct Gaps {
    /// The longest time between two frames.
    pub gap: Duration,
    /// The largest age of a change on arrival.
    pub age: Duration,
    /// The number of clients whose connection ended.
    pub lost: u64,
}

/// All steady clients, half of them on each server.
pub struct Steady {
    clients: Vec<JoinHandle<Result<(), Error>>>,
    per_server: [(&'static str, u64); 2],
    configs: [ClientConfig; 2],
    worst: Arc<Worst>,
    stop: Shutdown,
}

impl Steady {
    /// Connects `clients` clients, and waits for the first map of each.
    pub fn connect(servers: &[Server; 2], clients: usize, certificates: &Certificates) -> anyhow::Result<Self> {
        let (worst, stop) = (Arc::new(Worst::default()), Shutdown::new()?);
        let share = clients / 2;
        let per_server = [(servers[0].name, (clients - share) as u64), (servers[1].name, share as u64)];
        let plain = ClientConfig { format: Some(Format::Json), ..ClientConfig::default() };
        let encrypted = ClientConfig { tls: Some(certificates.connector()?), ..plain.clone() };
        let (ready, is_ready) = mpsc::sync_channel(0);
        let mut threads = Vec::with_capacity(clients);
        let mut connected = 0;
        for number in 0..clients {
            let (server, config) = if number % 2 == 0 { (&servers[0], &plain) } else { (&servers[1], &encrypted) };
            let (addr, config) = (server.addr.to_string(), config.clone());
            let (worst, stop, ready) = (Arc::clone(&worst), stop.clone(), ready.clone());
            let follow = move || follow(&addr, &config, &worst, &stop, &ready);
            threads.push(thread::Builder::new().stack_size(STACK).spawn(follow)?);
            while number + 1 - connected >= CONNECTING {
                is_ready.recv_timeout(Duration::from_secs(20)).context("a client does not connect")?;
                connected += 1;
            }
        }
        for _ in connected..clients {
            is_ready.recv_timeout(Duration::from_secs(20)).context("a client does not connect")?;
        }
        Ok(Self { clients: threads, per_server, configs: [plain, encrypted], worst, stop })
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Returns the number of clients on `server`.
    pub fn on(&self, server: &Server) -> u64 {
        self.per_server.iter().find(|(name, _)| *name == server.name).map_or(0, |(_, count)| *count)
    }

    /// Connects one more client to `server`, reads a map, and closes.
    pub fn visit(&self, server: &Server) -> anyhow::Result<()> {
        let config = &self.configs[usize::from(server.name != self.per_server[0].0)];
        Client::connect(&server.addr.to_string(), config, &self.stop)?.next_payload()?.context("no map")?;
        Ok(())
    }

    /// Resets the worst values.
    pub fn reset_gaps(&self) {
        self.worst.gap.store(0, Ordering::Relaxed);
        self.worst.age.store(0, Ordering::Relaxed);
    }

    /// Disconnects all clients. Returns the worst values.
    pub fn stop(self) -> anyhow::Result<Gaps> {
        let read = |worst: &AtomicU64| Duration::from_micros(worst.load(Ordering::Relaxed));
        let (gap, age) = (read(&self.worst.gap), read(&self.worst.age));
        self.stop.trigger();
        let mut lost = 0;
        for client in self.clients {
            let ended = client.join().ok().context("a client's thread panicked")?;
            if let Err(error) = ended {
                eprintln!("a steady client was lost: {error}");
                lost += 1;
            }
        }
        Ok(Gaps { gap, age, lost })
    }
}

/// Runs one client. Returns `Ok` if and only if it was stopped.
fn follow(
    addr: &str,
    config: &ClientConfig,
    worst: &Worst,
    stop: &Shutdown,
    ready: &mpsc::SyncSender<()>,
) -> Result<(), Error> {
    let mut client = Client::connect(addr, config, stop)?;
    let (mut last, mut newest) = (None, 0);
    loop {
        let change: Change = match client.next_typed() {
            Ok(Some(change)) => change,
            Ok(None) => return Err(Error::Connection(std::io::ErrorKind::UnexpectedEof.into())),
            Err(Error::Stopped) => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        if let Some(last) = last {
            worst.record(&worst.gap, now - last);
        } else {
            // Fails only if connecting was given up.
            let _ = ready.send(());
        }
        if change.number > newest {
            worst.record(&worst.age, change.age());
        }
        assert!(change.number >= newest, "an older map after a newer one");
        (last, newest) = (Some(now), change.number);
    }
}

impl Worst {
    #[allow(clippy::unused_self, reason = "consistent with the other methods")]
    fn record(&self, what: &AtomicU64, duration: Duration) {
        what.fetch_max(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Gaps {
    /// Fails if a client was without the map for longer than `interval`.
    pub fn check(&self, interval: Duration) -> anyhow::Result<()> {
        ensure!(self.lost == 0, "{} clients were lost", self.lost);
        ensure!(self.gap <= interval, "a client received nothing for {:?}", self.gap);
        ensure!(self.age <= interval, "a change arrived after {:?}", self.age);
        Ok(())
    }
}
