//! Clients and servers connected through the project's own fault proxy.

use std::time::{Duration, Instant};

use mapcast::client::Error;
use mapcast::frame::Error as FrameError;
use mapcast::{Client, ClientConfig, FollowConfig, Follower, Format, ServerConfig, Shutdown};

use crate::support::proxy::{Fault, Proxy};
use crate::support::reader::Reader;
use crate::support::server::{MapServer, large, numbered, unhurried};
use crate::support::{PATIENCE, eventually};

const HOUR: Duration = Duration::from_hours(1);

/// The length of the frame of `{"n":0}`: 10 and 7 bytes.
const FRAME: usize = 17;

fn config() -> ClientConfig {
    ClientConfig { format: Some(Format::Json), ..ClientConfig::default() }
}

fn connect(proxy: &Proxy) -> Client {
    let mut client = Client::connect(&proxy.addr().to_string(), &config(), &Shutdown::new().unwrap()).unwrap();
    client.set_deadline(Some(Instant::now() + PATIENCE));
    client
}

#[test]
fn maps_sent_in_one_byte_segments_arrive_unchanged() {
    let server = MapServer::start(HOUR);
    let proxy = Proxy::before(server.running.addr, |_| Fault::Slices(Duration::ZERO));
    let mut client = connect(&proxy);
    for number in 0..10 {
        server.feed.publish(&numbered(number)).unwrap();
        assert_eq!(client.next_map().unwrap(), Some(numbered(number)));
    }
}

#[test]
fn a_delayed_connection_delivers_the_maps_unchanged() {
    let server = MapServer::start(HOUR);
    let proxy = Proxy::before(server.running.addr, |_| Fault::Delay(Duration::from_millis(100)));
    let began = Instant::now();
    let mut client = connect(&proxy);
    assert_eq!(client.next_map().unwrap(), Some(numbered(0)));
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    server.feed.publish(&numbered(1)).unwrap();
    assert_eq!(client.next_map().unwrap(), Some(numbered(1)));
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_truncated() {
    let server = MapServer::start(Duration::from_millis(10));
    let proxy = Proxy::before(server.running.addr, Fault::Cut);
    for cut in 0..=2 * FRAME {
        let mut client = connect(&proxy);
        for _ in 0..cut / FRAME {
            assert_eq!(client.next_map().unwrap(), Some(numbered(0)), "before the end at {cut}");
        }
        match client.next_map() {
            Ok(None) => assert!(cut.is_multiple_of(FRAME), "an end in order at {cut}"),
            Err(Error::Frame(FrameError::Truncated { got, .. })) => {
                assert_eq!(got, cut % FRAME, "at {cut}");
                assert_ne!(got, 0, "truncated on a boundary");
            }
            other => panic!("at {cut}: {other:?}"),
        }
    }
    drop(proxy);
    server.running.wait_active(0);
}

#[test]
fn a_follower_recovers_from_a_reset_a_cut_and_a_stalled_frame() {
    let server = MapServer::start(Duration::from_millis(20));
    let proxy = Proxy::before(server.running.addr, |connection| match connection {
        0 => Fault::Reset(FRAME + 3),
        1 => Fault::Cut(FRAME + 12),
        2 => Fault::Stall(FRAME + 12),
        _ => Fault::Pass,
    });
    // A server on a busy machine may be silent for longer than its interval.
    let stale_after = Some(Duration::from_secs(3));
    let follow = FollowConfig { client: config(), stale_after, ..FollowConfig::default() };
    let mut follower = Follower::new(&proxy.addr().to_string(), follow, &Shutdown::new().unwrap());
    follower.set_deadline(Some(Instant::now() + PATIENCE));
    // The first three connections deliver one map each, or none if the reset overtook the reader.
    for _ in 0..50 {
        assert_eq!(follower.next_map().unwrap(), Some(numbered(0)));
    }
    assert_eq!(server.running.stats().served(), 4);
    server.running.wait_active(1);
}

#[test]
fn a_slow_reader_is_cut_at_the_deadline_and_delays_no_other() {
    // Long enough for the good client on a busy machine.
    const DEADLINE: Duration = Duration::from_secs(3);
    let server = MapServer::with(Duration::from_millis(100), ServerConfig { write_timeout: DEADLINE, ..unhurried() });
    server.feed.publish(&large(500_000)).unwrap();
    let proxy = Proxy::before(server.running.addr, |_| Fault::Slices(Duration::from_millis(50)));
    let began = Instant::now();
    let mut dripping = Reader::connect(proxy.addr());
    let mut good = Reader::connect(server.running.addr);
    while server.running.stats().timed_out() == 0 {
        good.payload();
        assert!(began.elapsed() < PATIENCE, "it is never cut");
    }
    assert!(began.elapsed() >= DEADLINE, "{:?}", began.elapsed());
    eventually("only the good one is left", || server.running.stats().active() == 1);
    good.payload();
    drop(proxy);
    assert!(dripping.end().is_err(), "it cannot have had the frame");
}
