//! Connections above the limits: health checks are served, all other requests are refused.

use std::io::{Read, Write};
use std::net::SocketAddr;

use rustix::process::Signal;

use super::{Events, Response, Site, token};
use crate::admission::connect_from;
use crate::support::eventually;

/// Returns the response to a request from `source`; empty if the connection is closed without one.
fn ask_from(source: &str, page: SocketAddr, path: &str) -> String {
    let mut socket = connect_from(source, page);
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let _ = write!(socket, "GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n");
    let mut response = String::new();
    // A reset counts as no response.
    let _ = socket.read_to_string(&mut response);
    response
}

fn rejected(site: &Site, reason: &str) -> u64 {
    let metrics = site.get("/metrics").body;
    let sample = format!("mapcast_http_connections_rejected_total{{reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok()).expect("a count")
}

#[test]
fn above_a_limit_only_health_checks_are_served() {
    let (file, token) = token();
    for (limit, reason, message) in [
        ("--http-max-connections", "limit", "the limit of HTTP connections is reached (2)"),
        ("--max-connections-per-ip", "per_ip", "the limit of HTTP connections for one address is reached"),
    ] {
        let site = Site::start(&[limit, "2", "--interval", "60s", "--http-token-file", super::path(&file)]);
        let mut streams = [(); 2].map(|()| Events::open(site.page, "/events"));
        for path in ["/livez", "/readyz", "/status", "/metrics"] {
            let response = site.get(path);
            assert_eq!((response.code, response.header("Connection")), (200, "close"), "{limit}: {path}");
            assert_eq!(site.ask(&format!("HEAD {path}"), "", "").code, 200, "{limit}: {path}");
        }
        assert_eq!(rejected(&site, reason), 0, "answered requests are not counted as rejected");
        for (request, body) in [
            ("GET /", ""),
            ("GET /map", ""),
            ("HEAD /map", ""),
            ("GET /events", ""),
            ("PUT /map", "{}"),
            ("GET /x", ""),
        ] {
            let response = site.ask(request, &token, body);
            assert_eq!((response.code, response.header("Retry-After")), (503, "5"), "{limit}: {request}");
            assert!(response.body.contains(message) || request.starts_with("HEAD"), "{response:?}");
        }
        assert_eq!(rejected(&site, reason), 6, "{limit}");
        site.server.wait_log(&format!("refused: {message}; raise {limit}"));
        assert!(streams.iter_mut().all(|stream| stream.next().is_some()), "the open streams continue");
        drop(streams);
        eventually("a free connection", || site.get("/map").code == 200);
    }
}

#[test]
fn a_limit_of_one_per_address_serves_requests_in_turn() {
    let site = Site::start(&["--max-connections-per-ip", "1", "--interval", "60s"]);
    for number in 0..200 {
        // The connection is free before its client can see the end of the response.
        let response = site.get("/map");
        assert_eq!(response.code, 200, "request {number}: {response:?}");
    }
}

/// An `EventSource` gives up at any status except 200, and reconnects after the end of a stream.
#[test]
fn an_event_source_above_the_limit_gets_a_retry_time() {
    let site = Site::start(&["--http-max-connections", "1", "--interval", "60s"]);
    let _stream = Events::open(site.page, "/events");
    for path in ["/events", "/live"] {
        let response = site.ask(&format!("GET {path}"), "Accept: text/event-stream\r\n", "");
        assert_eq!((response.code, response.header("Content-Type")), (200, "text/event-stream"), "{path}");
        assert_eq!(response.body, "retry: 5000\n\n: the limit of HTTP connections is reached (1)\n\n", "{path}");
    }
    assert_eq!(rejected(&site, "limit"), 2);
    for request in ["GET /map", "PUT /map", "HEAD /events"] {
        let response = site.ask(request, "Accept: text/event-stream\r\n", "");
        assert_eq!(response.code, 503, "{request}: it was not executed");
    }
}

#[test]
fn hundreds_of_slow_peers_do_not_block_health_checks() {
    let site = Site::start(&["--http-max-connections", "1", "--interval", "60s"]);
    let _stream = Events::open(site.page, "/events");
    // From many addresses: each may use a quarter of the reserve.
    let peers: Vec<_> =
        (0..200).map(|number| connect_from(&format!("127.0.1.{}", number % 50 + 1), site.page)).collect();
    for mut slow in peers.iter().step_by(2) {
        // Too many connections wait: the oldest are closed.
        let _ = write!(slow, "GET /livez HTTP/1.1\r\nHost: {}\r\n", site.page);
    }
    let mut late = connect_from("127.0.0.3", site.page);
    write!(late, "GET /livez HTTP/1.1\r\nHost: {}\r\n", site.page).unwrap();
    for (source, path) in
        [("127.0.0.2", "/livez"), ("127.0.1.1", "/readyz"), ("127.0.0.2", "/metrics"), ("127.0.1.2", "/status")]
    {
        assert_eq!(Response::parse(&ask_from(source, site.page, path)).code, 200, "{source}: {path}");
    }
    // The stream, this request, and one connection that is being closed.
    assert!(site.json("/status")["http"]["active"].as_u64() <= Some(3), "a peer without a request has a connection");
    late.write_all(b"\r\n").unwrap();
    let mut response = String::new();
    late.read_to_string(&mut response).unwrap();
    assert_eq!(Response::parse(&response).code, 200, "a request that was completed late");
}

#[test]
fn suppressed_refusals_above_a_limit_are_logged_later() {
    let site = Site::start(&["--http-max-connections", "1", "--interval", "60s"]);
    let _stream = Events::open(site.page, "/events");
    let refuse_twenty = || (0..20).for_each(|_| assert_eq!(site.get("/map").code, 503));
    refuse_twenty();
    // Each refusal has a line of its own or is part of a sum.
    eventually("all are logged", || refusals(&site.server.log().join("\n")) == 20);
    refuse_twenty();
    site.server.signal(Signal::TERM);
    assert_eq!(refusals(&site.server.finish().stderr), 40, "also at the stop");
}

/// Returns the number of refused HTTP clients in the log.
fn refusals(log: &str) -> u64 {
    let number = |text: Option<&str>| text.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let lines = log.lines().filter(|line| line.contains("refused: the limit of HTTP connections is reached (1)"));
    let counts = lines.map(|line| match line.split_once(" more http client") {
        Some((before, _)) => before.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap(),
        None => 1 + number(line.split_once("(and ").map(|(_, held)| held)).unwrap_or(0),
    });
    counts.sum()
}

#[test]
fn an_address_not_in_allow_gets_no_health_check() {
    let site = Site::start(&["--allow", "127.0.0.2/32", "--http-max-connections", "1"]);
    assert_eq!(ask_from("127.0.0.3", site.page, "/livez"), "");
    assert!(ask_from("127.0.0.2", site.page, "/livez").contains("live\n"));
}
