//! HTTP load while the map is sent: event streams, and requests at a steady rate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mapcast::Shutdown;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The amount of HTTP load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpRate {
    /// The number of event streams of the map.
    pub streams: usize,
    /// Requests per second, in turns over all paths.
    pub requests: u32,
}

/// The number of connections for requests, so that a slow response does not delay the next request.
const CONNECTIONS: u32 = 4;

/// The requested paths.
const PATHS: [&str; 5] = ["/map", "/status", "/clients?limit=10", "/metrics", "/readyz"];

/// The longest time for a response.
const PATIENCE: Duration = Duration::from_secs(10);

/// Running HTTP load. Stopped on drop.
#[derive(Debug)]
pub struct HttpLoad {
    stop: Shutdown,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
    began: Instant,
}

impl HttpLoad {
    /// Opens the streams and starts the requests.
    pub fn start(page: SocketAddr, demand: HttpRate) -> anyhow::Result<Self> {
        let (stop, answered) = (Shutdown::new()?, Arc::new(AtomicU64::new(0)));
        let streams = (0..demand.streams).map(|_| open(page, "/events")).collect::<anyhow::Result<Vec<_>>>()?;
        let requested = stop.clone();
        let mut threads = vec![thread::Builder::new().spawn(move || read_all(&streams, &requested))?];
        for number in 0..CONNECTIONS {
            let (stop, answered) = (stop.clone(), Arc::clone(&answered));
            let period = Duration::from_secs(1) * CONNECTIONS / demand.requests;
            let ask = move || request_every(page, period, number, &answered, &stop);
            threads.push(thread::Builder::new().spawn(ask)?);
        }
        Ok(Self { stop, answered, threads, began: Instant::now() })
    }

    /// Stops the load. Returns the number of answered requests per second.
    pub fn finish(mut self) -> anyhow::Result<f64> {
        let answered = self.answered.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64();
        self.stop.trigger();
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(answered)
    }
}

impl Drop for HttpLoad {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

fn open(page: SocketAddr, path: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(page)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n")?;
    Ok(stream)
}

/// Reads and discards the bytes of `streams` until the stop.
fn read_all(streams: &[TcpStream], stop: &Shutdown) -> anyhow::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while !stop.is_triggered() {
        let mut fds: Vec<_> = streams.iter().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        fds.push(PollFd::new(stop, PollFlags::IN));
        poll(&mut fds, None::<&Timespec>)?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (mut stream, _) in streams.iter().zip(ready).filter(|(_, ready)| *ready) {
            ensure!(stream.read(&mut buffer)? > 0, "an event stream has ended");
        }
    }
    Ok(())
}

/// Sends a request every `period` over one connection until the stop. Overdue requests are sent at once.
fn request_every(
    page: SocketAddr,
    period: Duration,
    number: u32,
    answered: &AtomicU64,
    stop: &Shutdown,
) -> anyhow::Result<()> {
    let mut due = Instant::now() + period / CONNECTIONS * number;
    let mut stream = open(page, "/livez")?;
    let mut buffer = vec![0; 256 * 1024];
    read_response(&mut stream, &mut buffer)?;
    for path in PATHS.iter().cycle() {
        if stop.wait(due.saturating_duration_since(Instant::now())) {
            break;
        }
        due += period;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n")?;
        read_response(&mut stream, &mut buffer).with_context(|| path.to_string())?;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn read_response(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut len = 0;
    loop {
        let read = stream.read(&mut buffer[len..])?;
        ensure!(read > 0, "the connection has ended, or the response is too long");
        len += read;
        let text = String::from_utf8_lossy(&buffer[..len]);
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let body = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
        if len >= head.len() + 4 + body.context("the response has no Content-Length")? {
            return Ok(());
        }
    }
}
