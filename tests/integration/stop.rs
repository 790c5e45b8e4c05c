//! The stop: frames in flight are finished, every client sees the end of the stream, every thread is joined.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use mapcast::connection::{Connection, Error};
use mapcast::frame::Error as FrameError;
use mapcast::service::{CloseReason, Service};
use mapcast::{Echo, ServerConfig, Shutdown};

use crate::support::reader::{Reader, ends_in_order, narrow};
use crate::support::server::{MapServer, Running, in_each_mode, large, unhurried};
use crate::support::{PATIENCE, connect, eventually, pause};

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn a_stop_does_not_wait_for_the_interval() {
    in_each_mode(|mode| {
        let server = MapServer::sending(mode, HOUR, unhurried());
        let mut readers: Vec<_> = (0..35).map(|_| Reader::connect(server.running.addr)).collect();
        for reader in &mut readers {
            reader.payload();
        }
        server.running.wait_active(35);
        let summary = server.running.stop();
        assert_eq!((summary.served, summary.cut), (35, 0));
        assert!(readers.iter_mut().all(|reader| reader.drain() == 0), "frames after the stop");
    });
}

#[test]
fn the_port_is_free_after_the_stop() {
    let server = MapServer::start(HOUR);
    let addr = server.running.addr;
    let mut reader = Reader::connect(addr);
    reader.payload();
    server.running.stop();
    assert!(TcpStream::connect(addr).is_err());
    let mut again = mapcast::Server::new(ServerConfig::default());
    again.bind(&[addr], Echo::new()).expect("the address is free at once");
}

#[test]
fn a_frame_in_flight_arrives_whole() {
    in_each_mode(|mode| {
        let server = MapServer::sending(mode, HOUR, unhurried());
        server.feed.publish(&large(8_000_000)).unwrap();
        let mut reader = Reader::connect(server.running.addr);
        // With unread input, a plain close would be a reset, which destroys data in transit.
        reader.socket().write_all(&[b'x'; 10_000]).unwrap();
        assert_eq!(reader.socket().peek(&mut [0]).unwrap(), 1, "the frame's first byte");
        server.running.stop.trigger();
        assert!(reader.payload().len() > 8_000_000);
        assert_eq!(reader.drain(), 0);
        assert_eq!(server.running.stop().cut, 0);
    });
}

#[test]
fn no_client_is_served_after_the_stop_however_many_connect() {
    let server = MapServer::start(HOUR);
    server.feed.publish(&large(8_000_000)).unwrap();
    // This client does not read: its frame in flight prolongs the drain.
    let stalled = server.running.connect();
    assert_eq!(stalled.peek(&mut [0]).unwrap(), 1, "the frame's first byte");
    let come_until_refused = || {
        let (began, mut connected, mut last) = (Instant::now(), Vec::new(), Instant::now());
        while let Ok(socket) = TcpStream::connect(server.running.addr) {
            last = Instant::now();
            connected.push(socket);
            assert!(began.elapsed() < PATIENCE, "they are taken as long as they come");
        }
        (last, connected)
    };
    let (stopped, crowd) = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..4).map(|_| scope.spawn(come_until_refused)).collect();
        eventually("a crowd", || server.running.stats().active() > 100);
        let stopped = Instant::now();
        server.running.stop.trigger();
        (stopped, crowd.into_iter().map(|crowd| crowd.join().unwrap()).collect::<Vec<_>>())
    });
    assert_ne!(server.running.stats().active(), 0, "the server had stopped: no client could connect anyway");
    let last = crowd.iter().map(|(last, _)| last.saturating_duration_since(stopped)).max().unwrap();
    let late = crowd.iter().map(|(_, connected)| connected.len() as u64).sum::<u64>() - server.running.stats().served();
    eprintln!("no client served later than {last:?} after the stop; {late} were rejected");
}

