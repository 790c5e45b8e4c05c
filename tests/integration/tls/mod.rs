//! TLS: who is let in, who is not, and that all else is as without it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mapcast::client::{self, Error, Input};
use mapcast::frame::Error as FrameError;
use mapcast::tls::{Acceptor, ClientTls, Connector, HandshakeError, Identity, ServerTls};
use mapcast::{Client, ClientConfig, Echo, Format, Greet, ServerConfig, Shutdown};

use crate::support::authority::{Authority, Files, replace};
use crate::support::eventually;
use crate::support::reader::ends_in_order;
use crate::support::server::{MapServer, Running, large, numbered};

const HOUR: Duration = Duration::from_hours(1);

fn identity(files: &Files) -> Identity {
    Identity { cert: files.cert.clone(), key: files.key.clone() }
}

/// A server's configuration with these files.
fn server(files: &Files) -> ServerConfig {
    let files = ServerTls { identity: identity(files), client_ca: None };
    ServerConfig { tls: Some(Arc::new(Acceptor::load(files).unwrap())), ..ServerConfig::default() }
}

/// As [`server`], for clients with a certificate of `ca`.
fn mutual_server(files: &Files, ca: &Authority) -> ServerConfig {
    let files = ServerTls { identity: identity(files), client_ca: Some(ca.ca.clone()) };
    ServerConfig { tls: Some(Arc::new(Acceptor::load(files).unwrap())), ..ServerConfig::default() }
}

/// A client's configuration that trusts `authority`, and is who `files` say.
fn client(authority: &Authority, files: Option<&Files>) -> ClientConfig {
    let options = ClientTls { ca: Some(authority.ca.clone()), name: None, identity: files.map(identity) };
    let tls = Some(Arc::new(Connector::load(&options).unwrap()));
    ClientConfig { format: Format::Json, max_frame: 1 << 30, tls, ..ClientConfig::default() }
}

/// The address, by the name that the certificates here are for.
fn named(addr: SocketAddr) -> String {
    format!("localhost:{}", addr.port())
}

fn connect(addr: SocketAddr, config: &ClientConfig) -> Result<Client, Error> {
    let mut client = Client::connect(&named(addr), config, &Shutdown::new().unwrap())?;
    client.set_deadline(Some(Instant::now() + crate::support::PATIENCE));
    Ok(client)
}

/// What a connection, and the first map over it, fail with.
fn refusal(addr: SocketAddr, config: &ClientConfig) -> HandshakeError {
    let failed = connect(addr, config).and_then(|mut client| client.next_map()).unwrap_err();
    match failed {
        Error::Tls(error) => error,
        other => panic!("{other:?}"),
    }
}

/// What a server's certificate for `localhost` until `year` fails with, in a client that knows the CA.
fn refusal_of(names: &[&str], year: i32) -> HandshakeError {
    let authority = Authority::new();
    let files = authority.write("x", &authority.issue_until(names, year));
    let running = MapServer::with(HOUR, server(&files)).running;
    let error = refusal(running.addr, &client(&authority, None));
    eventually("the failure is counted", || running.stats().failed_handshakes() == 1);
    error
}

#[test]
fn a_map_arrives_at_once_and_on_change() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let config = client(&authority, None);
    let mut clients: Vec<_> = (0..3).map(|_| connect(server.running.addr, &config).unwrap()).collect();
    for number in 0..5 {
        server.feed.publish(&numbered(number)).unwrap();
        for client in &mut clients {
            while client.next_map().unwrap() != Some(numbered(number)) {}
        }
    }
    assert_eq!(server.running.stats().failed_handshakes(), 0);
}

#[test]
fn a_map_is_repeated_every_interval() {
    let authority = Authority::new();
    let server = MapServer::with(Duration::from_millis(50), server(&authority.good("x", &["localhost"])));
    let mut client = connect(server.running.addr, &client(&authority, None)).unwrap();
    for _ in 0..4 {
        assert_eq!(client.next_map().unwrap(), Some(numbered(0)));
    }
}

