//! The client against small scripted servers.

use std::io::Write;
use std::net::{Shutdown as Half, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::format::Format;
use crate::frame::{self, DEFAULT_MAX_FRAME, Frame};
use crate::map::{Map, builtin};
use crate::shutdown::Shutdown;

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_mins(1);

/// Serves one client after the other with `script`, which gets the number of earlier clients.
fn serve(mut script: impl FnMut(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let run = move || listener.incoming().enumerate().for_each(|(number, stream)| script(number, stream.unwrap()));
    // The thread ends with the process.
    thread::Builder::new().spawn(run).unwrap();
    address
}

fn frame(payload: &[u8]) -> Vec<u8> {
    Frame::new(payload, DEFAULT_MAX_FRAME).unwrap().as_bytes().to_vec()
}

fn builtin_frame() -> Vec<u8> {
    frame(&Format::Bincode.encode_map(&builtin()).unwrap())
}

/// Returns the server's end of the connection, and the client.
fn pair() -> (TcpStream, Client, Shutdown) {
    pair_in(None)
}

fn pair_in(format: Option<Format>) -> (TcpStream, Client, Shutdown) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let shutdown = Shutdown::new().unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = ClientConfig { format, ..ClientConfig::default() };
    let mut client = Client::connect(&address, &config, &shutdown).unwrap();
    client.set_deadline(Some(Instant::now() + LONG));
    (listener.accept().unwrap().0, client, shutdown)
}

fn soon() -> Instant {
    Instant::now() + SOON
}

fn follower(address: SocketAddr, config: FollowConfig) -> (Follower, Shutdown) {
    let shutdown = Shutdown::new().unwrap();
    let mut follower = Follower::new(&address.to_string(), config, &shutdown);
    follower.set_deadline(Some(Instant::now() + LONG));
    (follower, shutdown)
}

fn impatient() -> FollowConfig {
    FollowConfig { stale_after: Some(SOON), ..FollowConfig::default() }
}

fn once() -> FollowConfig {
    FollowConfig { reconnect: false, ..FollowConfig::default() }
}

#[test]
fn maps_are_returned_in_order_until_the_end() {
    let (mut server, mut client, _shutdown) = pair();
    let second = Map::from([("n".into(), 2.into())]);
    server.write_all(&builtin_frame()).unwrap();
    server.write_all(&frame(&Format::Bincode.encode_map(&second).unwrap())).unwrap();
    drop(server);
    assert_eq!(client.next_map().unwrap(), Some(builtin()));
    assert_eq!(client.next_map().unwrap(), Some(second));
    assert_eq!(client.next_map().unwrap(), None);
}

#[test]
fn empty_frames_are_skipped() {
    let (mut server, mut client, _shutdown) = pair();
    server.write_all(&[frame(b""), frame(b""), frame(b"x")].concat()).unwrap();
    assert_eq!(client.next_payload().unwrap().unwrap(), b"x");
}

#[test]
fn any_serde_type_is_read() {
    let (mut server, mut client, _shutdown) = pair_in(Some(Format::Bincode));
    server.write_all(&frame(&Format::Bincode.encode(&("Hola", 7_u8)).unwrap())).unwrap();
    assert_eq!(client.next_typed::<(String, u8)>().unwrap(), Some(("Hola".to_owned(), 7)));
}

#[test]
fn a_payload_in_another_format_is_an_error() {
    let (mut server, mut client, _shutdown) = pair_in(Some(Format::Bincode));
    server.write_all(&frame(br#"{"n":1}"#)).unwrap();
    let error = client.next_map().unwrap_err();
    assert!(matches!(error, Error::OtherFormat { expected: Format::Bincode, found: Format::Json }), "{error:?}");
}

#[test]
fn the_first_payload_of_each_connection_shows_its_format() {
    let map = Map::from([("n".into(), 1.into())]);
    let sent = map.clone();
    let address = serve(move |number, mut stream| {
        let format = Format::ALL[number % Format::ALL.len()];
        let payload = frame(&format.encode_map(&sent).unwrap());
        stream.write_all(&[frame(b""), payload.clone(), payload].concat()).unwrap();
    });
    let (mut follower, _shutdown) = follower(address, FollowConfig::default());
    assert_eq!(follower.format(), None);
    for format in Format::ALL.into_iter().take(3) {
        for _ in 0..2 {
            assert_eq!(follower.next_map().unwrap().as_ref(), Some(&map));
            assert_eq!(follower.format(), Some(format));
        }
    }
}

#[test]
fn a_payload_that_shows_no_format_is_an_error() {
    let (mut server, mut client, _shutdown) = pair();
    server.write_all(&frame(b"hello\x1b there, reader")).unwrap();
    let error = client.next_map().unwrap_err();
    assert_eq!(client.format(), None);
    assert!(matches!(&error, Error::UnknownFormat { first } if first == b"hello\x1b there, re"), "{error:?}");
}

#[test]
fn a_format_that_changes_within_a_connection_is_an_error() {
    let (mut server, mut client, _shutdown) = pair();
    server.write_all(&[builtin_frame(), frame(b"{}")].concat()).unwrap();
    assert_eq!(client.next_map().unwrap(), Some(builtin()));
    let error = client.next_map().unwrap_err();
    assert!(matches!(error, Error::OtherFormat { expected: Format::Bincode, found: Format::Json }), "{error:?}");
}

#[test]
fn a_deadline_inside_a_frame_loses_no_data() {
    let (mut server, mut client, _shutdown) = pair();
    let whole = frame(b"Hola");
    for part in [&whole[..3], &whole[3..12]] {
        server.write_all(part).unwrap();
        client.set_deadline(Some(soon()));
        assert!(matches!(client.next_payload(), Err(Error::TimedOut)));
    }
    server.write_all(&whole[12..]).unwrap();
    client.set_deadline(Some(Instant::now() + LONG));
    assert_eq!(client.next_payload().unwrap().unwrap(), b"Hola");
}

#[test]
fn slow_bytes_do_not_extend_the_deadline() {
    let address = serve(|_, mut stream| {
        let (pace, end) = (Shutdown::new().unwrap(), Instant::now() + LONG);
        // The first ten announce a payload of a gigabyte.
        while Instant::now() < end && stream.write_all(b"1").is_ok() {
            pace.wait(Duration::from_millis(5));
        }
    });
    let (shutdown, config) = (Shutdown::new().unwrap(), ClientConfig { max_frame: usize::MAX, ..Default::default() });
    let mut client = Client::connect(&address.to_string(), &config, &shutdown).unwrap();
    client.set_deadline(Some(Instant::now() + 4 * SOON));
    assert!(matches!(client.next_payload(), Err(Error::TimedOut)));
}

#[test]
fn endless_empty_frames_do_not_extend_the_deadline() {
    let address = serve(|_, mut stream| {
        let end = Instant::now() + LONG;
        while Instant::now() < end && stream.write_all(&frame(b"").repeat(100)).is_ok() {}
    });
    let (mut follower, _shutdown) = follower(address, FollowConfig::default());
    follower.set_deadline(Some(soon()));
    assert!(matches!(follower.next_payload(), Err(Error::TimedOut)));
}

#[test]
fn a_stop_from_another_thread_ends_the_wait() {
    let (_server, mut client, shutdown) = pair();
    thread::scope(|scope| {
        let reader = scope.spawn(|| client.next_map());
        shutdown.trigger();
        assert!(matches!(reader.join().unwrap(), Err(Error::Stopped)));
    });
}

#[test]
fn a_client_can_be_sent_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Client>();
    is_send::<Follower>();
}

#[test]
fn a_failed_first_connection_is_returned_at_once() {
    // Bound but not listening: the port is reserved.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let free = bound.local_addr().unwrap().as_socket().unwrap();
    let (mut follower, _shutdown) = follower(free, FollowConfig::default());
    assert!(matches!(follower.next_map(), Err(Error::Connect { .. })));
}

#[test]
fn a_follower_reconnects_after_an_end_and_after_a_cut() {
    let address = serve(|number, mut stream| {
        let frame = frame(number.to_string().as_bytes());
        let cut = if number == 1 { 10 } else { frame.len() };
        let _ = stream.write_all(&frame[..cut]);
    });
    let (mut follower, _shutdown) = follower(address, FollowConfig::default());
    assert_eq!(follower.next_payload().unwrap().unwrap(), b"0");
    assert_eq!(follower.next_payload().unwrap().unwrap(), b"2");
}

#[test]
fn a_follower_reconnects_after_a_silence() {
    let (keep, kept) = mpsc::channel();
    let address = serve(move |number, mut stream| {
        let _ = stream.write_all(&frame(number.to_string().as_bytes()));
        keep.send(stream).unwrap();
    });
    let (mut follower, _shutdown) = follower(address, impatient());
    // On a busy machine a connection may be stale before anything was written to it.
    let mut next = || String::from_utf8(follower.next_payload().unwrap().unwrap()).unwrap().parse::<usize>().unwrap();
    let (first, second) = (next(), next());
    assert!(first < second, "{first} {second}");
    drop(kept);
}

#[test]
fn a_follower_retries_while_the_server_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut follower, _shutdown) = follower(address, FollowConfig::default());
    thread::scope(|scope| {
        scope.spawn(|| listener.accept().unwrap().0.write_all(&builtin_frame()).unwrap());
        assert_eq!(follower.next_map().unwrap(), Some(builtin()));
    });
    // It no longer listens, but reserves the port.
    socket2::SockRef::from(&listener).shutdown(Half::Both).unwrap();
    follower.set_deadline(Some(Instant::now() + Duration::from_millis(1500)));
    // There is no listener any more; after the first connection that is not an error.
    assert!(matches!(follower.next_map(), Err(Error::TimedOut)));
}