#[test]
fn a_client_that_has_sent_input_sees_no_reset() {
    in_each_mode(|mode| {
        let server = MapServer::sending(mode, HOUR, unhurried());
        let mut client = Reader::over(narrow(server.running.addr));
        client.payload();
        client.socket().write_all(&[b'x'; 1000]).unwrap();
        // The server's kernel buffers most of it until the client reads.
        server.feed.publish(&large(12_000)).unwrap();
        assert_eq!(client.socket().peek(&mut [0]).unwrap(), 1, "the frame's first byte");
        server.running.stop.trigger();
        // Input after a close is answered with a reset, which destroys data in transit. The server waits for 1 s.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(200) {
            pause();
            client.socket().write_all(b"x").unwrap();
        }
        assert!(client.payload().len() > 12_000);
        assert_eq!(client.drain(), 0);
    });
}

#[test]
fn stalled_clients_are_cut_after_the_drain_and_counted() {
    in_each_mode(|mode| {
        // Long enough for the good client on a busy machine.
        const DRAIN: Duration = Duration::from_secs(3);
        let server = MapServer::sending(mode, HOUR, ServerConfig { drain_timeout: DRAIN, ..unhurried() });
        server.feed.publish(&large(8_000_000)).unwrap();
        let stalled: Vec<_> = (0..35).map(|_| server.running.connect()).collect();
        for client in &stalled {
            assert_eq!(client.peek(&mut [0]).unwrap(), 1, "the frame's first byte");
        }
        let mut good = Reader::connect(server.running.addr);
        good.payload();
        let began = Instant::now();
        let summary = server.running.stop();
        assert_eq!((summary.served, summary.cut), (36, 35));
        assert!(began.elapsed() >= DRAIN, "{:?}", began.elapsed());
        assert_eq!(good.drain(), 0);
        for client in stalled {
            match Reader::over(client).end() {
                Err(FrameError::Truncated { .. }) => {}
                Err(FrameError::Io(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                other => panic!("8 MB cannot have been in the kernel's buffers: {other:?}"),
            }
        }
    });
}

#[test]
fn an_echo_sends_back_its_input_and_ends_at_the_stop() {
    let running = Running::start(Echo::new(), unhurried());
    let mut client = running.connect();
    client.write_all(b"Hello, world").unwrap();
    let mut came = [0; 12];
    std::io::Read::read_exact(&mut client, &mut came).unwrap();
    running.stop.trigger();
    assert!(ends_in_order(&mut client));
    assert_eq!(running.stop().cut, 0);
}

#[test]
fn the_stop_of_a_server_without_clients_is_immediate() {
    // Long before the drain timeout.
    let running = Running::start(Echo::new(), unhurried());
    assert_eq!(running.stop().served, 0);
}

#[test]
fn clients_in_the_queue_at_the_stop_see_the_end_of_the_stream() {
    let mut server = mapcast::Server::new(ServerConfig::default());
    server.bind(&[([127, 0, 0, 1], 0).into()], Echo::new()).unwrap();
    let addr = server.local_addrs()[0];
    let mut queued: Vec<_> = (0..60).map(|_| connect(addr)).collect();
    let stop = Shutdown::new().unwrap();
    stop.trigger();
    assert_eq!(server.run(&stop).unwrap().served, 0);
    assert!(queued.iter_mut().all(ends_in_order), "a closed listener resets those in its queue");
}

/// A service that ends with the test, not at the stop.
#[derive(Debug)]
struct Stubborn(Mutex<mpsc::Receiver<()>>);

impl Service for Stubborn {
    fn serve(&self, _: &mut Connection, _: &Shutdown) -> Result<CloseReason, Error> {
        assert!(self.0.lock().unwrap().recv().is_err());
        Ok(CloseReason::Stopping)
    }

    fn describe(&self) -> String {
        "no end".to_owned()
    }
}

/// Without rounds, a monitor would report it as stuck, and an orchestrator would kill the server during its drain.
#[test]
fn the_server_counts_rounds_while_it_drains() {
    let (release, held) = mpsc::channel();
    let heartbeat = Some(Duration::from_millis(10));
    let config = ServerConfig { heartbeat, ..unhurried() };
    let server = Running::start(Stubborn(Mutex::new(held)), config);
    let _client = server.connect();
    server.wait_active(1);
    server.stop.trigger();
    eventually("no client is accepted", || TcpStream::connect(server.addr).is_err());
    let before = server.stats().heartbeats();
    eventually("rounds", || server.stats().heartbeats() >= before + 10);
    drop(release);
    assert_eq!(server.stop().cut, 0);
}
