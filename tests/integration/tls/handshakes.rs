//! TLS: handshakes that fail, hang or are not handshakes.

use super::*;

/// Returns the answer of a server to `bytes`, which are not TLS that it supports. The connection must end cleanly.
fn answer(server: &Running, bytes: &[u8]) -> Vec<u8> {
    let mut socket = server.connect();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    socket.write_all(bytes).unwrap();
    let mut came = Vec::new();
    socket.read_to_end(&mut came).expect("an end in order");
    came
}

#[test]
fn input_that_is_not_tls_gets_an_alert_and_is_counted() {
    let authority = Authority::new();
    let running = MapServer::with(HOUR, server(&authority.good("x", &["localhost"]))).running;
    // A ClientHello of TLS 1.1 (RFC 4346, section 7.4.1.2): two cipher suites, no compression, no extensions.
    let mut tls_1_1 = vec![22, 3, 1, 0, 47, 1, 0, 0, 43, 3, 2];
    tls_1_1.extend([7; 32]);
    tls_1_1.extend([0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    // handshake_failure is 40, protocol_version 70 (RFC 8446, section 6.2); input that is not TLS is 50 or a similar code.
    let came = answer(&running, &tls_1_1);
    assert!(matches!(came[..], [21, 3, 3, 0, 2, 2, 40 | 70]), "{came:?}");
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    let garbage: Vec<u8> = (0..2000_u32).map(|byte| (byte * byte % 253) as u8).collect();
    for bytes in [&http[..], &garbage] {
        let came = answer(&running, bytes);
        assert!(matches!(came[..], [21, 3, _, 0, 2, 2, _]), "{came:?}");
    }
    eventually("the failures are counted", || running.stats().failed_handshakes() == 3);
    assert_eq!(running.stats().served(), 0, "no handshake succeeded");
    running.wait_active(0);
}

#[test]
fn a_plain_client_reports_a_tls_server() {
    let authority = Authority::new();
    let config =
        ServerConfig { handshake_timeout: Duration::from_millis(100), ..server(&authority.good("x", &["localhost"])) };
    let running = MapServer::with(HOUR, config).running;
    let plain = ClientConfig { tls: None, ..client(&authority, None) };
    let error = connect(running.addr, &plain).unwrap().next_map().unwrap_err();
    assert!(matches!(error, Error::PlainToTls), "{error:?}");
    let (mut came, stop) = (Vec::new(), Shutdown::new().unwrap());
    let greeted = client::greet(&named(running.addr), &mut came, &plain, &stop, None);
    assert!(matches!(greeted, Err(Error::PlainToTls)), "{greeted:?}");
    let input = Input::Bytes(b"Hola".to_vec());
    let echoed = client::echo(&named(running.addr), input, &mut came, &plain, &stop, None);
    assert!(matches!(echoed, Err(Error::PlainToTls)) && came.is_empty(), "{echoed:?}");
}

#[test]
fn a_tls_client_reports_a_plain_server() {
    let authority = Authority::new();
    let config = client(&authority, None);
    // An echo answers a ClientHello with itself, a map with a frame.
    for running in [Running::start(Echo::new(), ServerConfig::default()), MapServer::start(HOUR).running] {
        let error = connect(running.addr, &config).unwrap_err();
        assert!(matches!(error, Error::Tls(_)), "{error:?}");
    }
    let running = MapServer::start(HOUR).running;
    assert!(matches!(refusal(running.addr, &config), HandshakeError::PlainServer));
}

#[test]
fn silent_handshakes_end_at_their_deadline_and_delay_no_client() {
    let authority = Authority::new();
    let files = authority.good("x", &["localhost"]);
    // Without a deadline, clients that wait for the silent ones wait for ever.
    let server_without_deadline = MapServer::with(HOUR, server(&files));
    let running = &server_without_deadline.running;
    let silent: Vec<_> = (0..200).map(|_| running.connect()).collect();
    let config = client(&authority, None);
    let mut good: Vec<_> = (0..20).map(|_| connect(running.addr, &config).unwrap()).collect();
    for client in &mut good {
        assert_eq!(client.next_map().unwrap(), Some(numbered(0)));
    }
    assert_eq!(running.stats().failed_handshakes(), 0, "the silent ones are still there");
    drop(silent);
    eventually("the failures are counted", || running.stats().failed_handshakes() == 200);
    running.wait_active(20);
    server_without_deadline.feed.publish(&numbered(1)).unwrap();
    for client in &mut good {
        assert_eq!(client.next_map().unwrap(), Some(numbered(1)));
    }

    let timeout = Duration::from_millis(500);
    let running = MapServer::with(HOUR, ServerConfig { handshake_timeout: timeout, ..server(&files) }).running;
    let began = Instant::now();
    let mut silent: Vec<_> = (0..200).map(|_| running.connect()).collect();
    assert!(silent.iter_mut().all(ends_in_order));
    assert!(began.elapsed() >= timeout, "{:?}", began.elapsed());
    drop(silent);
    eventually("the failures are counted", || running.stats().failed_handshakes() == 200);
    running.wait_active(0);
}

#[test]
fn a_slow_client_hello_ends_at_the_deadline() {
    let authority = Authority::new();
    let timeout = Duration::from_millis(500);
    let config = ServerConfig { handshake_timeout: timeout, ..server(&authority.good("x", &["localhost"])) };
    let running = MapServer::with(HOUR, config).running;
    let (began, mut socket) = (Instant::now(), running.connect());
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    // The header of a ClientHello of 16,000 bytes, then single bytes.
    socket.write_all(&[22, 3, 1, 0x3e, 0x80]).unwrap();
    let mut came = [0; 100];
    let ended = loop {
        match socket.read(&mut came) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => drop(socket.write_all(&[1])),
            Err(_) => break false,
        }
        assert!(began.elapsed() < crate::support::PATIENCE, "progress has extended the deadline");
    };
    assert!(ended && began.elapsed() >= timeout, "{:?}", began.elapsed());
}

#[test]
fn a_stop_ends_handshakes() {
    let authority = Authority::new();
    let config = ServerConfig { handshake_timeout: HOUR, ..server(&authority.good("x", &["localhost"])) };
    let running = MapServer::with(HOUR, config).running;
    let mut silent: Vec<_> = (0..20).map(|_| running.connect()).collect();
    running.wait_active(20);
    running.stop.trigger();
    assert!(silent.iter_mut().all(ends_in_order));
    drop(silent);
    let failed = running.stats().failed_handshakes();
    assert_eq!((failed, running.stop().cut), (0, 0));
}

#[test]
fn data_sent_with_the_handshake_is_not_lost() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let mut client = raw_client(&authority, server.running.addr);
    while client.conn.wants_write() || client.conn.is_handshaking() {
        if client.conn.wants_write() && client.conn.is_handshaking() {
            client.conn.write_tls(&mut client.sock).unwrap();
        } else if client.conn.is_handshaking() {
            client.conn.read_tls(&mut client.sock).unwrap();
            client.conn.process_new_packets().unwrap();
        } else {
            // The client's last flight and its end in one segment: the server's socket has no event after it.
            client.conn.send_close_notify();
            client.conn.write_tls(&mut client.sock).unwrap();
        }
    }
    eventually("the client is gone", || server.running.stats().served() == 1 && server.running.stats().active() == 0);
}
