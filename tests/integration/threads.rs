//! The server's number of threads under connection churn, and its log of fast connects and disconnects.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::program::{Program, SERVER, clean, run};
use crate::support::reader::Reader;
use crate::support::{eventually, has_command, process_status, skip};

/// The most threads of the server without those of connections: see `SPARE_THREADS` in `src/server/limits.rs`.
const OTHER_THREADS: u64 = 32;

/// Connects to `addr` and resets the connection, `count` times on each of eight threads; calls `watch` during that.
fn churn(addr: SocketAddr, count: usize, mut watch: impl FnMut()) {
    std::thread::scope(|scope| {
        let churning: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..count {
                        // The server may close the connection first.
                        if let Ok(socket) = TcpStream::connect(addr) {
                            // A reset, so that no port stays in TIME-WAIT.
                            let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                        }
                    }
                })
            })
            .collect();
        while churning.iter().any(|thread| !thread.is_finished()) {
            watch();
        }
    });
}

#[test]
fn churn_starts_no_more_threads_than_max_connections() {
    let mut command = clean(SERVER);
    command.args(["--max-connections", "50", "--listen", "127.0.0.1:0"]).env("MALLOC_ARENA_MAX", "1");
    let server = Program::start(command);
    let (addr, mut most) = (server.addr(), 0);
    // An ended thread keeps its four memory maps until it is joined.
    let maps = || std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap().lines().count();
    let (maps_before, mut most_maps) = (maps(), 0);
    for _ in 0..20 {
        // All at once: ending and starting threads then compete for the CPU.
        let clients: Vec<_> = (0..500).filter_map(|_| TcpStream::connect(addr).ok()).collect();
        drop(clients);
        churn(addr, 250, || {
            most = most.max(process_status(server.pid(), "Threads"));
            most_maps = most_maps.max(maps());
        });
    }
    assert!(most <= 50 + OTHER_THREADS, "{most} threads");
    assert!(most_maps <= maps_before + 4 * 50 + 100, "{most_maps} memory maps, {maps_before} before");
    eventually("a map", || Reader::connect(server.addr()).is_served());
}

#[test]
fn a_too_small_address_space_is_refused_at_the_start() {
    if !has_command("prlimit") {
        return skip("no prlimit");
    }
    for (limit, name) in [("--as=100000000", "the address space is"), ("--data=50000000", "the data segment is")] {
        let mut command = clean("prlimit");
        command.args([limit, SERVER, "--listen", "127.0.0.1:0"]);
        run(command).assert_exit(2).assert_stderr(name).assert_stderr("raise: ulimit");
    }
}

#[test]
fn a_server_with_a_small_address_space_survives_churn() {
    if !has_command("prlimit") {
        return skip("no prlimit");
    }
    let mut command = clean("prlimit");
    command.args(["--as=300000000", SERVER, "--listen", "127.0.0.1:0"]).env("MALLOC_ARENA_MAX", "1");
    let server = Program::start(command);
    assert!(server.wait_log("room for ").contains("(RLIMIT_AS)"));
    churn(server.addr(), 250, || ());
    eventually("a map", || Reader::connect(server.addr()).is_served());
}

#[test]
fn each_connection_of_a_burst_is_in_a_line_or_a_summary() {
    let server = Program::server(&[]);
    churn(server.addr(), 250, || ());
    // The queue is FIFO: this client is accepted after all of them.
    eventually("a map", || Reader::connect(server.addr()).is_served());
    server.signal(Signal::TERM);
    let ended = server.finish();
    let (mut connected, mut disconnected, mut lines) = (0, 0, HashMap::<String, u64>::new());
    for line in ended.stderr.lines().filter(|line| line.contains(" INFO ] ") && line.contains("active connections: ")) {
        let text = line.split_once(" INFO ] ").unwrap().1;
        if let Some((sum, rest)) = text.split_once(" more client") {
            connected += sum.parse::<u64>().unwrap();
            let (_, rest) = rest.split_once(" connected and ").unwrap();
            disconnected += rest.split_once(' ').unwrap().0.parse::<u64>().unwrap();
        } else if text.contains(" connected from ") {
            connected += 1;
        } else if text.contains(" disconnected after ") {
            disconnected += 1;
        }
        // `[2026-11-22T04:31:48.957Z INFO ] …`
        *lines.entry(line[..20].to_owned()).or_default() += 1;
    }
    assert!(connected > 2000 && ended.stderr.contains(&format!("stopped: {connected} clients served")), "{connected}");
    assert_eq!(disconnected, connected);
    // One second of the clock may contain the ends of two periods of the log.
    assert!(lines.values().all(|lines| *lines <= 1010), "{lines:?}");
}
