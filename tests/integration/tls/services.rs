//! TLS: each service works as without it.

use super::*;

#[test]
fn a_map_is_sent_over_tls_at_once_and_on_change() {
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
fn a_map_is_repeated_over_tls_every_interval() {
    let authority = Authority::new();
    let server = MapServer::with(Duration::from_millis(50), server(&authority.good("x", &["localhost"])));
    let mut client = connect(server.running.addr, &client(&authority, None)).unwrap();
    for _ in 0..4 {
        assert_eq!(client.next_map().unwrap(), Some(numbered(0)));
    }
}

#[test]
fn large_maps_arrive_whole_over_tls_while_they_change() {
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
fn an_echo_returns_ten_megabytes_over_tls() {
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
fn a_greeting_over_tls_ends_with_close_notify() {
    let authority = Authority::new();
    let running = Running::start(Greet::new("Hola"), server(&authority.good("x", &["localhost"])));
    let (mut came, stop) = (Vec::new(), Shutdown::new().unwrap());
    client::greet(&named(running.addr), &mut came, &client(&authority, None), &stop, None).unwrap();
    assert_eq!(came, b"Hola");
}
