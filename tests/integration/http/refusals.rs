//! Bad requests and their responses; the map's own port is unaffected.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use mapcast::Format;

use super::{Response, Site};
use crate::support::PATIENCE;
use crate::support::reader::Reader;

#[test]
fn slow_headers_get_408_while_the_map_continues() {
    let site = Site::start(&["--interval", "100ms"]);
    let mut reader = Reader::connect(site.server.addr());
    let mut slow = site.connect();
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let began = Instant::now();
    let (mut response, mut buffer) = (Vec::new(), [0; 1024]);
    // A byte every 100 ms does not extend the deadline.
    for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        reader.map(Format::Bincode);
        match slow.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => response.extend_from_slice(&buffer[..read]),
            Err(_) => assert!(began.elapsed() < PATIENCE, "no deadline"),
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!(Response::parse(&String::from_utf8(response).unwrap()).code, 408);
}

#[test]
fn bad_requests_are_refused_and_their_connection_closed() {
    let site = Site::start(&[]);
    let host = format!("Host: {}\r\n", site.page);
    let long = "x".repeat(64 * 1024);
    for (what, request, code) in [
        ("a header line of 64 KiB", format!("GET / HTTP/1.1\r\n{host}X: {long}\r\n\r\n"), 431),
        ("a path of 64 KiB", format!("GET /{long} HTTP/1.1\r\n{host}\r\n"), 414),
        ("200 headers", format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(200)), 431),
        ("Transfer-Encoding", format!("PUT /map HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 411),
        (
            "both lengths",
            format!("PUT /map HTTP/1.1\r\n{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0"),
            400,
        ),
        ("CR LF in the path", format!("GET /a\r\nX: b HTTP/1.1\r\n{host}\r\n"), 400),
        ("NUL in the path", format!("GET /a\0b HTTP/1.1\r\n{host}\r\n"), 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("two hosts", format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), 400),
        ("a foreign host", "GET /map HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), 421),
        ("a foreign address", "GET /map HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: close\r\n\r\n".to_owned(), 421),
        (
            "a foreign absolute form",
            format!("GET http://evil.example/map HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            421,
        ),
        ("a TLS hello", "\x16\x03\x01\x02\0\x01".to_owned(), 400),
        ("a proxy's method", format!("CONNECT evil.example:80 HTTP/1.1\r\n{host}\r\n"), 400),
    ] {
        let mut socket = site.connect();
        let _ = socket.write_all(request.as_bytes());
        let mut responses = vec![0];
        socket.read_exact(&mut responses).unwrap();
        // After the response nothing more is read.
        let _ = write!(socket, "GET /livez HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        socket.read_to_end(&mut responses).unwrap();
        let responses = String::from_utf8(responses).unwrap();
        assert_eq!(responses.matches("HTTP/1.1 ").count(), 1, "{what}: {responses}");
        let response = Response::parse(&responses);
        assert_eq!(response.code, code, "{what}: {response:?}");
        assert_eq!(response.header("Connection"), "close", "{what}");
        assert!(!response.body.contains("evil"), "{what}: no input is sent back");
    }
    assert_eq!(site.get("/livez").code, 200);
}

#[test]
fn an_ambiguous_request_cannot_hide_a_second_one() {
    let site = Site::start(&[]);
    let host = format!("Host: {}\r\n", site.page);
    let second = format!("GET /nothing HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    for header in [
        b"Transfer-Encoding: chunked, \xe9\r\n".as_slice(),
        b"Transfer-Encoding: \xe9\r\n",
        b"Content-Length: 5\xa0\r\n",
        b"Content-Length: \xc2\xa05\r\n",
        b"Content-Length: 0\r\nContent-Length: 0\r\n",
        b"Content-Length: 0, 0\r\n",
        b"Host: evil\xe9.example\r\n",
        b"Connection: close\xc2\xa0\r\n",
        b"X: y\nContent-Length: 0\r\n",
        b"X: y\rContent-Length: 0\r\n",
        b"X: y\r\n Content-Length: 0\r\n",
        b"Content-Length : 0\r\n",
        b": y\r\n",
        b"X: \0\r\n",
    ] {
        let request = [b"GET /livez HTTP/1.1\r\n", host.as_bytes(), header, b"\r\n", second.as_bytes()].concat();
        let responses = site.send(&request);
        let what = header.escape_ascii();
        assert_eq!(
            (Response::parse(&responses).code, responses.matches("HTTP/1.1 ").count()),
            (400, 1),
            "{what}: {responses}"
        );
    }
    // A header that is not evaluated may contain anything.
    let request = [b"GET /livez HTTP/1.1\r\n", host.as_bytes(), b"X: \xe9\r\n\r\n", second.as_bytes()].concat();
    let responses = site.send(&request);
    assert_eq!((Response::parse(&responses).code, responses.matches("HTTP/1.1 404").count()), (200, 1), "{responses}");
}

#[test]
fn a_malformed_host_is_400_and_a_foreign_one_421() {
    let site = Site::start(&[]);
    for (target, host, code) in [
        ("/livez", "localhost evil.example", 400),
        ("/livez", "localhost, evil.example", 400),
        ("/livez", "localhost/", 400),
        ("/livez", "evil.example@localhost", 400),
        ("/livez", "localhost:http", 400),
        ("http:///livez", "localhost", 400),
        ("http://evil.example@localhost/livez", "localhost", 400),
        ("*", "localhost", 400),
        ("/livez", "", 421),
        ("HTTP://evil.example/livez", "localhost", 421),
        ("HTTP://localhost/livez", "evil.example", 200),
        ("http://localhost?_=1", "evil.example", 200),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(Response::parse(&site.send(request.as_bytes())).code, code, "{target} of {host}");
    }
}

#[test]
fn a_silent_client_gets_no_response() {
    let site = Site::start(&[]);
    assert_eq!(site.send(b""), "", "closed at its deadline, without a response");
}

#[test]
fn a_refused_method_gets_the_allowed_ones() {
    let site = Site::start(&[]);
    for (request, allowed) in [
        ("POST /map", "GET, HEAD, OPTIONS"),
        ("PUT /map", "GET, HEAD, OPTIONS"),
        ("PATCH /map", "GET, HEAD, OPTIONS"),
        ("DELETE /map/1", "GET, HEAD, OPTIONS"),
        ("PUT /map/1", "GET, HEAD, OPTIONS"),
        ("BREW /", "GET, HEAD, OPTIONS"),
        ("get /", "GET, HEAD, OPTIONS"),
    ] {
        let response = site.ask(request, "", "{}");
        assert_eq!((response.code, response.header("Allow")), (405, allowed), "{request}");
        assert_eq!(
            response.body,
            format!("method not allowed: use {allowed}; changes are off: the server has no token file\n"),
            "{request}"
        );
    }
    let options = site.ask("OPTIONS /map", "", "");
    assert_eq!((options.code, options.header("Allow")), (204, "GET, HEAD, OPTIONS"));
    assert_eq!(options.header("Access-Control-Allow-Methods"), "");
}

#[test]
fn an_unknown_parameter_gets_the_accepted_ones() {
    let (file, token) = super::token();
    // With a long interval an accepted stream would be silent, and the test would fail.
    let site = Site::start(&["--http-token-file", super::path(&file), "--interval", "1h"]);
    for (request, taken) in [
        ("GET /events?key=1", "unknown parameter: this path accepts keys\n"),
        ("GET /events?keys=1&foo=1", "unknown parameter: this path accepts keys\n"),
        ("HEAD /events?foo=1", ""),
        ("GET /clients?keys=1", "unknown parameter: this path accepts limit\n"),
        ("GET /clients?limit=1&limit=2", "limit: expected one number from 0 to 1000\n"),
        ("GET /clients?limit", "limit: expected one number from 0 to 1000\n"),
        ("GET /map?keys=x", "this path accepts no parameters\n"),
        ("GET /map/1?x", "this path accepts no parameters\n"),
        ("PUT /map?x=1", "this path accepts no parameters\n"),
        ("GET /status?x", "this path accepts no parameters\n"),
    ] {
        let response = site.ask(request, &token, if request.starts_with("PUT") { "{}" } else { "" });
        assert_eq!((response.code, response.body.as_str()), (400, taken), "{request}");
    }
    for request in ["GET /map?lastEventId=1", "GET /?r=1", "GET /live?lastEventId=1", "GET /events?id=1"] {
        assert_eq!(site.ask(request, "", "").code, 400, "{request}");
    }
    for request in ["GET /map?_=123", "GET /?", "GET /clients?_=1&limit=%31", "HEAD /events?keys=1&_=2"] {
        assert_eq!(site.ask(request, "", "").code, 200, "{request}");
    }
    assert_eq!(site.ask("OPTIONS /map?x", "", "").code, 204);
}

#[test]
fn a_configured_host_is_accepted() {
    let site = Site::start(&["--http-host", "map.example", "--http-host", "192.0.2.1"]);
    for (host, code) in [
        ("map.example", 200),
        ("MAP.EXAMPLE:80", 200),
        ("192.0.2.1:1", 200),
        ("localhost", 200),
        ("[::1]:9", 200),
        ("other.example", 421),
        ("map.example.evil.example", 421),
    ] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(Response::parse(&site.send(request.as_bytes())).code, code, "{host}");
    }
}

#[test]
fn input_is_escaped_in_the_log_and_in_no_header() {
    let site = Site::start(&["-v"]);
    let response = site.ask("GET /%0d%0aSet-Cookie:%20a=b\x7f\u{202e}", "Origin: http://x\r\n", "");
    assert!([400, 404].contains(&response.code), "{response:?}");
    let response = site.ask("GET /\u{9b}2J", "", "");
    assert!([400, 404].contains(&response.code), "{response:?}");
    site.ask("GET /marker", "", "");
    site.server.wait_log("GET /marker 404 for 127.0.0.1:");
    let log = site.server.log().join("\n");
    assert!(!log.contains('\u{9b}') && !log.contains('\u{202e}') && !log.contains('\x7f'), "{}", log.escape_debug());
}

#[test]
fn an_endless_request_line_is_refused() {
    // An endless line is refused once it is too long, before it ends.
    let site = Site::start(&[]);
    let mut socket = site.connect();
    for _ in 0..20 {
        // Fails if the server has already answered and closed.
        let _ = socket.write_all(&[b'x'; 1024]);
        crate::support::pause();
    }
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    assert_eq!(Response::parse(&response).code, 414, "{response}");
}
