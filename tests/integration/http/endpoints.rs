//! What each path serves.

use std::io::{Read, Write};
use std::net::Shutdown as Direction;

use mapcast::Format;
use rustix::process::Signal;
use serde_json::json;

use super::{Response, Site};
use crate::support::program::Program;
use crate::support::reader::{Reader, ends_in_order};
use crate::support::{eventually, thread_names};

const BUILTIN: &str = "{\"1\":\"Hola\",\"2\":\"Bienvenido\",\"3\":\"Al\",\"4\":\"Servidor\"}\n";

#[test]
fn every_path_has_its_media_type_and_security_headers() {
    let site = Site::start(&[]);
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/map", "application/json"),
        ("/status", "application/json"),
        ("/clients", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/livez", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
    ] {
        let response = site.get(path);
        assert_eq!((response.code, response.header("Content-Type")), (200, kind), "{path}");
        assert_eq!(response.header("X-Content-Type-Options"), "nosniff", "{path}");
        assert_eq!(response.header("Referrer-Policy"), "no-referrer", "{path}");
        assert!(response.header("Content-Security-Policy").starts_with("default-src 'none'; "), "{path}");
        let cache = if path == "/map" { "no-cache" } else { "no-store" };
        assert_eq!(response.header("Cache-Control"), cache, "{path}");
        assert_eq!(response.header("Content-Length"), response.body.len().to_string(), "{path}");
        assert_eq!(response.header("Access-Control-Allow-Origin"), "", "{path}");

        let head = site.ask(&format!("HEAD {path}"), "", "");
        assert_eq!((head.code, head.header("Content-Type"), head.body.as_str()), (200, kind, ""), "{path}");
        assert!(head.header("Content-Length").parse::<usize>().unwrap() > 0, "{path}");
    }
    for path in ["/nothing", "/map2", "/../etc/passwd", "//", "/favicon.ico"] {
        assert_eq!(site.get(path).code, 404, "{path}");
    }
    let head = site.ask("HEAD /events", "", "");
    assert_eq!((head.code, head.header("Content-Type"), head.body.as_str()), (200, "text/event-stream", ""));
}

#[test]
fn a_conditional_get_is_304_until_the_map_changes() {
    let site = Site::start(&[]);
    let first = site.get("/map");
    assert_eq!(first.body, BUILTIN);
    let etag = first.header("ETag");
    for known in [etag.to_owned(), format!("\"other\", W/{etag}"), "*".to_owned()] {
        let again = site.ask("GET /map", &format!("If-None-Match: {known}\r\n"), "");
        assert_eq!((again.code, again.header("ETag"), again.body.as_str()), (304, etag, ""), "{known}");
    }
    assert_eq!(site.ask("GET /map", "If-None-Match: \"other\"\r\n", "").code, 200);
    assert_eq!(site.ask("GET /map", "If-Match: \"other\"\r\n", "").code, 412);
    assert_eq!(site.ask("GET /map", &format!("If-Match: {etag}\r\nIf-None-Match: {etag}\r\n"), "").code, 304);
    // After a restart the version may differ, but the map is the same.
    let again = Site::start(&["--format", "msgpack"]);
    assert_eq!(again.get("/map").header("ETag"), etag);
    assert_ne!(Site::start(&["--set", "5=x"]).get("/map").header("ETag"), etag);
}

