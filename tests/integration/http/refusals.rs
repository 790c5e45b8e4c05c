//! Bad requests, each with its answer, and the map's own port unaffected.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use mapcast::Format;

use super::{Answer, Site};
use crate::support::PATIENCE;
use crate::support::reader::Reader;

#[test]
fn headers_that_are_slow_are_answered_with_408_while_the_map_goes_on() {
    let site = Site::start(&["--interval", "100ms"]);
    let mut reader = Reader::connect(site.server.addr());
    let mut slow = site.connect();
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let began = Instant::now();
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    // A byte every 100 ms is progress, and does not put the deadline off.
    for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        reader.map(Format::Bincode);
        match slow.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(_) => assert!(began.elapsed() < PATIENCE, "no deadline"),
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!(Answer::parse(&String::from_utf8(answer).unwrap()).code, 408);
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
        let mut answers = vec![0];
        socket.read_exact(&mut answers).unwrap();
        // Behind the answer nothing is read any more.
        let _ = write!(socket, "GET /livez HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        socket.read_to_end(&mut answers).unwrap();
        let answers = String::from_utf8(answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{what}: {answers}");
        let answer = Answer::parse(&answers);
        assert_eq!(answer.code, code, "{what}: {answer:?}");
        assert_eq!(answer.header("Connection"), "close", "{what}");
        assert!(!answer.body.contains("evil"), "{what}: nothing of a peer's is sent back");
    }
    assert_eq!(site.get("/livez").code, 200);
}

#[test]
fn what_the_next_program_in_a_chain_could_read_differently_hides_no_second_request() {
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
        let answers = site.send(&request);
        let what = header.escape_ascii();
        assert_eq!((Answer::parse(&answers).code, answers.matches("HTTP/1.1 ").count()), (400, 1), "{what}: {answers}");
    }
    // What nobody goes by may be anything.
    let request = [b"GET /livez HTTP/1.1\r\n", host.as_bytes(), b"X: \xe9\r\n\r\n", second.as_bytes()].concat();
    let answers = site.send(&request);
    assert_eq!((Answer::parse(&answers).code, answers.matches("HTTP/1.1 404").count()), (200, 1), "{answers}");
}

#[test]
fn a_host_that_is_none_is_no_request_and_one_of_others_is_misdirected() {
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
        assert_eq!(Answer::parse(&site.send(request.as_bytes())).code, code, "{target} of {host}");
    }
}

#[test]
fn a_client_that_says_nothing_is_owed_nothing() {
    let site = Site::start(&[]);
    assert_eq!(site.send(b""), "", "closed at its deadline, without an answer");
}

#[test]
fn methods_that_are_not_taken_are_told_which_are() {
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
        let answer = site.ask(request, "", "{}");
        assert_eq!((answer.code, answer.header("Allow")), (405, allowed), "{request}");
        assert_eq!(
            answer.body,
            format!("method not allowed: use {allowed}; changes are off: the server has no token file\n"),
            "{request}"
        );
    }
    let options = site.ask("OPTIONS /map", "", "");
    assert_eq!((options.code, options.header("Allow")), (204, "GET, HEAD, OPTIONS"));
    assert_eq!(options.header("Access-Control-Allow-Methods"), "");
}

#[test]
fn a_parameter_that_is_none_is_told_which_there_are() {
    let (file, token) = super::token();
    // A stream that were begun would be silent, and its reader give up.
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
        let answer = site.ask(request, &token, if request.starts_with("PUT") { "{}" } else { "" });
        assert_eq!((answer.code, answer.body.as_str()), (400, taken), "{request}");
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
fn a_name_is_taken_where_it_was_given() {
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
        assert_eq!(Answer::parse(&site.send(request.as_bytes())).code, code, "{host}");
    }
}

#[test]
fn what_a_peer_sends_is_escaped_in_the_log_and_in_no_header() {
    let site = Site::start(&["-v"]);
    let answer = site.ask("GET /%0d%0aSet-Cookie:%20a=b\x7f\u{202e}", "Origin: http://x\r\n", "");
    assert!([400, 404].contains(&answer.code), "{answer:?}");
    let answer = site.ask("GET /\u{9b}2J", "", "");
    assert!([400, 404].contains(&answer.code), "{answer:?}");
    site.ask("GET /marker", "", "");
    site.server.wait_log("GET /marker 404 for 127.0.0.1:");
    let log = site.server.log().join("\n");
    assert!(!log.contains('\u{9b}') && !log.contains('\u{202e}') && !log.contains('\x7f'), "{}", log.escape_debug());
}

#[test]
fn a_kilobyte_at_a_time_is_no_request_either() {
    // An endless line is refused when it is too long, not when it ends.
    let site = Site::start(&[]);
    let mut socket = site.connect();
    for _ in 0..20 {
        // It fails if the server has answered and closed meanwhile.
        let _ = socket.write_all(&[b'x'; 1024]);
        crate::support::pause();
    }
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert_eq!(Answer::parse(&answer).code, 414, "{answer}");
}
