//! The echo and greeting services, on the same accept loop, limits and stop as the map service.

use std::io::{Read, Write};
use std::net::Shutdown as Direction;
use std::thread;
use std::time::{Duration, Instant};

use mapcast::{Echo, Greet, ServerConfig};

use crate::support::PATIENCE;
use crate::support::reader::flood;
use crate::support::server::{Running, unhurried};

#[test]
fn an_echo_returns_all_input_and_closes_after_a_half_close() {
    let running = Running::start(Echo::new(), unhurried());
    let mut client = running.connect();
    client.write_all(b"Hello, world").unwrap();
    client.shutdown(Direction::Write).unwrap();
    let mut came = String::new();
    client.read_to_string(&mut came).unwrap();
    assert_eq!(came, "Hello, world");
    running.wait_active(0);
}

#[cfg(feature = "cli")]
#[test]
fn an_echo_of_a_gigabyte_takes_constant_memory() {
    use crate::support::program::{Program, SERVER, clean};
    let mut command = clean(SERVER);
    command.args(["echo", "--listen", "127.0.0.1:0", "--write-timeout", "1h"]);
    let server = Program::start(command);
    let client = crate::support::connect(server.addr());
    server.wait_log("client 1 connected");
    let before = server.peak_memory();
    let length: u64 = 1 << 30;
    thread::scope(|scope| {
        scope.spawn(|| {
            std::io::copy(&mut std::io::repeat(b'x').take(length), &mut &client).unwrap();
            client.shutdown(Direction::Write).unwrap();
        });
        assert_eq!(std::io::copy(&mut &client, &mut std::io::sink()).unwrap(), length);
    });
    let grown = server.peak_memory().saturating_sub(before);
    eprintln!("a stream of 1 GiB took {grown} KiB");
    assert!(grown < 1024, "{grown} KiB");
}

#[test]
fn an_echo_to_a_peer_that_never_reads_ends_at_the_deadline() {
    const DEADLINE: Duration = Duration::from_secs(1);
    let running = Running::start(Echo::new(), ServerConfig { write_timeout: DEADLINE, ..unhurried() });
    let began = Instant::now();
    // At most one bounded buffer and the kernels' buffers.
    flood(&mut running.connect(), 100 << 20);
    running.wait_active(0);
    assert_eq!(running.stats().timed_out(), 1);
    assert!(began.elapsed() >= DEADLINE, "{:?}", began.elapsed());
}

#[test]
fn interleaved_clients_do_not_block_each_other() {
    let running = Running::start(Echo::new(), unhurried());
    let (first, second) = (running.connect(), running.connect());
    for socket in [&first, &second] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    thread::scope(|scope| {
        // Neither proceeds before the other one has been served.
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
fn a_greeting_is_sent_without_a_header_and_closed() {
    let running = Running::start(Greet::new("Hola, ¿qué tal?"), unhurried());
    for _ in 0..10 {
        let mut came = String::new();
        running.connect().read_to_string(&mut came).unwrap();
        assert_eq!(came, "Hola, ¿qué tal?");
    }
    running.wait_active(0);
    assert_eq!(running.stop().served, 10);
}

#[test]
fn a_client_that_sends_before_it_reads_gets_the_whole_greeting() {
    let running = Running::start(Greet::new("x".repeat(1_000_000)), unhurried());
    let mut client = running.connect();
    client.write_all(&[b'?'; 5000]).unwrap();
    let mut came = Vec::new();
    client.read_to_end(&mut came).unwrap();
    assert_eq!(came.len(), 1_000_000);
}
