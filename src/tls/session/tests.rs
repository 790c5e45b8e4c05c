use super::super::authority::Authority;
use super::super::failure::causes;
use super::super::{Acceptor, ClientTls, Connector, HandshakeError, Identity, ServerTls, Violation};
use super::*;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// One end of two pipes in memory, with small buffers.
struct End<'pipes> {
    incoming: &'pipes Pipe,
    outgoing: &'pipes Pipe,
}

/// Bytes in transit in one direction.
#[derive(Default)]
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    room: Cell<usize>,
    closed: Cell<bool>,
    /// The limit of a read in bytes; 0 is no limit.
    slice: Cell<usize>,
}

impl Pipe {
    fn of(room: usize) -> Self {
        let pipe = Self::default();
        pipe.room.set(room);
        pipe
    }
}

impl Read for &End<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.incoming.bytes.borrow_mut();
        if bytes.is_empty() {
            return if self.incoming.closed.get() { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let most = if self.incoming.slice.get() == 0 { into.len() } else { into.len().min(self.incoming.slice.get()) };
        bytes.read(&mut into[..most])
    }
}

impl Write for &End<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut queued = self.outgoing.bytes.borrow_mut();
        let room = self.outgoing.room.get().saturating_sub(queued.len());
        if room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(room);
        queued.extend(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The configurations of both ends.
struct Pair {
    server: rustls::ServerConnection,
    client: rustls::ClientConnection,
}

fn pair() -> Pair {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    let identity = Identity { cert: files.cert, key: files.key };
    let acceptor = Acceptor::load(ServerTls { identity, client_ca: None }).unwrap();
    let connector = Connector::load(&ClientTls { ca: Some(authority.ca.clone()), ..ClientTls::default() }).unwrap();
    Pair { server: acceptor.test_connection(), client: connector.test_connection("localhost") }
}

/// The sessions of a server and a client after their handshake, over pipes with buffers of this size.
fn with_sessions(room: usize, test: impl FnOnce(&Session<End<'_>>, &Session<End<'_>>)) {
    let (to_client, to_server) = (Pipe::of(room), Pipe::of(room));
    let pair = pair();
    let server = Session::new(End { incoming: &to_server, outgoing: &to_client }, pair.server);
    let client = Session::new(End { incoming: &to_client, outgoing: &to_server }, pair.client);
    let (mut at_server, mut at_client) = (Step::Again, Step::Again);
    while at_server != Step::Done || at_client != Step::Done {
        at_client = client.step(None).unwrap();
        at_server = server.step(None).unwrap();
    }
    test(&server, &client);
}

/// Reads until there is no more input.
fn take_all(session: &Session<End<'_>>, taken: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 1000];
    loop {
        match session.try_take(&mut chunk) {
            Ok(Some(ReadCount { data, .. })) => taken.extend_from_slice(&chunk[..data]),
            Ok(None) => return true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return false;
            }
        }
    }
}

