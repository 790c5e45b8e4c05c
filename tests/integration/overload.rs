//! Clients above the limits, panics, and refused threads.

use std::io::{Read, Write};
use std::net::{Shutdown as Direction, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mapcast::connection::{Connection, Error};
use mapcast::service::{CloseReason, Service};
use mapcast::{Cast, Feed, Format, Server, ServerConfig, Shutdown};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::support::netstat::tcp_counter;
use crate::support::reader::{Reader, ends_in_order};
use crate::support::server::{MapServer, Running, numbered, unhurried};
use crate::support::{PATIENCE, eventually, log};

const HOUR: Duration = Duration::from_hours(1);

fn limited(max_connections: u64) -> ServerConfig {
    ServerConfig { max_connections, ..unhurried() }
}

/// The same limit, without a wait for a permit.
fn strictly_limited(max_connections: u64) -> ServerConfig {
    ServerConfig { admission_timeout: Duration::ZERO, ..limited(max_connections) }
}

#[test]
fn a_client_above_the_limit_is_closed_and_others_are_served() {
    let server = MapServer::with(HOUR, strictly_limited(2));
    let mut readers: Vec<_> = (0..2).map(|_| Reader::connect(server.running.addr)).collect();
    for reader in &mut readers {
        assert_eq!(reader.map(Format::Json), numbered(0));
    }
    for _ in 0..20 {
        assert!(ends_in_order(&mut server.running.connect()));
    }
    assert_eq!(server.running.stats().refused(), 20);
    server.feed.publish(&numbered(1)).unwrap();
    for reader in &mut readers {
        assert_eq!(reader.map(Format::Json), numbered(1));
    }
}

#[test]
fn a_client_above_the_limit_is_closed_after_its_wait() {
    let server = MapServer::with(HOUR, ServerConfig { admission_timeout: Duration::from_millis(10), ..limited(1) });
    let _only = Reader::connect(server.running.addr);
    server.running.wait_active(1);
    assert!(ends_in_order(&mut server.running.connect()));
    assert_eq!(server.running.stats().refused(), 1);
}

#[test]
fn without_waiting_a_client_is_refused_or_served_at_once() {
    let server = MapServer::with(HOUR, ServerConfig { max_waiting: 0, ..limited(1) });
    for _ in 0..3 {
        let only = Reader::connect(server.running.addr);
        server.running.wait_active(1);
        assert!(ends_in_order(&mut server.running.connect()));
        drop(only);
        // Without a wait, a permit must be free already.
        server.running.wait_active(0);
    }
}

#[test]
fn a_client_that_connects_as_another_leaves_is_not_refused() {
    // The time-out is long enough for any busy machine.
    let server = MapServer::with(HOUR, ServerConfig { admission_timeout: Duration::from_mins(1), ..limited(1) });
    for _ in 0..100 {
        assert_eq!(Reader::connect(server.running.addr).map(Format::Json), numbered(0));
    }
    assert_eq!((server.running.stats().refused(), server.running.stats().served()), (0, 100));
    server.running.wait_active(0);
}

#[test]
fn a_mass_reconnect_to_a_full_server_is_served_without_refusal() {
    let server = MapServer::with(HOUR, ServerConfig { admission_timeout: Duration::from_mins(1), ..limited(500) });
    let connect = || (0..500).map(|_| server.running.connect()).collect::<Vec<_>>();
    let mut clients = connect();
    for _ in 0..3 {
        server.running.wait_active(500);
        clients = {
            let newcomers = connect();
            drop(clients);
            newcomers
        };
    }
    for client in clients {
        assert_eq!(Reader::over(client).map(Format::Json), numbered(0));
    }
    assert_eq!(server.running.stats().refused(), 0);
}

#[test]
fn ten_thousand_short_connections_leave_no_resources_in_use() {
    let drops = || tcp_counter("ListenDrops").unwrap_or_default();
    let dropped_before = drops();
    let server = MapServer::with(HOUR, limited(50));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2500 {
                    let socket = server.running.connect();
                    // A reset, so that no port stays in TIME-WAIT.
                    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
                }
            });
        }
    });
    let stats = server.running.stats();
    // If the accept loop gets no CPU, the kernel drops connections that do not fit the queue, and a reset has no second try.
    eventually("all that the kernel has kept are served or refused", || {
        stats.served() + stats.refused() + (drops() - dropped_before) >= 10_000
    });
    server.running.wait_active(0);
    assert!(Reader::connect(server.running.addr).is_served());
}