#[test]
fn large_maps_pass_whole_while_they_change() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let mut client = connect(server.running.addr, &client(&authority, None)).unwrap();
    for size in [1, 16_000, 16_384, 300_000, 5_000_000] {
        server.feed.publish(&large(size)).unwrap();
        server.feed.publish(&large(size + 1)).unwrap();
        while client.next_map().unwrap() != Some(large(size + 1)) {}
    }
}

#[test]
fn an_echo_passes_ten_megabytes_both_ways() {
    let authority = Authority::new();
    let running = Running::start(Echo::new(), server(&authority.good("x", &["localhost"])));
    let bytes: Vec<u8> = (0..10_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let (mut came, stop) = (Vec::new(), Shutdown::new().unwrap());
    let (address, deadline) = (named(running.addr), Instant::now() + 3 * crate::support::PATIENCE);
    let config = client(&authority, None);
    client::echo(&address, Input::Bytes(bytes.clone()), &mut came, &config, &stop, Some(deadline)).unwrap();
    assert!(came == bytes, "{} bytes came back", came.len());
}

#[test]
fn a_greeting_ends_in_order() {
    let authority = Authority::new();
    let running = Running::start(Greet::new("Hola"), server(&authority.good("x", &["localhost"])));
    let (mut came, stop) = (Vec::new(), Shutdown::new().unwrap());
    client::greet(&named(running.addr), &mut came, &client(&authority, None), &stop, None).unwrap();
    assert_eq!(came, b"Hola");
}

#[test]
fn a_client_with_a_certificate_is_let_in() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let config = mutual_server(&authority.good("x", &["localhost"]), &clients);
    let server = MapServer::with(HOUR, config);
    let ana = clients.good("ana", &["ana"]);
    let mut client = connect(server.running.addr, &client(&authority, Some(&ana))).unwrap();
    assert_eq!(client.next_map().unwrap(), Some(numbered(0)));
}

#[test]
fn a_client_without_a_certificate_is_told_so() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let config = mutual_server(&authority.good("x", &["localhost"]), &clients);
    let server = MapServer::with(HOUR, config);
    let error = refusal(server.running.addr, &client(&authority, None));
    assert!(matches!(error, HandshakeError::CertificateRequired), "{error}");
    assert!(error.to_string().contains("--tls-cert"), "{error}");
    eventually("the failure is counted", || server.running.stats().failed_handshakes() == 1);
}

#[test]
fn a_client_with_another_cas_or_an_expired_certificate_is_refused() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let config = mutual_server(&authority.good("x", &["localhost"]), &clients);
    let server = MapServer::with(HOUR, config);
    let expired = clients.write("old", &clients.issue_until(&["ana"], 2001));
    for files in [others.good("eve", &["eve"]), expired] {
        let error = refusal(server.running.addr, &client(&authority, Some(&files)));
        assert!(matches!(error, HandshakeError::Refused(_)), "{error:?}");
    }
    eventually("the failures are counted", || server.running.stats().failed_handshakes() == 2);
}

#[test]
fn a_server_of_an_unknown_ca_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let running = MapServer::with(HOUR, server(&authority.good("x", &["localhost"]))).running;
    let error = refusal(running.addr, &client(&other, None));
    assert!(matches!(error, HandshakeError::UnknownIssuer), "{error:?}");
    assert!(error.to_string().contains("--tls-ca"), "{error}");
    eventually("the failure is counted", || running.stats().failed_handshakes() == 1);
}

#[test]
fn a_certificate_for_another_name_is_refused_with_that_name() {
    let error = refusal_of(&["mapcast.example"], 2100).to_string();
    assert_eq!(error, "the certificate is for mapcast.example, not localhost: use --tls-name mapcast.example");
}

#[test]
fn an_expired_certificate_is_refused_with_its_date() {
    let error = refusal_of(&["localhost"], 2001).to_string();
    assert!(error.contains("has expired 2001-12-31T00:00:00Z"), "{error}");
}