#[test]
fn data_arrives_with_any_buffer_size() {
    let bytes: Vec<u8> = (0..100_000_u32).map(|byte| (byte % 251) as u8).collect();
    for room in [7, 100, 20_000, 1_000_000] {
        with_sessions(room, |server, client| {
            let (mut sent, mut taken) = (0, Vec::new());
            while sent < bytes.len() {
                match server.try_send(&bytes[sent..]) {
                    Ok(more) => sent += more,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                assert!(server.state.lock().tls.wants_write() || sent == bytes.len(), "it stopped for no reason");
                take_all(client, &mut taken);
            }
            take_all(client, &mut taken);
            assert!(taken == bytes, "{room}: {} of {} bytes", taken.len(), bytes.len());
        });
    }
}

#[test]
fn unsent_data_is_not_counted_and_not_sent_twice() {
    with_sessions(100, |server, client| {
        // One record, of which 100 bytes fit: it is in flight, and none of its data counts as sent.
        assert_eq!(server.try_send(&[b'x'; 1000]).unwrap(), 0);
        assert_eq!(server.try_send(&[b'x'; 1000]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut taken = Vec::new();
        for _ in 0..20 {
            take_all(client, &mut taken);
            let _ = server.state.lock().push(&server.socket);
        }
        assert_eq!(taken.len(), 1000);
        // The data of the first record counts now; the rest begins a new record.
        assert_eq!(server.try_send(&[b'x'; 1010]).unwrap(), 1010);
        take_all(client, &mut taken);
        assert_eq!(taken.len(), 1010);
    });
}

#[test]
fn at_most_one_record_is_buffered_for_a_peer_that_never_reads() {
    with_sessions(100, |server, _client| {
        let bytes = vec![0; 1_000_000];
        assert_eq!(server.try_send(&bytes).unwrap(), 0);
        for _ in 0..100 {
            assert!(server.try_send(&bytes).is_err());
        }
        // A writer that is given a file's worth of room says how much is left.
        let mut left = Vec::new();
        while server.state.lock().tls.wants_write() {
            server.state.lock().tls.write_tls(&mut left).unwrap();
        }
        assert!(left.len() <= RECORD + 100, "{} bytes are kept", left.len());
    });
}

#[test]
fn a_publisher_does_not_wait_for_the_reader() {
    with_sessions(1000, |server, _client| {
        let reading = server.state.lock();
        assert_eq!(server.try_send(b"Hola").unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(reading);
        assert_eq!(server.try_send(b"Hola").unwrap(), 4);
    });
}

#[test]
fn data_received_with_the_handshake_is_not_lost() {
    let (to_client, to_server) = (Pipe::of(100_000), Pipe::of(100_000));
    let pair = pair();
    let server = Session::new(End { incoming: &to_server, outgoing: &to_client }, pair.server);
    let client = Session::new(End { incoming: &to_client, outgoing: &to_server }, pair.client);
    client.step(None).unwrap();
    while server.step(None).unwrap() != Step::WaitReadable {}
    while client.step(None).unwrap() != Step::Done {}
    // In the same read as the client's last flight.
    client.try_send(b"Hola").unwrap();
    while server.step(None).unwrap() != Step::Done {}
    assert!(to_server.bytes.borrow().is_empty() && server.has_input());
    let mut taken = Vec::new();
    assert!(!take_all(&server, &mut taken));
    assert_eq!((taken.as_slice(), server.has_input()), (&b"Hola"[..], false));
}

#[test]
fn data_beyond_a_small_buffer_is_not_lost() {
    with_sessions(100_000, |server, client| {
        client.try_send(b"Hola").unwrap();
        assert_eq!(server.try_take(&mut [0; 3]).unwrap().unwrap().data, 3);
        assert!(server.socket.incoming.bytes.borrow().is_empty() && server.has_input());
        assert_eq!(server.try_take(&mut [0; 3]).unwrap(), Some(ReadCount { data: 1, wire: 0 }));
        assert!(!server.has_input());
    });
}

#[test]
fn an_end_with_or_without_close_notify_is_an_end() {
    for says_so in [true, false] {
        with_sessions(100_000, |server, client| {
            client.try_send(b"Hola").unwrap();
            if says_so {
                client.try_close().unwrap();
                client.try_close().unwrap();
            } else {
                server.socket.incoming.closed.set(true);
            }
            let mut taken = Vec::new();
            assert!(take_all(server, &mut taken) && taken == b"Hola");
            // The other direction stays open.
            assert_eq!(server.try_send(b"Al").unwrap(), 2);
            let mut taken = Vec::new();
            assert!(!take_all(client, &mut taken) && taken == b"Al");
        });
    }
}

#[test]
fn close_notify_waits_for_buffer_space() {
    with_sessions(10, |server, client| {
        assert_eq!(server.try_close().unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut taken = Vec::new();
        while !take_all(client, &mut taken) {
            let _ = server.try_close();
        }
        assert!(taken.is_empty());
    });
}

#[test]
fn a_byte_changed_in_transit_is_an_error_without_data() {
    with_sessions(100_000, |server, client| {
        client.try_send(b"Hola").unwrap();
        *server.socket.incoming.bytes.borrow_mut().back_mut().unwrap() ^= 1;
        let error = server.try_take(&mut [0; 100]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn records_split_at_any_byte_are_the_same_records() {
    with_sessions(100_000, |server, client| {
        server.socket.incoming.slice.set(1);
        client.try_send(b"Hola").unwrap();
        let mut taken = Vec::new();
        assert!(!take_all(server, &mut taken));
        assert_eq!(taken, b"Hola");
    });
}

#[test]
fn input_that_is_not_tls_is_answered_with_an_alert() {
    let (to_client, to_server) = (Pipe::of(100_000), Pipe::of(100_000));
    let server = Session::new(End { incoming: &to_server, outgoing: &to_client }, pair().server);
    to_server.bytes.borrow_mut().extend(b"GET / HTTP/1.1\r\n\r\n");
    let error = server.step(None).unwrap_err();
    assert!(matches!(causes::at_server(error), HandshakeError::PlainClient));
    assert_eq!(to_client.bytes.borrow().iter().copied().take(2).collect::<Vec<_>>(), [21, 3]);
}

#[test]
fn an_endless_hello_is_an_error_of_the_client() {
    let (to_client, to_server) = (Pipe::of(100_000), Pipe::of(100_000));
    let server = Session::new(End { incoming: &to_server, outgoing: &to_client }, pair().server);
    // The longest message that a header can announce, in records of four bytes.
    to_server.bytes.borrow_mut().extend(b"\x16\x03\x01\x00\x04\x01\x00\xff\xff".repeat(20_000));
    let error = loop {
        match server.step(None) {
            Ok(step) => assert_eq!(step, Step::Again),
            Err(error) => break causes::at_server(error),
        }
    };
    assert!(matches!(error, HandshakeError::Violated(Violation::TooLong)), "{error:?}");
}

/// Transfers the pending output of `from`.
#[cfg(feature = "tls-aws-lc")]
fn pass(from: &mut Connection, to: &mut Connection) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = &bytes[..];
    while !bytes.is_empty() {
        to.read_tls(&mut bytes).unwrap();
        to.process_new_packets().unwrap();
    }
}

#[cfg(feature = "tls-aws-lc")]
#[test]
fn both_ends_negotiate_a_post_quantum_key_exchange() {
    let pair = pair();
    let (mut client, mut server) = (pair.client.into(), pair.server.into());
    for _ in 0..4 {
        pass(&mut client, &mut server);
        pass(&mut server, &mut client);
    }
    for end in [&client, &server] {
        assert!(!end.is_handshaking());
        assert_eq!(end.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        let group = end.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    }
}