#[test]
fn a_stop_ends_the_wait_between_two_attempts() {
    let address = serve(|_, stream| drop(stream));
    let (mut follower, shutdown) = follower(address, FollowConfig::default());
    thread::scope(|scope| {
        let reader = scope.spawn(|| follower.next_map());
        shutdown.trigger();
        assert!(matches!(reader.join().unwrap(), Err(Error::Stopped)));
    });
}

#[test]
fn without_reconnecting_each_end_is_distinguished() {
    let (mut closed, _shutdown) = follower(serve(|_, stream| drop(stream)), once());
    assert!(matches!(closed.next_map(), Ok(None)));

    let cut = serve(|_, mut stream| stream.write_all(b"60        Hola").unwrap());
    let (mut cut, _shutdown) = follower(cut, once());
    assert!(matches!(cut.next_map(), Err(Error::Frame(frame::Error::Truncated { .. }))));

    let (keep, _kept) = mpsc::channel();
    let silent = serve(move |_, stream| keep.send(stream).unwrap());
    let (mut silent, _shutdown) = follower(silent, FollowConfig { reconnect: false, ..impatient() });
    assert!(matches!(silent.next_map(), Err(Error::Stale { after: SOON })));
}

#[test]
fn a_permanent_error_is_returned_at_once() {
    let bad = serve(|_, mut stream| stream.write_all(b"GET / HTTP").unwrap());
    let (mut bad, _shutdown) = follower(bad, FollowConfig::default());
    assert!(matches!(bad.next_map(), Err(Error::Frame(frame::Error::BadHeader { .. }))));

    let large = serve(|_, mut stream| stream.write_all(b"9999999999").unwrap());
    let (mut large, _shutdown) = follower(large, FollowConfig::default());
    assert!(matches!(large.next_map(), Err(Error::Frame(frame::Error::TooLarge { .. }))));
}

