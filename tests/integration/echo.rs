//! The echo and the greeting, on the same accept loop, limits and stop as the map.

use std::io::{Read, Write};
use std::net::Shutdown as Direction;
use std::thread;
use std::time::{Duration, Instant};

use mapcast::{Echo, Greet, ServerConfig};

use crate::support::server::Running;
use crate::support::{PATIENCE, process_status};

#[test]
fn everything_comes_back_once_the_client_has_half_closed() {
    let running = Running::start(Echo::new(), ServerConfig::default());
    let mut client = running.connect();
    client.write_all(b"Hello, world").unwrap();
    client.shutdown(Direction::Write).unwrap();
    let mut came = String::new();
    client.read_to_string(&mut came).unwrap();
    assert_eq!(came, "Hello, world");
    running.wait_active(0);
}

#[test]
fn a_stream_of_a_gigabyte_passes_in_constant_memory() {
    let running = Running::start(Echo::new(), ServerConfig::default());
    let client = running.connect();
    let before = process_status(std::process::id(), "VmHWM");
    let length: u64 = 1 << 30;
    thread::scope(|scope| {
        scope.spawn(|| {
            std::io::copy(&mut std::io::repeat(b'x').take(length), &mut &client).unwrap();
            client.shutdown(Direction::Write).unwrap();
        });
        assert_eq!(std::io::copy(&mut &client, &mut std::io::sink()).unwrap(), length);
    });
    let grown = process_status(std::process::id(), "VmHWM").saturating_sub(before);
    // Other tests of this process run beside it; a gigabyte would show all the same.
    assert!(grown < 200 * 1024, "{grown} KiB");
}

#[test]
fn a_peer_that_never_reads_is_ended_by_the_deadline() {
    let config = ServerConfig { write_timeout: Duration::from_secs(1), ..ServerConfig::default() };
    let running = Running::start(Echo::new(), config);
    let mut client = running.connect();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    let began = Instant::now();
    let chunk = vec![b'x'; 1 << 20];
    let sent = (0..100).take_while(|_| client.write_all(&chunk).is_ok()).count();
    assert!(sent < 100, "100 MiB were taken by one bounded buffer");
    running.wait_active(0);
    assert_eq!(running.stats().timed_out(), 1);
    assert!(began.elapsed() < Duration::from_secs(1 + 4), "{:?}", began.elapsed());
}

#[test]
fn crossed_clients_do_not_hold_each_other_up() {
    let running = Running::start(Echo::new(), ServerConfig::default());
    let (first, second) = (running.connect(), running.connect());
    for socket in [&first, &second] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    thread::scope(|scope| {
        // Neither goes on before the other one has been served.
        for (mut sends, mut reads) in [(&first, &second), (&second, &first)] {
            scope.spawn(move || {
                let mut chunk = [b'x'; 10_000];
                for _ in 0..1000 {
                    sends.write_all(&chunk).unwrap();
                    reads.read_exact(&mut chunk).unwrap();
                }
            });
        }
    });
    drop((first, second));
    running.wait_active(0);
}

#[test]
fn a_greeting_has_no_header_and_ends() {
    let running = Running::start(Greet::new("Hola, ¿qué tal?"), ServerConfig::default());
    for _ in 0..10 {
        let mut came = String::new();
        running.connect().read_to_string(&mut came).unwrap();
        assert_eq!(came, "Hola, ¿qué tal?");
    }
    running.wait_active(0);
    assert_eq!(running.stop().served, 10);
}

#[test]
fn a_client_that_talks_before_it_listens_gets_the_greeting_whole() {
    let running = Running::start(Greet::new("x".repeat(1_000_000)), ServerConfig::default());
    let mut client = running.connect();
    client.write_all(&[b'?'; 5000]).unwrap();
    let mut came = Vec::new();
    client.read_to_end(&mut came).unwrap();
    assert_eq!(came.len(), 1_000_000);
}