#[test]
fn a_listener_shut_down_by_another_holder_does_not_spin() {
    let feed = Arc::new(Feed::new(Format::Json, 1000));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = listener.try_clone().unwrap();
    let mut server = Server::new(unhurried());
    server.listen(listener, Arc::new(Cast::new(feed, HOUR))).unwrap();
    let running = server.spawn(Shutdown::new().unwrap()).unwrap();
    // From here on each accept fails (EINVAL), and each poll reports the listener as ready.
    SockRef::from(&held).shutdown(Direction::Read).unwrap();
    let began = Instant::now();
    eventually("it is tried again and again", || running.stats().failed_accepts() >= 8);
    // Pauses of 10, 20 ... 640 ms, and of 1 s from then on.
    let (failed, elapsed) = (running.stats().failed_accepts(), began.elapsed());
    assert!(failed <= 8 + elapsed.as_secs(), "{failed} in {elapsed:?}");
    running.stop().unwrap();
}

#[test]
fn clients_that_disconnect_before_the_accept_do_no_harm() {
    let feed = Arc::new(Feed::new(Format::Json, 1000));
    feed.publish(&numbered(0)).unwrap();
    let mut server = Server::new(unhurried());
    server.bind(&[([127, 0, 0, 1], 0).into()], Cast::new(feed, HOUR)).unwrap();
    // They stay in the queue, because the server does not accept yet.
    for _ in 0..1000 {
        let socket = TcpStream::connect(server.local_addrs()[0]).unwrap();
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let mut last = Reader::connect(server.local_addrs()[0]);
    let running = server.spawn(Shutdown::new().unwrap()).unwrap();
    assert_eq!(last.map(Format::Json), numbered(0));
    eventually("disconnected clients are removed from the count", || running.stats().active() == 1);
    running.stop().unwrap();
}

/// A service that panics for clients that send `!`, and serves the others until the stop.
#[derive(Debug)]
struct Fragile;

impl Service for Fragile {
    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        let mut byte = [0];
        loop {
            match connection.receive(&mut byte, stop)? {
                mapcast::connection::Received::Bytes(_) if byte == *b"!" => panic!("as it was asked to"),
                mapcast::connection::Received::Bytes(_) => connection.send(&byte)?,
                mapcast::connection::Received::Eof => return Ok(CloseReason::Client),
                mapcast::connection::Received::Stopping | mapcast::connection::Received::TimedOut => {
                    return Ok(CloseReason::Stopping);
                }
            }
        }
    }

    fn describe(&self) -> String {
        "something fragile".to_owned()
    }
}

/// Sets a flag on drop, even when the test fails: a scope waits for its threads.
struct SetOnDrop<'flag>(&'flag AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn each_of_a_hundred_panics_ends_its_connection_and_is_logged() {
    log::follow();
    let logged = log::panics();
    let running = Running::start(Fragile, unhurried());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echo_until_over = || {
            let mut steady = running.connect();
            while !over.load(Ordering::SeqCst) {
                steady.write_all(b"?").unwrap();
                steady.read_exact(&mut [0]).unwrap();
            }
        };
        let _over_at_the_end = SetOnDrop(&over);
        for _ in 0..20 {
            scope.spawn(echo_until_over);
        }
        running.wait_active(20);
        for _ in 0..100 {
            let mut client = running.connect();
            client.write_all(b"!").unwrap();
            ends_in_order(&mut client);
        }
        running.wait_active(20);
        assert_eq!(running.stats().panics(), 100);
    });
    running.wait_active(0);
    assert_eq!(running.stop().served, 120);
    assert_eq!(log::panics() - logged, 100);
}

#[test]
fn a_client_without_a_thread_is_closed_and_the_server_runs_on() {
    // This stack size exceeds every address space: the system refuses the thread, as it does at its limit.
    let config = ServerConfig { stack_size: 1 << 46, admission_timeout: Duration::from_millis(10), ..unhurried() };
    let running = Running::start(Fragile, config);
    let began = Instant::now();
    for _ in 0..5 {
        ends_in_order(&mut running.connect());
    }
    // Pauses of 10 + 20 + 40 + 80 ms at least: the server does not spin.
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    eventually("each is counted", || running.stats().failed_spawns() == 5);
    assert_eq!((running.stats().active(), running.stats().served()), (0, 0));
    assert_eq!(running.stop().cut, 0);
}

