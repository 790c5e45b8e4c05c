//! RFC 9110 and RFC 9112, byte for byte.

use std::io::{Read, Write};

use super::{Response, Site, path, token};
use crate::support::reader::flood;

/// Sends `line` and `headers`, and returns the response with everything that follows it.
#[track_caller]
fn send(site: &Site, line: &str, headers: &str) -> Response {
    let request = format!("{line}\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n", site.page);
    Response::parse(&site.send(request.as_bytes()))
}

#[test]
fn any_minor_version_is_accepted_but_no_other_major_one() {
    let site = Site::start(&[]);
    for version in ["HTTP/1.1", "HTTP/1.2", "HTTP/1.9"] {
        assert_eq!(send(&site, &format!("GET /livez {version}"), "").code, 200, "{version}");
        let two = format!("GET /livez {version}\r\nHost: localhost\r\n\r\n").repeat(2) + "GET / HTTP/1.0\r\n\r\n";
        assert_eq!(site.send(two.as_bytes()).matches("HTTP/1.1 200").count(), 3, "{version} is kept alive");
    }
    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/3.0"] {
        let response = send(&site, &format!("GET /livez {version}"), "");
        assert_eq!((response.code, response.header("Connection")), (505, "close"), "{version}");
    }
    let preface = site.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert_eq!(Response::parse(&preface).code, 505, "HTTP/2 with prior knowledge");
    for line in
        ["GET /livez", "GET /livez HTTP/1", "GET /livez http/1.1", "GET  /livez HTTP/1.1", "GET /livez HTTP/1.1 "]
    {
        assert_eq!(send(&site, line, "").code, 400, "{line:?}");
    }
}

#[test]
fn no_response_to_head_has_a_body() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file)]);
    let long = "x".repeat(20_000);
    for (line, headers, code) in [
        ("HEAD /livez HTTP/1.1", "", 200),
        ("HEAD /nothing HTTP/1.1", "", 404),
        ("HEAD /events?foo=1 HTTP/1.1", "", 400),
        ("HEAD /livez HTTP/1.1", "Content-Length: x\r\n", 400),
        ("HEAD /livez HTTP/1.1", "Host: a\r\n", 400),
        ("HEAD /livez HTTP/1.1", "X : a\r\n", 400),
        ("HEAD nowhere HTTP/1.1", "", 400),
        ("HEAD https://localhost/livez HTTP/1.1", "", 421),
        ("HEAD /livez HTTP/2.0", "", 505),
        ("HEAD /livez HTTP/1.1", "Transfer-Encoding: chunked\r\n", 411),
        (&format!("HEAD /{long} HTTP/1.1"), "", 414),
        ("HEAD /livez HTTP/1.1", &format!("X: {long}\r\n"), 431),
        ("HEAD /map HTTP/1.1", &token, 200),
    ] {
        let response = send(&site, line, headers);
        assert_eq!((response.code, response.body.as_str()), (code, ""), "{line:.40} {headers:.40}");
        assert!(response.header("Content-Length").parse::<usize>().is_ok_and(|length| length > 0), "{line:.40}");
    }
}

#[test]
fn a_target_of_another_scheme_is_misdirected() {
    let site = Site::start(&[]);
    for (target, code) in [
        ("https://localhost/livez", 421),
        ("HTTPS://localhost/livez", 421),
        ("http://localhost/livez", 200),
        ("ftp://localhost/livez", 400),
    ] {
        assert_eq!(send(&site, &format!("GET {target} HTTP/1.1"), "").code, code, "{target}");
    }
}

#[test]
fn a_put_with_content_range_is_refused() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file)]);
    for (request, header, code) in [
        ("PUT /map", "Content-Range: bytes 0-1/54", 400),
        ("PUT /map/1", "content-range: bytes */54", 400),
        ("PUT /map", "Content-Encoding: gzip", 415),
        ("PATCH /map", "Content-Encoding: br", 415),
    ] {
        let response = site.ask(request, &format!("{token}{header}\r\n"), "{}");
        assert_eq!(response.code, code, "{request} {header}: {response:?}");
        assert_eq!(site.ask(request, &format!("{header}\r\n"), "{}").code, 401, "the token is checked first");
    }
    assert_eq!(site.json("/status")["map"]["version"], 1);
    // Headers without a meaning there are ignored (RFC 9110, sections 14.2 and 14.4).
    let whole = send(&site, "GET /map HTTP/1.1", "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n");
    assert_eq!((whole.code, whole.body.len()), (200, "{}\n".len()));
    let patched = site.ask("PATCH /map", &format!("{token}Content-Range: bytes 0-1/2\r\n"), "{}");
    assert_eq!(patched.code, 200, "{patched:?}");
}

