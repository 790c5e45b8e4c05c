//! TLS: the end of a session.

use super::*;

#[test]
fn a_stop_finishes_frames_and_closes_every_session() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let config = client(&authority, None);
    let mut clients: Vec<_> = (0..50).map(|_| connect(server.running.addr, &config).unwrap()).collect();
    for client in &mut clients {
        client.next_map().unwrap();
    }
    server.feed.publish(&large(2_000_000)).unwrap();
    // Some frames are in flight when the stop begins, and stay so until their clients read them.
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
fn a_disconnected_client_is_removed_at_once() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let mut client = connect(server.running.addr, &client(&authority, None)).unwrap();
    client.next_map().unwrap();
    server.running.wait_active(1);
    drop(client);
    server.running.wait_active(0);
}

#[test]
fn input_is_discarded_up_to_the_limit_and_then_cut() {
    let authority = Authority::new();
    let server = MapServer::with(HOUR, server(&authority.good("x", &["localhost"])));
    let mut client = raw_client(&authority, server.running.addr);
    let mut sent = 0;
    while sent < 100_000_000 && client.write_all(&[b'x'; 16_000]).is_ok() && client.flush().is_ok() {
        sent += 16_000;
    }
    assert!(sent < 100_000_000, "the flood was not stopped");
    server.running.wait_active(0);
}

#[test]
fn a_client_that_only_sends_close_notify_is_removed() {
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
fn a_slow_client_over_tls_is_cut_at_the_deadline() {
    let authority = Authority::new();
    // Also the time that the good client has for the same frame.
    let timeout = Duration::from_secs(3);
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
