//! The relay, with minimal servers as parents.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::super::tests::StopOnDrop;
use super::*;
use crate::feed::Feed;
use crate::format::Format;
use crate::frame::Frame;
use crate::map::{Map, builtin};
use crate::testing::check_texts;

const LONG: Duration = Duration::from_mins(1);

fn frame(payload: &[u8]) -> Vec<u8> {
    Frame::new(payload, 1 << 20).unwrap().as_bytes().to_vec()
}

fn map_frame(map: &Map) -> Vec<u8> {
    frame(&Format::Json.encode_map(map).unwrap())
}

fn numbered(number: i64) -> Map {
    Map::from([("n".into(), number.into())])
}

/// Runs `script` against a relay that follows `listener`; the relay sends JSON of at most 1,000 bytes.
fn relayed(listener: &TcpListener, options: &str, script: impl FnOnce(&Feed, &Sink)) {
    let parent = format!("tcp://{}?format=json{options}", listener.local_addr().unwrap());
    let sink = Sink::new(Arc::new(Feed::new(Format::Json, 1000)), vec![]);
    let stop = Shutdown::new().unwrap();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let mut relay = Relay::new(parent.parse().unwrap());
        let (sink, stop) = (&sink, &stop);
        thread::Builder::new().spawn_scoped(scope, move || relay.follow(sink, stop)).unwrap();
        script(sink.feed(), sink);
    });
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().unwrap().0
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Waits until the source is down, or up.
fn wait_up(sink: &Sink, up: bool) {
    let deadline = Instant::now() + LONG;
    while sink.health().state().up != up {
        assert!(Instant::now() < deadline, "{:?}", sink.health().state());
        thread::park_timeout(Duration::from_millis(2));
    }
}

fn wait_failure(sink: &Sink, kind: Failure) {
    let deadline = Instant::now() + LONG;
    while sink.health().state().failures(kind) == 0 {
        assert!(Instant::now() < deadline, "{:?}", sink.health().state());
        thread::park_timeout(Duration::from_millis(2));
    }
}

fn payload(feed: &Feed, after: u64) -> Vec<u8> {
    feed.wait(after, LONG).expect("a map").frame.payload().to_vec()
}