#[test]
fn an_entry_is_its_value_with_the_etag_of_the_map() {
    let site = Site::start(&["--set", "1=Hola", "--set", "list=[1,{\"a\":null}]", "--set", "a/b ñ=x"]);
    let etag = site.get("/map").header("ETag").to_owned();
    for (path, body) in
        [("/map/1", "\"Hola\"\n"), ("/map/list", "[1,{\"a\":null}]\n"), ("/map/a%2Fb%20%C3%B1", "\"x\"\n")]
    {
        let response = site.get(path);
        assert_eq!((response.code, response.body.as_str()), (200, body), "{path}");
        let headers = [response.header("Content-Type"), response.header("Cache-Control"), response.header("ETag")];
        assert_eq!(headers, ["application/json", "no-cache", &etag], "{path}");
        let head = site.ask(&format!("HEAD {path}"), "", "");
        assert_eq!((head.code, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("Content-Length"), body.len().to_string(), "{path}");
    }
    assert_eq!(site.ask("GET /map/1", &format!("If-None-Match: {etag}\r\n"), "").code, 304);
    assert_eq!(site.ask("GET /map/1", "If-Match: \"other\"\r\n", "").code, 412);
    let missing = site.ask("GET /map/missing", "If-Match: \"other\"\r\n", "");
    assert_eq!((missing.code, missing.body.as_str()), (404, "the map has no such entry\n"));
    let empty = Site::start(&["--source", "-"]);
    assert_eq!(empty.get("/map/1").code, 503);
}

#[test]
fn a_connection_serves_several_requests() {
    let site = Site::start(&[]);
    let mut socket = site.connect();
    let request = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", site.page);
    // The second request arrives before the first is answered.
    socket.write_all(request.repeat(2).as_bytes()).unwrap();
    let mut responses = String::new();
    while responses.matches("\r\n\r\nlive\n").count() < 2 {
        let mut buffer = [0; 4096];
        let read = socket.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "{responses}");
        responses += std::str::from_utf8(&buffer[..read]).unwrap();
    }
    socket.write_all(format!("GET /livez HTTP/1.0\r\n\r\n{request}").as_bytes()).unwrap();
    let mut last = String::new();
    socket.read_to_string(&mut last).unwrap();
    assert_eq!(last.matches("live\n").count(), 1, "HTTP/1.0 closes: {last}");
    assert!(last.contains("\r\nConnection: close\r\n"), "{last}");
}

