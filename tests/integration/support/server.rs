//! Servers in this process.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use mapcast::server::{Handle, Summary};
use mapcast::stats::Stats;
use mapcast::{Cast, Feed, Format, Map, SendMode, Server, ServerConfig, Service, Shutdown, Value};

use super::{PATIENCE, connect, eventually, skip};

const HOUR: Duration = Duration::from_hours(1);

/// The default configuration without time limits that a busy machine might exceed.
pub fn unhurried() -> ServerConfig {
    ServerConfig { write_timeout: HOUR, drain_timeout: HOUR, ..ServerConfig::default() }
}

/// A server on a free port, with its feed.
pub struct MapServer {
    pub feed: Arc<Feed>,
    pub running: Running,
}

/// A server on a free port.
pub struct Running {
    pub addr: SocketAddr,
    pub stop: Shutdown,
    handle: Option<Handle>,
}

impl MapServer {
    /// Serves `{"n": 0}` as JSON.
    #[track_caller]
    pub fn start(interval: Duration) -> Self {
        Self::with(interval, unhurried())
    }

    #[track_caller]
    pub fn with(interval: Duration, config: ServerConfig) -> Self {
        Self::casting(config, |feed| Cast::new(feed, interval))
    }

    /// As `with`, in `mode`.
    #[track_caller]
    pub fn sending(mode: SendMode, interval: Duration, config: ServerConfig) -> Self {
        Self::casting(config, |feed| Cast::new(feed, interval).with_send_mode(mode))
    }

    #[track_caller]
    fn casting(config: ServerConfig, cast: impl FnOnce(Arc<Feed>) -> Cast) -> Self {
        let feed = Arc::new(Feed::new(Format::Json, 1 << 30));
        feed.publish(&numbered(0)).expect("a map");
        let running = Running::start(cast(Arc::clone(&feed)), config);
        Self { feed, running }
    }
}

/// Runs `test` in each mode of sending that the system allows, all at the same time, each on a thread with the mode's name.
pub fn in_each_mode(test: impl Fn(SendMode) + Sync) {
    thread::scope(|scope| {
        for mode in [SendMode::Thread, SendMode::Plain, SendMode::Batch] {
            if let Err(error) = mode.check() {
                skip(&format!("{mode}: the system refuses io_uring: {error}"));
                continue;
            }
            let test = &test;
            thread::Builder::new().name(mode.to_string()).spawn_scoped(scope, move || test(mode)).expect("a thread");
        }
    });
}

impl Running {
    #[track_caller]
    pub fn start(service: impl Service, config: ServerConfig) -> Self {
        let mut server = Server::new(config);
        server.bind(&[([127, 0, 0, 1], 0).into()], service).expect("a free port");
        Self::run(server)
    }

    /// The same for a service that may be shared.
    #[track_caller]
    pub fn start_shared(service: Arc<dyn Service>, config: ServerConfig) -> Self {
        let mut server = Server::new(config);
        server.listen(TcpListener::bind("127.0.0.1:0").expect("a free port"), service).expect("its options");
        Self::run(server)
    }

    fn run(server: Server) -> Self {
        let (addr, stop) = (server.local_addrs()[0], Shutdown::new().expect("a pipe"));
        let handle = server.spawn(stop.clone()).expect("a thread");
        Self { addr, stop, handle: Some(handle) }
    }

    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    pub fn stats(&self) -> &Stats {
        self.handle.as_ref().expect("it runs").stats()
    }

    /// Stops the server and returns its result.
    #[track_caller]
    pub fn stop(mut self) -> Summary {
        let handle = self.handle.take().expect("it runs");
        let (send, summary) = mpsc::channel();
        let stop = move || drop(send.send(handle.stop()));
        thread::Builder::new().spawn(stop).expect("a thread");
        summary.recv_timeout(PATIENCE).expect("it does not stop").expect("a server that ran")
    }

    /// Waits for the given number of active connections.
    #[track_caller]
    pub fn wait_active(&self, active: u64) {
        eventually(&format!("{active} active connections"), || self.stats().active() == active);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not joined: a failing test must not wait for a drain.
        self.stop.trigger();
    }
}

/// `{"n": number}`
pub fn numbered(number: i64) -> Map {
    Map::from([("n".into(), number.into())])
}

/// A map whose JSON has about this many bytes.
pub fn large(bytes: usize) -> Map {
    Map::from([("text".into(), Value::Text("x".repeat(bytes)))])
}
