//! The cost of a request of each kind: CPU time of the whole server process, by its own clock, divided by the number of requests.
//!
//! ```text
//! cargo bench --bench requests            # takes some seconds
//! cargo bench --bench requests -- 500     # this many requests of each kind
//! ```
//! The map has 30,000 entries. `docs/security.md` has the figures. The median of the rounds counts.
#![allow(unreachable_pub, missing_docs, reason = "only this program uses its modules")]
#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

use std::env;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::time::ClockId;

/// The measured program.
const MAPCAST: &str = env!("CARGO_BIN_EXE_mapcast-server");

/// Entries of the map, with keys of five digits.
const ENTRIES: usize = 30_000;

/// The default number of requests per round.
const REQUESTS: usize = 100;

const ROUNDS: usize = 5;

/// The number of clients, which `/clients` lists.
const CLIENTS: usize = 1000;

/// The number of streams that receive a change.
const STREAMS: usize = 64;

/// The longest time for any response.
const PATIENCE: Duration = Duration::from_mins(1);

fn main() -> anyhow::Result<()> {
    let count = env::args().skip(1).find(|arg| arg != "--bench").map_or(Ok(REQUESTS), |count| count.parse())?;
    let mut server = Server::start()?;
    let clients: Vec<_> = (0..CLIENTS).map(|_| server.first_frame()).collect::<Result<_, _>>()?;
    println!("CPU per request in us, the median of {ROUNDS} rounds of {count}; {CLIENTS} clients\n");
    println!("| request | us |\n|---|---:|");
    let tags = format!("If-None-Match: {}\r\n", "\"\",".repeat(5000));
    let headers: String = (0..90).fold(String::new(), |mut lines, number| {
        let _ = write!(lines, "X-{number}: {}\r\n", "x".repeat(160));
        lines
    });
    let found = (0..2600).map(|key| (10_000 + 7 * key).to_string()).collect::<Vec<_>>().join(",");
    let digits = "1,".repeat(7900);
    for (name, path, headers) in [
        ("`/livez`", "/livez", ""),
        ("`/map/KEY`", "/map/20000", ""),
        ("`/map`, 480 kB", "/map", ""),
        ("`/map` with 5,000 tags, none of which matches", "/map", tags.as_str()),
        ("`/`, the page", "/", ""),
        ("`/status`", "/status", ""),
        ("`/metrics`", "/metrics", ""),
        ("`/clients`, 1,000 clients", "/clients", ""),
        ("`/livez` with 90 headers, 16 KiB", "/livez", headers.as_str()),
    ] {
        let mut socket = connect(server.page)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", server.page);
        server.report(name, count, |_| answer(&mut socket, request.as_bytes()))?;
    }
    let drip = format!("GET /livez HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", server.page, "x".repeat(16_000));
    server.report("`/livez` with a header of 16,000 bytes that arrive one by one", 1, |server| {
        let mut socket = connect(server.page)?;
        socket.set_nodelay(true)?;
        drip.bytes().try_for_each(|byte| socket.write_all(&[byte]))?;
        answer(&mut socket, b"")
    })?;
    server.report("a connection that gets one frame, 870 kB", count, |server| server.first_frame().map(drop))?;
    for (name, path) in [
        ("`/events`, connection and first event", "/events".to_owned()),
        ("`/events`, 2,600 existing keys", format!("/events?keys={found}")),
        ("`/events`, 7,900 times the same key", format!("/events?keys={digits}")),
        ("`/live`, connection and first event of the map", "/live".to_owned()),
    ] {
        server.report(name, count.div_ceil(4), |server| Events::open(server.page, &path)?.next())?;
    }
    drop(clients);
    let same = (0..STREAMS).map(|_| format!("/events?keys={found}")).collect::<Vec<_>>();
    let different = (0..STREAMS).map(|stream| format!("/events?keys={stream},{found}")).collect::<Vec<_>>();
    for (name, paths) in [
        ("a change without streams", vec![]),
        ("a change to 1 `/events`", vec!["/events".to_owned()]),
        ("a change to 64 `/events`, the same 2,600 keys", same),
        ("a change to 64 `/events`, 2,600 keys each, all different", different),
    ] {
        let mut streams = paths.iter().map(|path| Events::open(server.page, path)).collect::<Result<Vec<_>, _>>()?;
        streams.iter_mut().try_for_each(Events::next)?;
        let mut client = server.first_frame()?;
        server.report(name, count.div_ceil(10), |server| {
            server.change()?;
            frame(&mut client)?;
            streams.iter_mut().try_for_each(Events::next)
        })?;
    }
    Ok(())
}