#[test]
fn a_parents_map_is_published_and_its_repeats_are_not_a_change() {
    let listener = listener();
    relayed(&listener, "", |feed, sink| {
        let mut parent = accept(&listener);
        parent
            .write_all(&[map_frame(&builtin()), map_frame(&builtin()), frame(b""), map_frame(&numbered(2))].concat())
            .unwrap();
        assert_eq!(payload(feed, 1), br#"{"n":2}"#);
        assert_eq!(feed.version(), 2);
        wait_up(sink, true);
    });
}

#[test]
fn the_last_good_map_stays_while_the_parent_is_away() {
    let listener = listener();
    relayed(&listener, "", |feed, sink| {
        let mut parent = accept(&listener);
        parent.write_all(&map_frame(&numbered(1))).unwrap();
        payload(feed, 0);
        wait_up(sink, true);
        drop(parent);
        wait_up(sink, false);
        let state = sink.health().state();
        assert!(state.failures(Failure::Unreachable) == 1 && state.last_success.is_some(), "{state:?}");
        assert_eq!(feed.latest().unwrap().frame.payload(), br#"{"n":1}"#);
        accept(&listener).write_all(&map_frame(&numbered(2))).unwrap();
        assert_eq!(payload(feed, 1), br#"{"n":2}"#);
    });
}

#[test]
fn a_silent_parent_is_reported_as_down_and_retried() {
    let listener = listener();
    relayed(&listener, "&stale_after=50ms", |feed, sink| {
        // On a busy machine a connection may be stale before anything was written to it.
        let serve_until_published = |number: i64| {
            loop {
                let mut parent = accept(&listener);
                let _ = parent.write_all(&map_frame(&numbered(number)));
                if feed.wait(number.unsigned_abs() - 1, Duration::from_secs(1)).is_some() {
                    return parent;
                }
            }
        };
        let first = serve_until_published(1);
        wait_failure(sink, Failure::Unreachable);
        let second = serve_until_published(2);
        assert_eq!(feed.latest().unwrap().frame.payload(), br#"{"n":2}"#);
        drop((first, second));
    });
}

#[test]
fn an_invalid_payload_is_reported_and_the_connection_stays() {
    let listener = listener();
    relayed(&listener, "", |feed, sink| {
        let mut parent = accept(&listener);
        parent.write_all(&map_frame(&numbered(1))).unwrap();
        wait_up(sink, true);
        parent.write_all(&frame(b"[]")).unwrap();
        wait_up(sink, false);
        assert_eq!(sink.health().state().failures(Failure::Invalid), 1);
        parent.write_all(&map_frame(&numbered(2))).unwrap();
        assert_eq!(payload(feed, 1), br#"{"n":2}"#);
    });
}

#[test]
fn a_frame_above_the_limit_is_reported_and_the_relay_reconnects() {
    let listener = listener();
    relayed(&listener, "&max_frame=100", |feed, sink| {
        accept(&listener).write_all(b"101       ").unwrap();
        accept(&listener).write_all(&map_frame(&numbered(1))).unwrap();
        assert_eq!(payload(feed, 0), br#"{"n":1}"#);
        assert_eq!(sink.health().state().failures(Failure::TooLarge), 1);
    });
}

#[test]
fn a_map_that_returns_within_a_second_is_published() {
    let listener = listener();
    relayed(&listener, "", |feed, _| {
        let mut parent = accept(&listener);
        for (version, number) in [(0, 1), (1, 2), (2, 1), (3, 2)] {
            parent.write_all(&map_frame(&numbered(number))).unwrap();
            assert_eq!(payload(feed, version), format!("{{\"n\":{number}}}").into_bytes());
        }
    });
}

#[test]
fn a_connection_to_an_own_listener_is_recognized() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    for (peer, local, own, wanted) in [
        ("127.0.0.1:80", "127.0.0.1:5000", "127.0.0.1:80", true),
        ("127.0.0.1:80", "127.0.0.1:5000", "0.0.0.0:80", true),
        ("127.0.0.2:80", "127.0.0.1:5000", "[::]:80", true),
        ("[::1]:80", "[::1]:5000", "[::]:80", true),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1:5000", "[::]:80", true),
        ("127.0.0.1:81", "127.0.0.1:5000", "127.0.0.1:80", false),
        ("127.0.0.2:80", "127.0.0.1:5000", "127.0.0.1:80", false),
        ("10.0.0.2:80", "10.0.0.1:5000", "0.0.0.0:80", false),
    ] {
        assert_eq!(is_own(at(peer), at(local), &[at(own)]), wanted, "{peer} {local} {own}");
    }
}

#[test]
fn a_relay_that_follows_itself_is_refused() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let sink = Sink::new(Arc::new(Feed::new(Format::Json, 1000)), vec![]);
    let stop = Shutdown::new().unwrap();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let mut relay = Relay::new(format!("tcp://{address}?format=json").parse().unwrap());
        relay.listening_on(&[address]);
        let (sink, stop) = (&sink, &stop);
        thread::Builder::new().spawn_scoped(scope, move || relay.follow(sink, stop)).unwrap();
        // Of the errors of this kind, the only one without TLS.
        wait_failure(sink, Failure::Denied);
    });
}

#[test]
fn every_error_has_its_text() {
    check_texts!(ParentError {
        Closed => "the connection was closed by the server";
        Itself("127.0.0.1:80".parse().unwrap()) =>
            "127.0.0.1:80 is this server itself: a relay cannot follow itself; name its parent";
        PlainToTls => "the server speaks TLS there: write tls:// for tcp://";
        OtherFormat { expected: Format::Json, found: Format::Text } =>
            "the server sends text, not json: write ?format=text or leave format out";
        Client(client::Error::TimedOut) => "timed out";
    } except Tls);
}