#[test]
fn an_end_inside_the_first_header_is_another_protocol() {
    for config in [FollowConfig::default(), once()] {
        let greeting = serve(|_, mut stream| stream.write_all(b"Hola\x1b\r\n").unwrap());
        let (mut greeted, _shutdown) = follower(greeting, config);
        let error = greeted.next_map().unwrap_err();
        assert!(matches!(&error, Error::NoHeader { bytes } if bytes == b"Hola\x1b\r\n"), "{error:?}");
    }

    let cut = serve(|number, mut stream| {
        let bytes = if number == 1 { b"60".to_vec() } else { frame(number.to_string().as_bytes()) };
        let _ = stream.write_all(&bytes);
    });
    let (mut cut, _shutdown) = follower(cut, FollowConfig::default());
    assert_eq!(cut.next_payload().unwrap().unwrap(), b"0");
    assert_eq!(cut.next_payload().unwrap().unwrap(), b"2");
}

#[test]
fn an_end_before_any_byte_reconnects() {
    let full = serve(|number, mut stream| {
        if number > 0 {
            let _ = stream.write_all(&frame(b"room"));
        }
    });
    let (mut full, _shutdown) = follower(full, FollowConfig::default());
    assert_eq!(full.next_payload().unwrap().unwrap(), b"room");
}

#[test]
fn a_connection_without_a_byte_awaits_its_first_byte() {
    let (keep, _kept) = mpsc::channel();
    let address = serve(move |number, mut stream| {
        if number > 0 {
            stream.write_all(b"6").unwrap();
            keep.send(stream).unwrap();
        }
    });
    let (mut follower, _shutdown) = follower(address, FollowConfig::default());
    assert!(!follower.awaits_first_byte(), "there is no connection yet");
    assert!(matches!(follower.next_event(), Ok(FollowEvent::Connected { .. })));
    assert!(follower.awaits_first_byte());
    assert!(matches!(follower.next_event(), Ok(FollowEvent::Lost { reason: None, .. })));
    assert!(follower.awaits_first_byte(), "the first one has ended without a byte");
    assert!(matches!(follower.next_event(), Ok(FollowEvent::Connected { .. })));
    // On a busy machine the byte may come late.
    let end = Instant::now() + LONG;
    while follower.awaits_first_byte() {
        assert!(Instant::now() < end, "the byte does not count");
        follower.set_deadline(Some(soon()));
        assert!(matches!(follower.next_event(), Err(Error::TimedOut)));
    }
    follower.give_up();
    assert!(!follower.awaits_first_byte());
}

#[test]
fn empty_frames_prevent_a_stale_connection() {
    let address = serve(|_, mut stream| {
        let pace = Shutdown::new().unwrap();
        for _ in 0..20 {
            pace.wait(SOON);
            stream.write_all(&frame(b"")).unwrap();
        }
        stream.write_all(&frame(b"alive")).unwrap();
        stream.shutdown(Half::Write).unwrap();
    });
    let config = FollowConfig { reconnect: false, stale_after: Some(10 * SOON), ..FollowConfig::default() };
    let (mut follower, _shutdown) = follower(address, config);
    assert_eq!(follower.next_payload().unwrap().unwrap(), b"alive");
}
