//! The memory limit for slow peers of all kinds, and the eviction of connections.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::http::Site;
use crate::support::reader::Reader;
use crate::support::{PATIENCE, eventually};

/// The number of entries of the map, each of some 1,000 bytes.
const ENTRIES: usize = 1000;

/// The number of changes, and of stalled peers of each kind per change: 250 peers in all.
const CHANGES: usize = 25;
const PEERS: usize = 10;

/// Returns a map of a megabyte as one line; every value contains `number`.
fn line(number: usize) -> String {
    let mut line = "{".to_owned();
    for entry in 0..ENTRIES {
        let comma = if entry == 0 { "" } else { "," };
        write!(line, "{comma}\"key{entry:05}\":\"{number:06} {}\"", "x".repeat(1000)).unwrap();
    }
    line + "}\n"
}

/// Connects with a small window, sends `request` and never reads.
fn stall(addr: SocketAddr, request: &str) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    // Set before connecting, so that the announced window stays small.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut socket = TcpStream::from(socket);
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

/// Reads until the map contains `number`.
fn read_to(reader: &mut Reader, number: usize) {
    let text = format!("{number:06} ");
    while !String::from_utf8(reader.payload()).unwrap().contains(&text) {}
}

/// Returns the value of a metric.
fn metric(site: &Site, name: &str) -> u64 {
    let metrics = site.get("/metrics").body;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

#[test]
fn stalled_peers_of_all_kinds_together_use_bounded_memory() {
    let limits = ["--write-timeout", "10m", "--max-frame", "2MiB", "--http-max-connections", "1100"];
    let args = ["--source", "-", "--format", "json", "--interval", "10m", "--max-backlog", "32MiB"];
    let mut site = Site::start(&[&args[..], &limits].concat());
    let (map, mut stdin) = (site.server.addr(), site.server.stdin());
    stdin.write_all(line(0).as_bytes()).unwrap();
    let mut reader = Reader::connect(map);
    read_to(&mut reader, 0);
    let keys: Vec<String> = (0..ENTRIES).map(|entry| format!("key{entry:05}")).collect();
    let requests = ["/events", &format!("/events?keys={}", keys.join(",")), "/map", "/live"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", site.page));
    // Allocations for one peer of each kind exist from here on.
    for request in &requests {
        let mut socket = stall(site.page, request);
        socket.read_exact(&mut [0; 4096]).unwrap();
    }
    let before = site.server.peak_memory();
    let mut stalled = Vec::new();
    for number in 1..=CHANGES {
        stdin.write_all(line(number).as_bytes()).unwrap();
        read_to(&mut reader, number);
        for _ in 0..PEERS {
            stalled.push(stall(map, ""));
            stalled.extend(requests.iter().map(|request| stall(site.page, request)));
        }
        let come = stalled.len() as u64;
        eventually("they have begun", || {
            let begun = metric(&site, "mapcast_connections_accepted_total") - 1;
            // One more peer has requested this change.
            begun + metric(&site, "mapcast_http_connections") - 1 + metric(&site, "mapcast_backlog_evictions_total")
                >= come
        });
    }
    let taken = site.server.peak_memory().saturating_sub(before);
    let evicted = metric(&site, "mapcast_backlog_evictions_total");
    let bytes = metric(&site, "mapcast_backlog_bytes");
    eprintln!("{} stalled peers took {taken} KiB more, {evicted} were cut, {bytes} bytes wait", stalled.len());
    assert!(taken < 100 * 1024, "{taken} KiB");
    assert!((1_000_000..=32 << 20).contains(&bytes), "{bytes} bytes wait");
    // Tens of versions do not fit; connections with those that fit are not cut.
    assert!((250..1250).contains(&evicted), "{evicted} were cut");
    // A client that reads in time is not affected.
    stdin.write_all(line(CHANGES + 1).as_bytes()).unwrap();
    read_to(&mut reader, CHANGES + 1);
    let cut = site.server.wait_log("slow connections cut: ");
    assert!(cut.contains("or raise --max-backlog"), "{cut}");
    site.server.wait_log("cut to free the memory of an older map");
    drop(stalled);
    eventually("the memory is given back", || metric(&site, "mapcast_backlog_bytes") == 0);
}

/// Sends each of `requests` over as many connections as HTTP accepts by default. Returns how much the server's memory grew
/// while they were open, in KiB.
fn cost_of(requests: &[String]) -> u64 {
    let site = Site::start(&["--interval", "10m", "--write-timeout", "10m"]);
    drop(stall(site.page, &requests[0]));
    site.get("/metrics");
    let before = site.server.peak_memory();
    let open: Vec<_> = (0..240).map(|number| stall(site.page, &requests[number % requests.len()])).collect();
    eventually("they have come", || metric(&site, "mapcast_http_connections") >= 240);
    for mut socket in open.iter().filter(|_| requests[0].ends_with("\r\n\r\n")) {
        // The response has started and is not a refusal.
        let mut begin = [0; 200];
        socket.read_exact(&mut begin).unwrap();
        assert!(begin.starts_with(b"HTTP/1.1 200 "), "{}", begin.escape_ascii());
    }
    site.server.peak_memory().saturating_sub(before)
}

#[test]
fn the_largest_requests_use_bounded_memory() {
    let line = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
    // Different keys for different streams, so that no rendering is shared.
    let keys = |stream: usize| (0..2300).map(|key| (stream * 2300 + key).to_string()).collect::<Vec<_>>().join(",");
    let filters: Vec<_> = (4..244).map(|stream| line(&format!("/events?keys={}", keys(stream))) + "\r\n").collect();
    let shortest = (0..5400_u32).map(|key| format!("{:02x}", key % 256) + &(key / 256).to_string());
    let shortest =
        line(&format!("/events?keys={}", shortest.collect::<Vec<_>>().join(",")[..16_000].to_owned())) + "\r\n";
    let tags = line("/events") + &format!("If-None-Match: {}\r\n\r\n", "\"\",".repeat(5000));
    let unfinished = line("/events") + &format!("X: {}", "x".repeat(16_000));
    for (what, requests) in
        [("filters", filters), ("short keys", vec![shortest]), ("tags", vec![tags]), ("headers", vec![unfinished])]
    {
        let taken = cost_of(&requests);
        eprintln!("240 connections with {what}: {taken} KiB");
        assert!(taken < 240 * 160, "{what}: {taken} KiB");
    }
}