#[test]
fn a_name_that_is_given_is_the_one_that_counts() {
    let authority = Authority::new();
    let running = MapServer::with(HOUR, server(&authority.good("x", &["mapcast.example"]))).running;
    let name = Some("mapcast.example".to_owned());
    let options = ClientTls { ca: Some(authority.ca.clone()), name, identity: None };
    let config = ClientConfig { tls: Some(Arc::new(Connector::load(&options).unwrap())), ..client(&authority, None) };
    assert_eq!(connect(running.addr, &config).unwrap().next_map().unwrap(), Some(numbered(0)));
}

/// What a server answers to bytes that are no TLS that it speaks, until its end, which must be in order.
fn answer(server: &Running, bytes: &[u8]) -> Vec<u8> {
    let mut socket = server.connect();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    socket.write_all(bytes).unwrap();
    let mut came = Vec::new();
    socket.read_to_end(&mut came).expect("an end in order");
    came
}

#[test]
fn what_is_no_tls_gets_an_alert_and_is_counted() {
    let authority = Authority::new();
    let running = MapServer::with(HOUR, server(&authority.good("x", &["localhost"]))).running;
    // A ClientHello of TLS 1.1 (RFC 4346, section 7.4.1.2): two cipher suites, no compression, no extensions.
    let mut tls_1_1 = vec![22, 3, 1, 0, 47, 1, 0, 0, 43, 3, 2];
    tls_1_1.extend([7; 32]);
    tls_1_1.extend([0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    // handshake_failure is 40, protocol_version 70 (RFC 8446, section 6.2); what is no TLS at all is 50, or the like.
    let came = answer(&running, &tls_1_1);
    assert!(matches!(came[..], [21, 3, 3, 0, 2, 2, 40 | 70]), "{came:?}");
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    let garbage: Vec<u8> = (0..2000_u32).map(|byte| (byte * byte % 253) as u8).collect();
    for bytes in [&http[..], &garbage] {
        let came = answer(&running, bytes);
        assert!(matches!(came[..], [21, 3, _, 0, 2, 2, _]), "{came:?}");
    }
    eventually("the failures are counted", || running.stats().failed_handshakes() == 3);
    assert_eq!(running.stats().served(), 0, "nobody has shaken hands");
    running.wait_active(0);
}

#[test]
fn a_plain_client_is_told_what_it_speaks_to() {
    let authority = Authority::new();
    let config =
        ServerConfig { handshake_timeout: Duration::from_millis(100), ..server(&authority.good("x", &["localhost"])) };
    let running = MapServer::with(HOUR, config).running;
    let plain = ClientConfig { tls: None, ..client(&authority, None) };
    let error = connect(running.addr, &plain).unwrap().next_map().unwrap_err();
    assert!(matches!(error, Error::PlainToTls) && error.to_string().contains("use --tls"), "{error:?}");
    let (mut came, stop) = (Vec::new(), Shutdown::new().unwrap());
    let greeted = client::greet(&named(running.addr), &mut came, &plain, &stop, None);
    assert!(matches!(greeted, Err(Error::PlainToTls)), "{greeted:?}");
    let input = Input::Bytes(b"Hola".to_vec());
    let echoed = client::echo(&named(running.addr), input, &mut came, &plain, &stop, None);
    assert!(matches!(echoed, Err(Error::PlainToTls)) && came.is_empty(), "{echoed:?}");
}

#[test]
fn a_client_of_tls_is_told_that_the_server_speaks_none() {
    let authority = Authority::new();
    let config = client(&authority, None);
    // An echo answers a ClientHello with itself, a map with a frame.
    for running in [Running::start(Echo::new(), ServerConfig::default()), MapServer::start(HOUR).running] {
        let error = connect(running.addr, &config).unwrap_err();
        assert!(matches!(error, Error::Tls(_)), "{error:?}");
    }
    let running = MapServer::start(HOUR).running;
    assert!(refusal(running.addr, &config).to_string().contains("leave --tls out"));
}

#[test]
fn silent_handshakes_end_at_their_deadline_and_keep_nobody_waiting() {
    let authority = Authority::new();
    let config =
        ServerConfig { handshake_timeout: Duration::from_secs(3), ..server(&authority.good("x", &["localhost"])) };
    let server = MapServer::with(HOUR, config);
    let began = Instant::now();
    let mut silent: Vec<_> = (0..200).map(|_| server.running.connect()).collect();
    let config = client(&authority, None);
    let mut good: Vec<_> = (0..20).map(|_| connect(server.running.addr, &config).unwrap()).collect();
    for client in &mut good {
        assert_eq!(client.next_map().unwrap(), Some(numbered(0)));
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "the good ones waited for the silent ones: {:?}",
        began.elapsed()
    );
    assert!(silent.iter_mut().all(ends_in_order));
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    drop(silent);
    eventually("the failures are counted", || server.running.stats().failed_handshakes() == 200);
    server.running.wait_active(20);
    server.feed.publish(&numbered(1)).unwrap();
    for client in &mut good {
        assert_eq!(client.next_map().unwrap(), Some(numbered(1)));
    }
}

#[test]
fn a_client_hello_that_drips_ends_at_the_same_deadline() {
    let authority = Authority::new();
    let timeout = Duration::from_millis(500);
    let config = ServerConfig { handshake_timeout: timeout, ..server(&authority.good("x", &["localhost"])) };
    let running = MapServer::with(HOUR, config).running;
    let (began, mut socket) = (Instant::now(), running.connect());
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    // The head of a ClientHello of 16,000 bytes, then a byte now and then.
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
fn the_stop_ends_handshakes() {
    let authority = Authority::new();
    let running = MapServer::with(HOUR, server(&authority.good("x", &["localhost"]))).running;
    let mut silent: Vec<_> = (0..20).map(|_| running.connect()).collect();
    running.wait_active(20);
    let began = Instant::now();
    running.stop.trigger();
    assert!(silent.iter_mut().all(ends_in_order));
    drop(silent);
    let failed = running.stats().failed_handshakes();
    assert_eq!((failed, running.stop().cut), (0, 0));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn the_stop_finishes_frames_and_ends_every_session_in_order() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let config = client(&authority, None);
    let mut clients: Vec<_> = (0..50).map(|_| connect(server.running.addr, &config).unwrap()).collect();
    for client in &mut clients {
        client.next_map().unwrap();
    }
    server.feed.publish(&large(2_000_000)).unwrap();
    // Its first bytes are on their way to the last client when the stop comes.
    let last = clients.last_mut().unwrap();
    assert!(last.next_map().unwrap().is_some());
    server.running.stop.trigger();
    for client in &mut clients {
        let mut ended = client.next_map();
        while matches!(ended, Ok(Some(_))) {
            ended = client.next_map();
        }
        assert!(matches!(ended, Ok(None)), "{ended:?}");
    }
    drop(clients);
    assert_eq!(server.running.stop().cut, 0);
}

#[test]
fn a_client_that_leaves_is_noticed_at_once() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let mut client = connect(server.running.addr, &client(&authority, None)).unwrap();
    client.next_map().unwrap();
    server.running.wait_active(1);
    drop(client);
    server.running.wait_active(0);
}

/// A raw client of TLS, for what the library's own does not do.
fn raw_client(authority: &Authority, addr: SocketAddr) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    raw_client_with(raw_config(authority, rustls::DEFAULT_VERSIONS), addr)
}

/// The configuration of one with these `versions` of TLS. It keeps the sessions that a server lets it resume.
fn raw_config(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(&authority.ca).unwrap()).unwrap();
    #[cfg(feature = "tls")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "tls"))]
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
    let config = config.with_protocol_versions(versions).unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

fn raw_client_with(
    config: Arc<rustls::ClientConfig>,
    addr: SocketAddr,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let tls = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    socket.set_write_timeout(Some(crate::support::PATIENCE)).unwrap();
    rustls::StreamOwned::new(tls, socket)
}

#[test]
fn a_flood_is_thrown_away_to_its_limit_and_then_cut() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let mut client = raw_client(&authority, server.running.addr);
    let mut sent = 0;
    while sent < 100_000_000 && client.write_all(&[b'x'; 16_000]).is_ok() && client.flush().is_ok() {
        sent += 16_000;
    }
    assert!(sent < 100_000_000, "nobody has stopped the flood");
    server.running.wait_active(0);
}

