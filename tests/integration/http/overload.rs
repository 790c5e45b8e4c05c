//! More connections than there may be: health checks are answered, and everything else is told.

use std::io::{Read, Write};
use std::net::SocketAddr;

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
    for (limit, reason) in [("--http-max-connections", "limit"), ("--max-connections-per-ip", "per_ip")] {
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
            assert!(answer.body.contains(limit) || request.starts_with("HEAD"), "{answer:?}");
        }
        assert_eq!(rejected(&site, reason), 6, "{limit}");
        site.server.wait_log(&format!("({limit})"));
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
        assert_eq!(answer.body, "retry: 5000\n\n: 1 connections are the limit (--http-max-connections)\n\n", "{path}");
    }
    assert_eq!(rejected(&site, "limit"), 2);
    for request in ["GET /map", "PUT /map", "HEAD /events"] {
        let answer = site.ask(request, "Accept: text/event-stream\r\n", "");
        assert_eq!(answer.code, 503, "{request}: it was not done");
    }
}

#[test]
fn one_address_holds_a_quarter_of_the_reserve_and_none_of_it_for_long() {
    let site = Site::start(&["--http-max-connections", "1", "--interval", "60s"]);
    let _stream = Events::open(site.page, "/events");
    let mut silent: Vec<_> = (0..8).map(|_| connect_from("127.0.0.2", site.page)).collect();
    // The stream, four of the silent ones, and the one that asks. Ten if the other four did not have to wait.
    let active = || site.json("/status")["http"]["active"].as_u64();
    eventually("four are in place", || active() >= Some(6));
    assert!(active() < Some(10), "more than a quarter of sixteen");
    let slow = silent.pop().unwrap();
    write!(&slow, "GET /livez HTTP/1.1\r\nX: ").unwrap();
    assert_eq!(Answer::parse(&ask_from("127.0.0.3", site.page, "/livez")).code, 200, "another address");
    assert_eq!(Answer::parse(&ask_from("127.0.0.2", site.page, "/livez")).code, 200, "the same, when they have gone");
    for mut socket in silent {
        let mut rest = String::new();
        assert_eq!(socket.read_to_string(&mut rest).unwrap(), 0, "it asked nothing: {rest}");
    }
    let mut answer = String::new();
    (&slow).read_to_string(&mut answer).unwrap();
    assert_eq!(Answer::parse(&answer).body, "the whole request has to come within 2 s\n");
}

#[test]
fn who_may_not_connect_gets_no_health_check() {
    let site = Site::start(&["--allow", "127.0.0.2/32", "--http-max-connections", "1"]);
    assert_eq!(ask_from("127.0.0.3", site.page, "/livez"), "");
    assert!(ask_from("127.0.0.2", site.page, "/livez").contains("live\n"));
}
