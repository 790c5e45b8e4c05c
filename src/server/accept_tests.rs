//! The accept loop while the system refuses threads.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Config;
use super::accept::AcceptLoop;
use super::arrivals::Arrival;
use super::client::Shared;
use super::limits::Capacity;
use super::monitor::Monitor;
use crate::feed::Feed;
use crate::format::Format;
use crate::map::builtin;
use crate::service::{Cast, Greet, ServerMonitor, Service};
use crate::shutdown::Shutdown;

/// A stack size that exceeds every address space: the system refuses the thread, as it does at its limit.
const NO_THREAD: usize = 1 << 46;

/// Returns an accept loop that can start no thread, and the peers of three accepted connections of `service`.
fn three_without_threads(service: impl Service, admission_timeout: Duration) -> (AcceptLoop, Vec<TcpStream>) {
    assert!(Capacity::of_this_machine().clients > 10);
    let config = Config { stack_size: NO_THREAD, admission_timeout, ..Config::default() };
    let shared = Shared::new(config, Arc::default(), Arc::default(), Shutdown::new().unwrap()).unwrap();
    let mut acceptor = AcceptLoop::new(Arc::new(shared));
    let service: Arc<dyn Service> = Arc::new(service);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peers = (0..3).map(|_| {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        acceptor.arrivals.push(Arrival { peer, socket, service: Arc::clone(&service), since: Instant::now() });
        stream
    });
    let peers = peers.collect();
    (acceptor, peers)
}

fn is_open(mut peer: &TcpStream) -> bool {
    peer.set_nonblocking(true).unwrap();
    let read = peer.read(&mut [0]);
    peer.set_nonblocking(false).unwrap();
    matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn connections_wait_while_the_system_refuses_threads() {
    let (mut acceptor, peers) = three_without_threads(Greet::new("hello"), Duration::from_hours(1));
    for _ in 0..5 {
        acceptor.starting.reset();
        assert!(!acceptor.try_start() && acceptor.ready.is_some() && acceptor.starting.resume_at().is_some());
    }
    assert!(!acceptor.try_start(), "the loop is in a pause");
    let stats = Arc::clone(&acceptor.shared.stats);
    assert_eq!((stats.active(), stats.served(), stats.failed_spawns()), (0, 0, 0));
    assert!(peers.iter().all(is_open));
    Arc::get_mut(&mut acceptor.shared).unwrap().config.stack_size = 512 * 1024;
    acceptor.starting.reset();
    assert!(acceptor.try_start() && acceptor.try_start() && acceptor.try_start() && !acceptor.try_start());
    for mut peer in peers {
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("hello"), "{text:?}");
    }
    assert_eq!((acceptor.shared.registry.wait_empty(None), stats.served()), (true, 3));
}

#[test]
fn a_client_with_a_map_but_no_thread_is_closed_and_counted() {
    let feed = Arc::new(Feed::new(Format::Json, 1000));
    feed.publish(&builtin()).unwrap();
    let cast = Cast::new(Arc::clone(&feed), Duration::from_hours(1));
    let (mut acceptor, peers) = three_without_threads(cast, Duration::from_hours(1));
    let (stats, registry) = (Arc::clone(&acceptor.shared.stats), Arc::clone(&acceptor.shared.registry));
    let monitor = Monitor::new(Arc::clone(&stats), registry, &acceptor.shared.config);
    let counts = || {
        let snapshot = monitor.snapshot(0);
        [stats.active(), snapshot.total, stats.served(), snapshot.frames, stats.failed_spawns()]
    };
    let read_map = |mut peer: &TcpStream| {
        let mut frame = vec![0; feed.latest().unwrap().frame.as_bytes().len()];
        peer.read_exact(&mut frame).unwrap();
        assert_eq!(frame, feed.latest().unwrap().frame.as_bytes());
    };
    assert!(acceptor.try_start());
    read_map(&peers[0]);
    assert_eq!((&peers[0]).read(&mut [0]).unwrap(), 0, "the end of the stream");
    assert_eq!(counts(), [0, 0, 1, 1, 1]);
    // The others wait without a map, also when the next one is tried.
    let wait_for_pause = |acceptor: &AcceptLoop| {
        while acceptor.starting.resume_at().is_some() {
            std::thread::yield_now();
        }
    };
    wait_for_pause(&acceptor);
    assert!(!acceptor.try_start() && acceptor.ready.is_some());
    assert!(peers[1..].iter().all(is_open), "a client has a part of the map");
    assert_eq!(counts(), [0, 0, 1, 1, 1]);
    Arc::get_mut(&mut acceptor.shared).unwrap().config.stack_size = 512 * 1024;
    wait_for_pause(&acceptor);
    assert!(acceptor.try_start() && acceptor.try_start());
    peers[1..].iter().for_each(read_map);
    assert_eq!(counts(), [2, 2, 3, 3, 1]);
    drop(peers);
    assert!(acceptor.shared.registry.wait_empty(None));
    assert_eq!(counts(), [0, 0, 3, 3, 1]);
}

#[test]
fn connections_without_a_thread_in_time_are_closed_and_counted() {
    let (mut acceptor, peers) = three_without_threads(Greet::new("hello"), Duration::ZERO);
    assert!(!acceptor.try_start() && acceptor.ready.is_some());
    acceptor.refuse_expired();
    assert!(acceptor.ready.is_none() && acceptor.arrivals.is_empty());
    assert_eq!(acceptor.shared.stats.failed_spawns(), 3);
    assert!(peers.into_iter().all(|mut peer| matches!(peer.read(&mut [0]), Ok(0))));
}