#[test]
fn a_burst_is_served_without_a_syn_retry() {
    let feed = Arc::new(Feed::new(Format::Json, 1000));
    feed.publish(&numbered(0)).unwrap();
    let mut server = Server::new(unhurried());
    server.bind(&[([127, 0, 0, 1], 0).into()], Cast::new(feed, HOUR)).unwrap();
    let addr = server.local_addrs()[0];
    // All of them must fit the queue, because none is accepted in the meantime. A SYN without room would be retransmitted after
    // 1 s, and get no answer then either.
    let burst: Vec<_> = (0..2000).map(|_| TcpStream::connect_timeout(&addr, PATIENCE).expect("room")).collect();
    let running = server.spawn(Shutdown::new().unwrap()).unwrap();
    for socket in burst {
        assert_eq!(Reader::over(socket).map(Format::Json), numbered(0));
    }
    eventually("all are gone", || running.stats().active() == 0);
    assert_eq!(running.stats().served(), 2000);
    running.stop().unwrap();
}

/// Starting a thread takes longer than accepting a connection: the queue is emptied first, so that no burst fills it.
#[test]
fn a_burst_larger_than_the_queue_is_accepted_before_its_threads() {
    let feed = Arc::new(Feed::new(Format::Json, 1000));
    feed.publish(&numbered(0)).unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(8).unwrap();
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr().unwrap();
    let mut server = Server::new(ServerConfig { admission_timeout: HOUR, ..limited(1) });
    server.listen(listener, Arc::new(Cast::new(feed, HOUR))).unwrap();
    let running = server.spawn(Shutdown::new().unwrap()).unwrap();
    let mut only = Reader::connect(addr);
    only.payload();
    let burst: Vec<_> = (0..100).map(|_| TcpStream::connect_timeout(&addr, PATIENCE).expect("room")).collect();
    assert_eq!(running.stats().served(), 1);
    drop(only);
    // One at a time is served, in an order that need not be that of the connects.
    std::thread::scope(|scope| {
        for socket in burst {
            scope.spawn(|| assert_eq!(Reader::over(socket).map(Format::Json), numbered(0)));
        }
    });
    running.stop().unwrap();
}

#[test]
fn a_failing_listener_does_not_block_the_others() {
    let feed = Arc::new(Feed::new(Format::Json, 1000));
    feed.publish(&numbered(0)).unwrap();
    let service = Arc::new(Cast::new(feed, HOUR));
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let good = listeners[1].local_addr().unwrap();
    let failing = listeners[0].try_clone().unwrap();
    let mut server = Server::new(unhurried());
    for listener in listeners {
        server.listen(listener, Arc::clone(&service) as _).unwrap();
    }
    let running = server.spawn(Shutdown::new().unwrap()).unwrap();
    SockRef::from(&failing).shutdown(Direction::Read).unwrap();
    eventually("it fails", || running.stats().failed_accepts() >= 2);
    for _ in 0..3 {
        assert_eq!(Reader::connect(good).map(Format::Json), numbered(0));
    }
    running.stop().unwrap();
}

/// A service that keeps a connection for a while, unless it has a reserved permit.
#[derive(Debug)]
struct Holding(Duration);

impl Service for Holding {
    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        if connection.over_limit().is_none() {
            stop.wait(self.0);
        }
        Ok(CloseReason::Done)
    }

    fn describe(&self) -> String {
        "a wait".to_owned()
    }
}

#[test]
fn with_a_reserve_a_wait_ends_soon_though_permits_are_freed() {
    let config = ServerConfig {
        // Far above the time that a permit is held, so that one has always been freed recently, even on a busy machine.
        admission_timeout: Duration::from_secs(2),
        max_waiting: 1,
        reserved_connections: 4,
        ..limited(1)
    };
    let running = Running::start(Holding(Duration::from_millis(300)), config);
    // From now on, a permit has been freed recently.
    assert_eq!(running.connect().read(&mut [0]).unwrap(), 0);
    // With one permit, this many in sequence take longer than the last one waits below.
    let mut sockets: Vec<_> = (0..400).map(|_| running.connect()).collect();
    let last = sockets.last_mut().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(last.read(&mut [0]).unwrap(), 0, "it is served, answered or refused");
    drop(sockets);
    running.stop();
}

#[test]
fn a_shared_listener_made_blocking_elsewhere_still_stops() {
    let feed = Arc::new(Feed::new(Format::Json, 1000));
    feed.publish(&numbered(0)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, held) = (listener.local_addr().unwrap(), listener.try_clone().unwrap());
    let mut server = Server::new(unhurried());
    server.take_over(listener, Arc::new(Cast::new(feed, HOUR))).unwrap();
    let running = server.spawn(Shutdown::new().unwrap()).unwrap();
    for _ in 0..3 {
        held.set_nonblocking(false).unwrap();
        assert_eq!(Reader::connect(addr).map(Format::Json), numbered(0));
    }
    running.stop().unwrap();
}
