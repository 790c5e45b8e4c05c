//! What is at which path.

use std::io::{Read, Write};
use std::net::Shutdown as Direction;

use mapcast::Format;
use rustix::process::Signal;

use super::{Answer, Site};
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::reader::{Reader, ends_in_order};

const BUILTIN: &str = "{\"1\":\"Hola\",\"2\":\"Bienvenido\",\"3\":\"Al\",\"4\":\"Servidor\"}\n";

#[test]
fn every_path_has_its_kind_and_nothing_is_guessed() {
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
        let answer = site.get(path);
        assert_eq!((answer.code, answer.header("Content-Type")), (200, kind), "{path}");
        assert_eq!(answer.header("X-Content-Type-Options"), "nosniff", "{path}");
        assert_eq!(answer.header("Referrer-Policy"), "no-referrer", "{path}");
        assert!(answer.header("Content-Security-Policy").starts_with("default-src 'none'; "), "{path}");
        let cache = if path == "/map" { "no-cache" } else { "no-store" };
        assert_eq!(answer.header("Cache-Control"), cache, "{path}");
        assert_eq!(answer.header("Content-Length"), answer.body.len().to_string(), "{path}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), "", "{path}");

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
fn the_map_is_asked_for_again_only_when_it_has_changed() {
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
    // A server that was started again has another version, and the same map.
    let again = Site::start(&["--format", "msgpack"]);
    assert_eq!(again.get("/map").header("ETag"), etag);
    assert_ne!(Site::start(&["--set", "5=x"]).get("/map").header("ETag"), etag);
}

#[test]
fn an_entry_is_its_value_under_the_maps_tag() {
    let site = Site::start(&["--set", "list=[1,{\"a\":null}]", "--set", "a/b ñ=x"]);
    let etag = site.get("/map").header("ETag").to_owned();
    for (path, body) in
        [("/map/1", "\"Hola\"\n"), ("/map/list", "[1,{\"a\":null}]\n"), ("/map/a%2Fb%20%C3%B1", "\"x\"\n")]
    {
        let answer = site.get(path);
        assert_eq!((answer.code, answer.body.as_str()), (200, body), "{path}");
        let headers = [answer.header("Content-Type"), answer.header("Cache-Control"), answer.header("ETag")];
        assert_eq!(headers, ["application/json", "no-cache", &etag], "{path}");
        let head = site.ask(&format!("HEAD {path}"), "", "");
        assert_eq!((head.code, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("Content-Length"), body.len().to_string(), "{path}");
    }
    assert_eq!(site.ask("GET /map/1", &format!("If-None-Match: {etag}\r\n"), "").code, 304);
    assert_eq!(site.ask("GET /map/1", "If-Match: \"other\"\r\n", "").code, 412);
    let missing = site.ask("GET /map/nobody", "If-Match: \"other\"\r\n", "");
    assert_eq!((missing.code, missing.body.as_str()), (404, "the map has no such entry\n"));
    let empty = Site::start(&["--source", "-"]);
    assert_eq!(empty.get("/map/1").code, 503);
}

#[test]
fn a_connection_takes_one_request_after_the_other() {
    let site = Site::start(&[]);
    let mut socket = site.connect();
    let request = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", site.page);
    // The second is there before the first is answered.
    socket.write_all(request.repeat(2).as_bytes()).unwrap();
    let mut answers = String::new();
    while answers.matches("\r\n\r\nlive\n").count() < 2 {
        let mut buffer = [0; 4096];
        let read = socket.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "{answers}");
        answers += std::str::from_utf8(&buffer[..read]).unwrap();
    }
    socket.write_all(format!("GET /livez HTTP/1.0\r\n\r\n{request}").as_bytes()).unwrap();
    let mut last = String::new();
    socket.read_to_string(&mut last).unwrap();
    assert_eq!(last.matches("live\n").count(), 1, "the older version closes: {last}");
    assert!(last.contains("\r\nConnection: close\r\n"), "{last}");
}

#[test]
fn the_clients_of_the_map_are_listed_and_those_of_the_page_are_not() {
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
    assert_eq!((&status["map"]["version"], &status["map"]["entries"]), (&1.into(), &4.into()));
    assert!(status["http"]["requests"].as_u64().unwrap() > 3);

    readers.pop().unwrap().socket().shutdown(Direction::Both).unwrap();
    eventually("two clients", || site.json("/clients")["total"] == 2);
    assert_eq!(site.json("/status")["sent"]["bytes"], 3 * 138, "those who have left are in the sum");
    let chatter: Vec<_> = site.server.log().into_iter().filter(|line| line.contains("http client")).collect();
    assert!(chatter.is_empty(), "{chatter:?}");
}

#[test]
fn too_many_who_look_on_take_no_clients_place() {
    let site = Site::start(&["--http-max-connections", "2", "--max-connections", "1", "--interval", "60s"]);
    let mut kept: Vec<_> = (0..2).map(|_| super::Events::open(site.page, "/events")).collect();
    assert!(ends_in_order(&mut site.connect()), "one that says nothing");
    site.server.wait_log("2 connections are the limit");
    let mut reader = Reader::connect(site.server.addr());
    reader.map(Format::Bincode);
    assert_eq!(kept[0].next().unwrap().data + "\n", BUILTIN);
    drop(kept);
    eventually("a place", || {
        let mut socket = site.connect();
        let _ = write!(socket, "GET /livez HTTP/1.0\r\n\r\n");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).is_ok() && answer.contains("live")
    });
}

#[test]
fn it_is_ready_when_it_has_a_map_and_until_it_stops() {
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
    // While its client is drained the page is there, and says so.
    assert_eq!(site.get("/readyz").code, 503);
    assert_eq!(site.get("/livez").code, 200);
    assert_eq!(site.json("/status")["stopping"], true);
    drop(stalled);
    site.server.wait_log("stopped: 1 client served");
    site.server.exit_code();
}

#[test]
fn the_page_is_off_unless_it_is_asked_for() {
    let server = Program::server(&[]);
    server.addr();
    assert!(!server.log().iter().any(|line| line.contains("http")), "{:?}", server.log());
}

#[test]
fn the_page_may_run_its_own_script_and_no_other() {
    let site = Site::start(&[]);
    let page = site.get("/");
    let policy = page.header("Content-Security-Policy");
    assert!(policy.contains("script-src 'sha256-") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.body.contains("EventSource(\"live\")") || page.body.contains("EventSource(\"/live\")"));
}

#[test]
fn an_answer_to_the_older_version_needs_no_host() {
    let site = Site::start(&[]);
    let answer = Answer::parse(&site.send(b"GET /livez HTTP/1.0\r\n\r\n"));
    assert_eq!((answer.code, answer.body.as_str()), (200, "live\n"));
}

/// The page's threads take no core from those that send the map: they are nicer by 10, whatever the server is started with.
#[cfg(target_os = "linux")]
#[test]
fn http_stands_back_behind_the_map() {
    let site = Site::start(&[]);
    let mut reader = Reader::connect(site.server.addr());
    reader.map(Format::Bincode);
    let _events = super::Events::open(site.page, "/events");
    let mut found = std::collections::BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{}/task", site.server.pid())).unwrap() {
        let thread = thread.unwrap().path();
        // One that has ended meanwhile has no files any more. proc_pid_stat(5): nice is field 19, the name field 2.
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