/// A server process. Killed and waited for on drop.
struct Server {
    child: Child,
    stdin: ChildStdin,
    /// The number of changes so far.
    changes: usize,
    map: SocketAddr,
    page: SocketAddr,
    clock: ClockId,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(MAPCAST);
        command.args(["--source", "-", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--interval", "10m"]);
        let mut child =
            command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("a pipe")?;
        let mut log = BufReader::new(child.stderr.take().context("a pipe")?);
        let mut address = |before: &str| -> anyhow::Result<SocketAddr> {
            let mut line = String::new();
            while !line.contains(before) {
                line.clear();
                ensure!(log.read_line(&mut line)? > 0, "the server has exited");
            }
            let rest = line.split(before).nth(1).unwrap_or_default();
            Ok(rest.trim_end().split(": ").next().unwrap_or_default().trim_end_matches('/').parse()?)
        };
        let (page, map) = (address("web page on http://")?, address("listening on ")?);
        // Read to its end, so that the server never waits for a full pipe.
        std::thread::Builder::new().spawn(move || std::io::copy(&mut log, &mut std::io::sink()))?;
        let clock = ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(i32::try_from(child.id())?))?;
        let mut server = Self { child, stdin, changes: 0, map, page, clock };
        server.change()?;
        server.first_frame()?;
        Ok(server)
    }

    /// Writes a map in which every value is new.
    fn change(&mut self) -> anyhow::Result<()> {
        self.changes += 1;
        let entries: Vec<String> =
            (0..ENTRIES).map(|key| format!("\"{}\":{}", 10_000 + key, 1_000_000 + self.changes)).collect();
        Ok(self.stdin.write_all(format!("{{{}}}\n", entries.join(",")).as_bytes())?)
    }

    /// Connects a client and reads its first frame.
    fn first_frame(&self) -> anyhow::Result<TcpStream> {
        let mut client = connect(self.map)?;
        frame(&mut client)?;
        Ok(client)
    }

    /// Prints the cost of `request`, made `count` times per round.
    fn report(
        &mut self,
        name: &str,
        count: usize,
        mut request: impl FnMut(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        // The first request for a version is not measured: it renders the map for all others.
        request(self)?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let before: Duration = self.clock.now()?.into();
            (0..count).try_for_each(|_| request(self))?;
            let used = Duration::from(self.clock.now()?).saturating_sub(before);
            rounds.push(used.as_secs_f64() * 1e6 / count as f64);
        }
        rounds.sort_by(f64::total_cmp);
        println!("| {name} | {:.0} |", rounds[ROUNDS / 2]);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if it has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Reads one frame.
fn frame(client: &mut TcpStream) -> anyhow::Result<()> {
    let mut header = [0; 10];
    client.read_exact(&mut header)?;
    client.read_exact(&mut vec![0; std::str::from_utf8(&header)?.trim_end().parse()?])?;
    Ok(())
}

/// Sends `request` and reads the response, which has a Content-Length.
fn answer(socket: &mut TcpStream, request: &[u8]) -> anyhow::Result<()> {
    socket.write_all(request)?;
    let mut lines = BufReader::new(&mut *socket);
    let (mut line, mut len) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        ensure!(lines.read_line(&mut line)? > 0, "no response");
        len = line.strip_prefix("Content-Length: ").map_or(Ok(len), |len| len.trim_end().parse())?;
    }
    lines.read_exact(&mut vec![0; len])?;
    ensure!(lines.buffer().is_empty(), "more bytes than a response");
    Ok(())
}

/// An event stream.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(page: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let mut socket = connect(page)?;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n").as_bytes())?;
        Ok(Self(BufReader::new(socket)))
    }

    /// Reads to the end of the next event of the map. Only these events have an id.
    fn next(&mut self) -> anyhow::Result<()> {
        let mut line = String::new();
        let mut is_map = false;
        loop {
            line.clear();
            ensure!(self.0.read_line(&mut line)? > 0, "the stream has ended");
            is_map |= line.starts_with("id: ");
            if is_map && line == "\n" {
                return Ok(());
            }
        }
    }
}