#[test]
fn no_session_is_resumed() {
    use rustls::HandshakeKind::{Full, FullWithHelloRetryRequest};
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = raw_config(&authority, &[version]);
        for round in 0..3 {
            let mut client = raw_client_with(Arc::clone(&config), server.running.addr);
            // What a server lets a client resume comes at the latest with the first data.
            client.read_exact(&mut [0; 10]).unwrap();
            let kind = client.conn.handshake_kind();
            assert!(matches!(kind, Some(Full | FullWithHelloRetryRequest)), "{version:?}, {round}: {kind:?}");
            assert_eq!(client.conn.tls13_tickets_received(), 0);
        }
    }
}

#[test]
fn a_client_that_says_goodbye_without_closing_is_gone() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let mut client = raw_client(&authority, server.running.addr);
    client.read_exact(&mut [0; 10]).unwrap();
    client.conn.send_close_notify();
    client.conn.write_tls(&mut client.sock).unwrap();
    client.read_to_end(&mut Vec::new()).expect("close_notify in return, and the end in order");
    drop(client);
    server.running.wait_active(0);
}

#[test]
fn the_first_thing_that_comes_with_the_handshake_is_not_forgotten() {
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
            // The client's last flight and its goodbye, in one segment: the server's socket has nothing to tell after it.
            client.conn.send_close_notify();
            client.conn.write_tls(&mut client.sock).unwrap();
        }
    }
    eventually("the client is gone", || server.running.stats().served() == 1 && server.running.stats().active() == 0);
}