#[test]
fn only_clients_of_the_map_are_listed() {
    let site = Site::start(&["--interval", "60s"]);
    let addr = site.server.addr();
    let mut readers: Vec<_> = (0..3).map(|_| Reader::connect(addr)).collect();
    for reader in &mut readers {
        reader.map(Format::Bincode);
    }
    eventually("three clients with a frame each", || site.json("/status")["sent"]["frames"] == 3);
    let clients = site.json("/clients");
    assert_eq!(clients["total"], 3);
    let listed = clients["clients"].as_array().unwrap();
    assert_eq!(listed.iter().map(|client| client["id"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 2, 1]);
    for (client, reader) in listed.iter().zip(readers.iter().rev()) {
        assert_eq!(client["peer"], reader.socket().local_addr().unwrap().to_string());
        assert_eq!((&client["frames"], &client["bytes"]), (&1.into(), &138.into()));
        assert_eq!((&client["skipped"], &client["slow"]), (&0.into(), &false.into()));
        assert!(client["since_ms"].as_u64().unwrap() > 1_700_000_000_000);
    }
    assert_eq!(site.json("/clients?limit=1")["clients"].as_array().unwrap().len(), 1);
    assert_eq!(site.json("/clients?limit=0")["total"], 3);
    assert_eq!(site.get("/clients?limit=many").code, 400);

    let status = site.json("/status");
    assert_eq!((&status["connections"]["active"], &status["connections"]["served"]), (&3.into(), &3.into()));
    assert_eq!((&status["format"], &status["interval_ms"]), (&"bincode".into(), &60_000.into()));
    let port = json!({ "addr": site.server.addr().to_string(), "format": "bincode", "tls": false });
    assert_eq!(status["map_ports"], json!([port]));
    assert_eq!((&status["map"]["version"], &status["map"]["entries"]), (&1.into(), &4.into()));
    assert!(status["http"]["requests"].as_u64().unwrap() > 3);

    readers.pop().unwrap().socket().shutdown(Direction::Both).unwrap();
    eventually("two clients", || site.json("/clients")["total"] == 2);
    assert_eq!(site.json("/status")["sent"]["bytes"], 3 * 138, "disconnected clients are in the total");
    let http_lines: Vec<_> = site.server.log().into_iter().filter(|line| line.contains("http client")).collect();
    assert!(http_lines.is_empty(), "{http_lines:?}");
}

#[test]
fn too_many_http_connections_do_not_block_clients() {
    let site = Site::start(&["--http-max-connections", "2", "--max-connections", "1", "--interval", "60s"]);
    let mut kept: Vec<_> = (0..2).map(|_| super::Events::open(site.page, "/events")).collect();
    assert!(ends_in_order(&mut site.connect()), "a silent connection");
    site.server.wait_log("the limit is 2 connections (--http-max-connections)");
    let mut reader = Reader::connect(site.server.addr());
    reader.map(Format::Bincode);
    assert_eq!(kept[0].next().unwrap().data + "\n", BUILTIN);
    drop(kept);
    eventually("a free connection", || {
        let mut socket = site.connect();
        let _ = write!(socket, "GET /livez HTTP/1.0\r\n\r\n");
        let mut response = String::new();
        socket.read_to_string(&mut response).is_ok() && response.contains("live")
    });
}

#[test]
fn readyz_is_200_from_the_first_map_until_the_stop() {
    let mut site = Site::start(&["--source", "-", "--write-timeout", "10m", "--drain-timeout", "10m"]);
    assert_eq!(site.get("/livez").code, 200);
    assert_eq!((site.get("/readyz").code, site.get("/map").code), (503, 503));
    assert!(site.json("/status")["map"].is_null());
    // Too large for the buffers of a client that does not read.
    let mut stdin = site.server.stdin();
    writeln!(stdin, "{{\"a\":\"{}\"}}", "x".repeat(1_000_000)).unwrap();
    eventually("a map", || site.get("/readyz").code == 200);
    let stalled = super::connect(site.server.addr());
    socket2::SockRef::from(&stalled).set_recv_buffer_size(4096).unwrap();
    assert_eq!(stalled.peek(&mut [0]).unwrap(), 1, "the frame's first byte");
    site.server.signal(Signal::TERM);
    site.server.wait_log("stopping: 1 active connection");
    // While the client is drained, the page still works and reports the stop.
    assert_eq!(site.get("/readyz").code, 503);
    assert_eq!(site.get("/livez").code, 200);
    assert_eq!(site.json("/status")["stopping"], true);
    drop(stalled);
    site.server.wait_log("stopped: 1 client served");
    site.server.exit_code();
}

#[test]
fn http_is_off_by_default() {
    let server = Program::server(&[]);
    server.addr();
    assert!(!server.log().iter().any(|line| line.contains("http")), "{:?}", server.log());
}

#[test]
fn the_policy_of_the_page_allows_only_its_own_script() {
    let site = Site::start(&[]);
    let page = site.get("/");
    let policy = page.header("Content-Security-Policy");
    assert!(policy.contains("script-src 'sha256-") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.body.contains("EventSource(\"live\")") || page.body.contains("EventSource(\"/live\")"));
}

#[test]
fn a_request_with_http_1_0_needs_no_host() {
    let site = Site::start(&[]);
    let response = Response::parse(&site.send(b"GET /livez HTTP/1.0\r\n\r\n"));
    assert_eq!((response.code, response.body.as_str()), (200, "live\n"));
}

/// HTTP's threads do not take CPU time from the threads that send the map: their nice value is higher by 10 than the server's.
#[cfg(target_os = "linux")]
#[test]
fn http_threads_have_a_lower_priority_than_map_threads() {
    let site = Site::start(&[]);
    let mut reader = Reader::connect(site.server.addr());
    reader.map(Format::Bincode);
    let _events = super::Events::open(site.page, "/events");
    // The accept loop has sent the map, and the client's thread may not run yet.
    eventually("the client's thread runs", || thread_names(site.server.pid()).contains(&"client-1".to_owned()));
    let mut found = std::collections::BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{}/task", site.server.pid())).unwrap() {
        let thread = thread.unwrap().path();
        // A thread that has ended meanwhile has no files. proc_pid_stat(5): nice is field 19, the name field 2.
        let (Ok(name), Ok(stat)) =
            (std::fs::read_to_string(thread.join("comm")), std::fs::read_to_string(thread.join("stat")))
        else {
            continue;
        };
        let nice = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(16)).map(str::to_owned);
        found.insert(name.trim().to_owned(), nice.and_then(|nice| nice.parse::<i32>().ok()).unwrap());
    }
    let own = found["mapcast-server"];
    for (name, nicer) in [("client-1", 0), ("publisher-0", 0), ("http-accept", 10), ("http-notify", 10), ("http-1", 10)]
    {
        assert_eq!(found[name], (own + nicer).min(19), "{name} of {found:?}");
    }
}
