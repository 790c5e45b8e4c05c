//! Probes once a second: the requests of an orchestrator, and a new client of the map.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mapcast::frame::{FrameReader, HEADER_LEN};

use crate::http;
use crate::support::map::{self, Published};

const PERIOD: Duration = Duration::from_secs(1);

/// The longest time for a response: HTTP gets a tenth of a busy core.
const PATIENCE: Duration = Duration::from_secs(15);

/// The paths that must always return 200.
const PATHS: [&str; 2] = ["/livez", "/metrics"];

/// The results of the probes since the last call.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub asked: u64,
    pub unanswered: u64,
    /// The last failure.
    pub last_failure: String,
    pub longest: Duration,
    /// New clients that received a map.
    pub served: u64,
    /// New clients that were closed without a byte, which is correct at the limit.
    pub refused: u64,
    /// New clients that received nothing and were not closed.
    pub ignored: u64,
    /// New clients that received an older map than one acknowledged before they connected.
    pub behind: u64,
}

/// The thread of the probes.
pub struct Probes {
    /// Locked for one change.
    tally: Arc<Mutex<Tally>>,
    stopped: Arc<AtomicBool>,
}

impl Probes {
    /// Starts requests to `page` and connections of new clients to `map`, for those that are given.
    pub fn start(page: Option<SocketAddr>, map: Option<(SocketAddr, Arc<Published>)>) -> anyhow::Result<Self> {
        let probes = Self { tally: Arc::default(), stopped: Arc::default() };
        let (tally, stopped) = (Arc::clone(&probes.tally), Arc::clone(&probes.stopped));
        let run = move || {
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                for path in PATHS {
                    if let Some(page) = page {
                        ask(page, path, &tally);
                    }
                }
                if let Some((map, published)) = &map {
                    connect(*map, published, &tally);
                }
                thread::park_timeout(PERIOD.saturating_sub(began.elapsed()));
            }
        };
        thread::Builder::new().name("probes".to_owned()).spawn(run)?;
        Ok(probes)
    }

    /// Returns the results since the last call.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut lock(&self.tally))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn ask(page: SocketAddr, path: &str, tally: &Mutex<Tally>) {
    let began = Instant::now();
    let answer = http::request(page, &http::get(path), PATIENCE);
    let mut tally = lock(tally);
    tally.asked += 1;
    tally.longest = tally.longest.max(began.elapsed());
    let failure = match answer {
        Ok(answer) if answer.status == 200 => return,
        Ok(answer) => format!("{path} returned {}", answer.status),
        Err(error) => format!("{path}: {error}"),
    };
    tally.unanswered += 1;
    tally.last_failure = failure;
}

fn connect(map: SocketAddr, published: &Published, tally: &Mutex<Tally>) {
    let floor = published.newest().unwrap_or(0);
    let first = first_map(map);
    let mut tally = lock(tally);
    match first {
        Ok(Some(number)) => {
            tally.served += 1;
            tally.behind += u64::from(number < floor);
        }
        Ok(None) => tally.refused += 1,
        Err(error) => {
            tally.ignored += 1;
            tally.last_failure = format!("a new client: {error}");
        }
    }
}

/// Returns the number of the first map of a new client; `None` if the server closes the connection before it.
///
/// # Errors
/// If nothing arrives within [`PATIENCE`], or the map is not complete.
pub fn first_map(server: SocketAddr) -> io::Result<Option<u64>> {
    let mut stream = match TcpStream::connect_timeout(&server, PATIENCE) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(None),
        stream => stream?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = [0; HEADER_LEN];
    match stream.read_exact(&mut head) {
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
        head => head?,
    }
    let payload = FrameReader::new(head.chain(stream), 2 << 20).read_frame().map_err(io::Error::other)?;
    map::verify(&payload.unwrap_or_default()).map(Some).map_err(io::Error::other)
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
