//! More connections than there may be: health checks are answered, and everything else is told.

use std::io::{Read, Write};
use std::net::SocketAddr;

use rustix::process::Signal;

use super::{Answer, Events, Site, token};
use crate::admission::connect_from;
use crate::support::eventually;

/// What a request from `source` gets; nothing if it is closed without an answer.
fn ask_from(source: &str, page: SocketAddr, path: &str) -> String {
    let mut socket = connect_from(source, page);
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let _ = write!(socket, "GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n");
    let mut answer = String::new();
    // A reset is no answer either.
    let _ = socket.read_to_string(&mut answer);
    answer
}

fn rejected(site: &Site, reason: &str) -> u64 {
    let metrics = site.get("/metrics").body;
    let sample = format!("mapcast_http_connections_rejected_total{{reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok()).expect("a count")
}

#[test]
fn health_checks_are_answered_above_every_limit_and_the_rest_is_503() {
    let (file, token) = token();
    for (limit, reason, message) in [
        ("--http-max-connections", "limit", "the limit of HTTP connections is reached (2)"),
        ("--max-connections-per-ip", "per_ip", "the limit of HTTP connections for one address is reached"),
    ] {
        let site = Site::start(&[limit, "2", "--interval", "60s", "--http-token-file", super::path(&file)]);
        let mut streams = [(); 2].map(|()| Events::open(site.page, "/events"));
        for path in ["/livez", "/readyz", "/status", "/metrics"] {
            let answer = site.get(path);
            assert_eq!((answer.code, answer.header("Connection")), (200, "close"), "{limit}: {path}");
            assert_eq!(site.ask(&format!("HEAD {path}"), "", "").code, 200, "{limit}: {path}");
        }
        assert_eq!(rejected(&site, reason), 0, "what is answered is not turned away");
        for (request, body) in [
            ("GET /", ""),
            ("GET /map", ""),
            ("HEAD /map", ""),
            ("GET /events", ""),
            ("PUT /map", "{}"),
            ("GET /x", ""),
        ] {
            let answer = site.ask(request, &token, body);
            assert_eq!((answer.code, answer.header("Retry-After")), (503, "5"), "{limit}: {request}");
            assert!(answer.body.contains(message) || request.starts_with("HEAD"), "{answer:?}");
        }
        assert_eq!(rejected(&site, reason), 6, "{limit}");
        site.server.wait_log(&format!("refused: {message}"));
        assert!(streams.iter_mut().all(|stream| stream.next().is_some()), "those in place go on");
        drop(streams);
        eventually("a place", || site.get("/map").code == 200);
    }
}

#[test]
fn an_address_with_one_place_is_answered_one_request_after_the_other() {
    let site = Site::start(&["--max-connections-per-ip", "1", "--interval", "60s"]);
    for number in 0..200 {
        // The place is free before the end of the answer can be seen.
        let answer = site.get("/map");
        assert_eq!(answer.code, 200, "request {number}: {answer:?}");
    }
}

/// A browser gives an `EventSource` up at any status but 200, and comes back when a stream has ended.
#[test]
fn an_event_source_without_a_place_is_told_when_to_come_back() {
    let site = Site::start(&["--http-max-connections", "1", "--interval", "60s"]);
    let _stream = Events::open(site.page, "/events");
    for path in ["/events", "/live"] {
        let answer = site.ask(&format!("GET {path}"), "Accept: text/event-stream\r\n", "");
        assert_eq!((answer.code, answer.header("Content-Type")), (200, "text/event-stream"), "{path}");
        assert_eq!(answer.body, "retry: 5000\n\n: the limit of HTTP connections is reached (1)\n\n", "{path}");
    }
    assert_eq!(rejected(&site, "limit"), 2);
    for request in ["GET /map", "PUT /map", "HEAD /events"] {
        let answer = site.ask(request, "Accept: text/event-stream\r\n", "");
        assert_eq!(answer.code, 503, "{request}: it was not done");
    }
}

#[test]
fn hundreds_of_silent_and_slow_peers_take_no_place_of_a_health_check() {
    let site = Site::start(&["--http-max-connections", "1", "--interval", "60s"]);
    let _stream = Events::open(site.page, "/events");
    // Of many addresses: each could have a quarter of the reserve.
    let peers: Vec<_> =
        (0..200).map(|number| connect_from(&format!("127.0.1.{}", number % 50 + 1), site.page)).collect();
    for mut slow in peers.iter().step_by(2) {
        // Too many wait: the oldest are closed.
        let _ = write!(slow, "GET /livez HTTP/1.1\r\nHost: {}\r\n", site.page);
    }
    let mut late = connect_from("127.0.0.3", site.page);
    write!(late, "GET /livez HTTP/1.1\r\nHost: {}\r\n", site.page).unwrap();
    for (source, path) in
        [("127.0.0.2", "/livez"), ("127.0.1.1", "/readyz"), ("127.0.0.2", "/metrics"), ("127.0.1.2", "/status")]
    {
        assert_eq!(Answer::parse(&ask_from(source, site.page, path)).code, 200, "{source}: {path}");
    }
    // The stream, the one that asks, and one that is just leaving.
    assert!(site.json("/status")["http"]["active"].as_u64() <= Some(3), "a peer without a request has a place");
    late.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert_eq!(Answer::parse(&answer).code, 200, "a request that was whole late");
}

#[test]
fn refusals_above_a_limit_that_were_held_back_are_logged_though_no_other_follows() {
    let site = Site::start(&["--http-max-connections", "1", "--interval", "60s"]);
    let _stream = Events::open(site.page, "/events");
    let refuse_twenty = || (0..20).for_each(|_| assert_eq!(site.get("/map").code, 503));
    refuse_twenty();
    // Each is in a line of its own or in a sum.
    eventually("all are logged", || refusals(&site.server.log().join("\n")) == 20);
    refuse_twenty();
    site.server.signal(Signal::TERM);
    assert_eq!(refusals(&site.server.finish().stderr), 40, "at the stop as well");
}

/// How many refusals of HTTP clients the log tells of.
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
fn who_may_not_connect_gets_no_health_check() {
    let site = Site::start(&["--allow", "127.0.0.2/32", "--http-max-connections", "1"]);
    assert_eq!(ask_from("127.0.0.3", site.page, "/livez"), "");
    assert!(ask_from("127.0.0.2", site.page, "/livez").contains("live\n"));
}