#[test]
fn a_slow_client_is_cut_at_the_deadline_of_a_frame() {
    let authority = Authority::new();
    let timeout = Duration::from_millis(500);
    let config = ServerConfig { write_timeout: timeout, ..server(&authority.good("x", &["localhost"])) };
    let server = MapServer::with(HOUR, config);
    let mut slow = raw_client(&authority, server.running.addr);
    let mut good = connect(server.running.addr, &client(&authority, None)).unwrap();
    slow.read_exact(&mut [0; 10]).unwrap();
    slow.read_exact(&mut [0; 7]).unwrap();
    server.feed.publish(&large(8_000_000)).unwrap();
    let began = Instant::now();
    assert_eq!(good.next_map().unwrap(), Some(numbered(0)));
    assert_eq!(good.next_map().unwrap(), Some(large(8_000_000)));
    eventually("it is cut", || server.running.stats().timed_out() == 1);
    assert!(began.elapsed() >= timeout.checked_sub(Duration::from_millis(50)).unwrap(), "{:?}", began.elapsed());
    server.running.wait_active(1);
    let mut frames = mapcast::frame::FrameReader::new(slow, 1 << 30);
    let torn = frames.read_frame();
    assert!(matches!(torn, Err(FrameError::Truncated { .. } | FrameError::Io(_))), "{torn:?}");
}

/// When the certificate that a new client sees runs out is what tells one from another.
fn wait_until_year(acceptor: &Acceptor, year: u64) {
    let is_in = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / (365 * 24 * 3600 + 6 * 3600) + 1970 == year
    };
    eventually(&format!("the certificate of {year}"), || acceptor.not_after().is_some_and(is_in));
}

#[test]
fn a_new_certificate_is_for_new_connections_and_the_old_ones_live_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.write("x", &old.issue_until(&["localhost"], 2050));
    let config = server(&files);
    let acceptor = Arc::clone(config.tls.as_ref().unwrap());
    let server = MapServer::with(HOUR, config);
    let mut early = connect(server.running.addr, &client(&old, None)).unwrap();
    early.next_map().unwrap();
    let issued = new.issue_until(&["localhost"], 2060);
    replace(&files.cert, &issued.cert);
    replace(&files.key, &issued.key);
    wait_until_year(&acceptor, 2060);
    let mut late = connect(server.running.addr, &client(&new, None)).unwrap();
    late.next_map().unwrap();
    assert!(connect(server.running.addr, &client(&old, None)).is_err());
    server.feed.publish(&numbered(1)).unwrap();
    for client in [&mut early, &mut late] {
        assert_eq!(client.next_map().unwrap(), Some(numbered(1)));
    }
}

#[cfg(feature = "cli")]
mod programs;