#[test]
fn a_client_with_a_large_refused_body_gets_the_response() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file)]);
    let reader = Site::start(&[]);
    let body = vec![b'x'; 16 * 1024 * 1024];
    let length = format!("Content-Length: {}\r\n", body.len());
    for (site, line, headers, code) in [
        (&site, "PUT /map", format!("{length}{token}"), 413),
        (&site, "PUT /map", length.clone(), 401),
        (&site, "PUT /map", format!("{length}{token}Content-Range: bytes 0-1/2\r\n"), 400),
        (&site, "PUT /nothing", format!("{length}{token}"), 404),
        (&reader, "PUT /map", length.clone(), 405),
        (&reader, "GET /livez", length.clone(), 200),
        (&reader, "PUT https://localhost/map", length.clone(), 421),
        (&reader, "PUT /map", "Transfer-Encoding: chunked\r\n".to_owned(), 411),
        (&reader, "PUT /map", format!("{length}{length}"), 400),
        (&reader, "PUT /map", format!("{length}X : y\r\n"), 400),
    ] {
        let mut socket = site.connect();
        write!(socket, "{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        // The response arrives before the body is sent. It is read afterwards, as most clients do.
        assert_eq!(socket.peek(&mut [0]).unwrap(), 1, "{line}");
        socket.write_all(&body).unwrap_or_else(|error| panic!("{line} {headers}: {error}"));
        let mut response = String::new();
        socket.read_to_string(&mut response).unwrap_or_else(|error| panic!("{line} {headers}: {error}"));
        assert_eq!(Response::parse(&response).code, code, "{line} {headers}");
    }
    // A client that waits for 100 Continue gets the refusal at once.
    let expects = format!("{length}{token}Expect: 100-continue\r\n");
    let response = send(&site, "PUT /map HTTP/1.1", &expects);
    assert_eq!(response.code, 413);
}

#[test]
fn requirements_of_the_rfcs_are_met() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file), "--set", "a/b=1", "--set", "=2"]);
    for (line, headers, code) in [
        ("OPTIONS * HTTP/1.1", "", 204),
        ("GET * HTTP/1.1", "", 400),
        ("OPTIONS http://localhost HTTP/1.1", "", 204),
        ("TRACE / HTTP/1.1", "", 405),
        ("CONNECT localhost:80 HTTP/1.1", "", 400),
        ("GET /map#a HTTP/1.1", "", 400),
        ("GET /map HTTP/1.1", "X: a\r\n b\r\n", 400),
        ("GET /map HTTP/1.1", "X: a \t\r\n", 200),
        ("GET /map HTTP/1.1", "Upgrade: h2c\r\nConnection: Upgrade\r\n", 200),
        ("GET /map HTTP/1.1", "If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT\r\n", 200),
        ("PUT /map HTTP/1.0", "Transfer-Encoding: chunked\r\n", 400),
        ("PUT /map HTTP/1.1", "Transfer-Encoding: gzip\r\n", 501),
        ("PUT /map HTTP/1.1", "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", 400),
        ("GET /map/a%2Fb HTTP/1.1", "", 200),
        ("GET /map/a/b HTTP/1.1", "", 200),
        ("GET /map/ HTTP/1.1", "", 200),
        ("GET /map/%ff HTTP/1.1", "", 404),
    ] {
        assert_eq!(send(&site, line, headers).code, code, "{line} {headers}");
    }
    // After `Connection: close` the server sends all responses, and answers no further request.
    let pipelined = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3)
        + "HEAD /map HTTP/1.1\r\nHost: localhost\r\n\r\n"
        + &format!("PUT /map HTTP/1.1\r\nHost: localhost\r\n{token}Content-Length: 2\r\n\r\n{{}}")
        + "\r\nGET /map HTTP/1.1\r\nHost: localhost\r\nConnection: Close\r\n\r\nGET /livez HTTP/1.1\r\n";
    let responses = site.send(pipelined.as_bytes());
    assert_eq!(responses.matches("HTTP/1.1 200 OK\r\n").count(), 6, "{responses}");
    assert!(responses.ends_with("\r\nConnection: close\r\n\r\n{}\n"), "{responses}");
}

#[test]
fn errors_of_requests_have_their_own_messages() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file)]);
    for (body, wanted) in [
        ("{\"a\": 1,\n \"b\": 2,}", "trailing comma before the closing bracket; remove it, at line 2, column 9"),
        ("null", "expected an object in braces, found null, at line 1, column 4"),
        ("{\"a\"", "unexpected end; a bracket or a quote is not closed, at line 1, column 4"),
        (
            "{\"a\": 9223372036854775808}",
            "an integer beyond 64 bits with a sign; write it as a string, at line 1, column 25",
        ),
    ] {
        let response = site.ask("PATCH /map", &token, body);
        let wanted = format!("the body is not a map in JSON: {wanted}\n");
        assert_eq!((response.code, response.body), (400, wanted), "{body}");
    }
    let response = site.ask("PUT /map/a", &token, "nil");
    assert_eq!(response.body, "the body is not a value in JSON: nil is not JSON; write null, at line 1, column 2\n");
    for (line, headers, wanted) in [
        (
            "GET /livez HTP/1.1",
            "",
            "the request line is malformed: write METHOD TARGET HTTP/1.1, separated by single spaces\n",
        ),
        (
            "GET /livez HTTP/1.1",
            "X : y\r\n",
            "a header is malformed: write NAME: VALUE on one line, without a space before the colon\n",
        ),
        ("GET /livez HTTP/1.1", "X: \x07\r\n", "a header value contains a control character\n"),
    ] {
        assert_eq!(send(&site, line, headers).body, wanted, "{line} {headers}");
    }
}

/// The server does not read endless input.
#[test]
fn an_endless_refused_body_is_cut_off() {
    let site = Site::start(&[]);
    let mut socket = site.connect();
    write!(socket, "PUT /map HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n").unwrap();
    flood(&mut socket, 1 << 30);
}
