//! Abusive clients and writers: their cost to the server and to other clients.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use rustix::process::Signal;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::program::Program;
use crate::support::reader::{Reader, flood};
use crate::support::{connect, eventually, process_status};

/// Connects a client that never reads, with a small receive buffer.
fn deaf(addr: std::net::SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SockAddr::from(addr)).unwrap();
    socket.into()
}

/// Returns the resident memory of a process in KiB.
fn resident(server: &Program) -> u64 {
    process_status(server.pid(), "VmRSS")
}

#[test]
fn clients_that_never_read_are_cut_and_others_get_maps_in_time() {
    let source = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    // More than the kernel buffers for one connection.
    std::fs::write(source.path(), format!(r#"{{"text":"{}"}}"#, "x".repeat(250_000))).unwrap();
    let path = source.path().to_str().unwrap();
    // Long enough for the fifty readers on a busy machine.
    let mut server = Program::server(&["--interval", "500ms", "--write-timeout", "5s", "--source", path]);
    let addr = server.addr();
    let mut good: Vec<_> = (0..50).map(|_| Reader::connect(addr)).collect();
    for reader in &mut good {
        reader.payload();
    }
    let before = resident(&server);
    let deaf: Vec<_> = (0..200).map(|_| deaf(addr)).collect();
    let read = |mut reader: Reader| thread::Builder::new().spawn(move || reader.drain()).unwrap();
    let good: Vec<_> = good.into_iter().map(read).collect();
    let cut = || {
        let lines = server.log().into_iter().filter(|line| line.contains("not taken within 5s: too slow, cut"));
        lines.filter_map(|line| line.split("disconnected after ").nth(1)?.split('s').next()?.parse::<f64>().ok())
    };
    eventually("all 200 are cut", || cut().count() == 200);
    eprintln!("200 deaf clients were cut after {} s at most", cut().fold(0.0, f64::max));
    assert!(cut().all(|seconds| seconds >= 5.0), "cut before the deadline: {:?}", server.log());
    let peak = server.peak_memory().saturating_sub(before);
    eprintln!("200 deaf clients and 50 others took {peak} KiB");
    assert!(peak < 16 * 1024, "{peak} KiB more for 250 clients of 250 kB");
    drop(deaf);
    server.signal(Signal::TERM);
    for reader in good {
        let frames = reader.join().expect("whole frames to the end");
        assert!(frames > 2, "{frames} frames in that time");
    }
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_hundred_megabytes_of_input_do_not_grow_memory() {
    let server = Program::server(&["--interval", "1h"]);
    let addr = server.addr();
    Reader::connect(addr).payload();
    let before = server.peak_memory();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| flood(&mut connect(addr), 100 << 20));
        }
    });
    let more = server.peak_memory().saturating_sub(before);
    eprintln!("four floods took {more} KiB");
    assert!(more < 2048, "{more} KiB");
    Reader::connect(addr).payload();
}

#[test]
fn a_gigabyte_line_does_not_grow_memory_and_the_next_is_read() {
    let mut server = Program::server(&["--interval", "1h", "--format", "json", "--source", "-"]);
    let mut reader = Reader::connect(server.addr());
    let mut input = server.stdin();
    writeln!(input, r#"{{"n": 1}}"#).unwrap();
    assert_eq!(reader.payload(), br#"{"n":1}"#);
    let before = server.peak_memory();
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..(1 << 30) / chunk.len() {
        input.write_all(&chunk).unwrap();
    }
    // Half a line, then a pause: a new client gets the last good map.
    assert_eq!(Reader::connect(server.addr()).payload(), br#"{"n":1}"#);
    let more = server.peak_memory().saturating_sub(before);
    eprintln!("a line of 1 GiB took {more} KiB");
    assert!(more < 16 * 1024, "{more} KiB");
    writeln!(input).unwrap();
    server.wait_log("line 2: above the limit of");
    writeln!(input, r#"{{"n": 2}}"#).unwrap();
    assert_eq!(reader.payload(), br#"{"n":2}"#);
}
