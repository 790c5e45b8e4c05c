//! Event streams.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mapcast::Format;
use rustix::process::Signal;
use socket2::SockRef;

use super::{Event, Events, Site};
use crate::support::reader::{Reader, flood};
use crate::support::{eventually, process_status, thread_names};

/// Starts a site that reads its maps from standard input.
fn fed(args: &[&str]) -> (Site, std::process::ChildStdin) {
    let mut site = Site::start(&[args, &["--source", "-"]].concat());
    let stdin = site.server.stdin();
    (site, stdin)
}

#[test]
fn a_stream_sends_the_map_at_once_and_on_change() {
    let (site, mut stdin) = fed(&["--interval", "60s", "--format", "text"]);
    let mut early = Events::open(site.page, "/events");
    writeln!(stdin, r#"{{"a":1,"b":"\n"}}"#).unwrap();
    let first = Event { id: "1".to_owned(), data: r#"{"a":1,"b":"\n"}"#.to_owned(), ..Event::default() };
    assert_eq!(early.next().as_ref(), Some(&first));
    let mut late = Events::open(site.page, "/events");
    assert_eq!(late.next(), Some(first));
    writeln!(stdin, r#"{{"a":2}}"#).unwrap();
    for stream in [&mut early, &mut late] {
        let event = stream.next().unwrap();
        assert_eq!((event.id.as_str(), event.data.as_str()), ("2", r#"{"a":2}"#));
    }
}

#[test]
fn a_stream_repeats_the_map_every_interval() {
    let site = Site::start(&["--interval", "50ms"]);
    let mut stream = Events::open(site.page, "/events");
    let first = stream.next();
    assert!(first.is_some());
    for _ in 0..5 {
        assert_eq!(stream.next(), first);
    }
}

#[test]
fn a_filtered_stream_omits_changes_of_other_keys() {
    let (site, mut stdin) = fed(&["--interval", "60s"]);
    writeln!(stdin, r#"{{"a":1,"b,":2,"c":3}}"#).unwrap();
    eventually("a map", || site.get("/readyz").code == 200);
    let mut stream = Events::open(site.page, "/events?keys=a,b%2C,missing");
    assert_eq!(stream.next().unwrap().data, r#"{"a":1,"b,":2}"#);
    writeln!(stdin, r#"{{"a":1,"b,":2,"c":4}}"#).unwrap();
    eventually("the second map", || site.json("/status")["map"]["version"] == 2);
    writeln!(stdin, r#"{{"a":1,"c":4}}"#).unwrap();
    let event = stream.next().unwrap();
    assert_eq!((event.id.as_str(), event.data.as_str()), ("3", r#"{"a":1}"#));
    assert_eq!(site.get("/events?keys=%ff").code, 400);
}

#[test]
fn several_keys_parameters_are_decoded_and_combined() {
    let (site, mut stdin) = fed(&["--interval", "60s"]);
    writeln!(stdin, r#"{{"a b":1,"c+d":2,"e,f":3,"g":4}}"#).unwrap();
    eventually("a map", || site.get("/readyz").code == 200);
    // The output of URLSearchParams for three appended keys.
    let mut stream = Events::open(site.page, "/events?keys=a+b&keys=c%2Bd&keys=e%2Cf");
    assert_eq!(stream.next().unwrap().data, r#"{"a b":1,"c+d":2,"e,f":3}"#);
}

#[test]
fn a_silent_stream_sends_a_comment_every_15_s() {
    let site = Site::start(&["--interval", "10m"]);
    let began = Instant::now();
    let mut streams = ["/events", "/events?keys=1"].map(|path| Events::open(site.page, path));
    for stream in &mut streams {
        assert!(stream.next().is_some());
    }
    for stream in &mut streams {
        let next = [stream.line(), stream.line()];
        assert_eq!(next, [Some(":".to_owned()), Some(String::new())], "a comment, not an event");
    }
    assert!(began.elapsed() > Duration::from_secs(12), "{:?}", began.elapsed());
}

#[test]
fn the_last_event_id_of_polyfills_is_ignored() {
    let site = Site::start(&["--interval", "1h"]);
    let first = Events::open(site.page, "/events?keys=1").next();
    for parameters in [
        "lastEventId=1",
        "Last-Event-ID=1",
        "last_event_id=1",
        "evs_buffer_size_limit=262144&evs_preamble=2056&evs_last_event_id=1",
        "lastEventId=1&r=4711",
        "padding=true",
        "t=1700000000&_=1",
    ] {
        let mut stream = Events::open(site.page, &format!("/events?keys=1&{parameters}"));
        assert_eq!(stream.next(), first, "{parameters}");
    }
    let mut socket = site.connect();
    write!(socket, "GET /events?keys=1 HTTP/1.1\r\nHost: {}\r\nLast-Event-ID: 1\r\n\r\n", site.page).unwrap();
    assert_eq!(Events::over(socket).next(), first, "the header");
}

#[test]
fn a_stalled_stream_skips_to_the_newest_map() {
    let (site, mut stdin) = fed(&["--interval", "10m", "--write-timeout", "10m"]);
    let mut socket = site.connect();
    SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
    write!(socket, "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", site.page).unwrap();
    let text = "x".repeat(700_000);
    for number in 1..=20 {
        writeln!(stdin, r#"{{"n":{number},"text":"{text}"}}"#).unwrap();
        eventually("the next version", || site.json("/status")["map"]["version"] == number);
    }
    let mut stream = Events::over(socket);
    let mut versions = Vec::new();
    while versions.last() != Some(&20) {
        versions.push(stream.next().unwrap().id.parse::<u32>().unwrap());
    }
    assert!(versions.len() <= 3, "the one in flight, and the newest: {versions:?}");
}

#[test]
fn a_slow_reader_gets_whole_events_while_the_map_changes() {
    let (site, mut stdin) = fed(&["--interval", "60s", "--write-timeout", "10m"]);
    let entries: Vec<_> = (0..10_000).map(|number| format!(r#","entry-{number}-of-the-map":{number}"#)).collect();
    let entries = entries.concat();
    let (over, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut number = 0;
            while ended.recv_timeout(Duration::from_millis(20)) == Err(mpsc::RecvTimeoutError::Timeout) {
                number += 1;
                writeln!(stdin, r#"{{"n":{number}{entries}}}"#).unwrap();
            }
        });
        // Dropped on a panic, too.
        let _over = over;
        // Other streams wait for the same rendering, and must not get it first each time.
        let _others: Vec<_> = (0..2).map(|_| Events::open(site.page, "/events?keys=n")).collect();
        let mut socket = TcpStream::connect(site.page).unwrap();
        SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        write!(socket, "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", site.page).unwrap();
        let (mut received, mut last) = (Vec::new(), 0);
        for _ in 0..2 {
            let data = slow_event(&mut socket, &mut received);
            let map: serde_json::Value = serde_json::from_str(&data).unwrap();
            let number = map["n"].as_u64().unwrap();
            assert!(number > last && map["entry-9999-of-the-map"] == 9999, "{number} after {last}");
            last = number;
        }
    });
}

/// Reads the data of the next event, at most 16 KiB every 5 ms. What follows the event stays in `received`.
fn slow_event(socket: &mut TcpStream, received: &mut Vec<u8>) -> String {
    loop {
        let end = received.windows(2).position(|window| window == b"\n\n");
        if let Some(end) = end {
            let rest = received.split_off(end + 2);
            let event = String::from_utf8(std::mem::replace(received, rest)).unwrap();
            if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                return data.to_owned();
            }
            continue;
        }
        std::thread::park_timeout(Duration::from_millis(5));
        let mut chunk = [0; 16 * 1024];
        let read = socket.read(&mut chunk).unwrap();
        assert!(read > 0, "the stream has ended");
        received.extend_from_slice(&chunk[..read]);
    }
}

#[test]
fn stalled_streams_share_one_copy_of_the_map() {
    let (site, mut stdin) = fed(&["--interval", "10m", "--write-timeout", "10m"]);
    writeln!(stdin, r#"{{"text":"{}"}}"#, "x".repeat(1_000_000)).unwrap();
    eventually("a map", || site.get("/readyz").code == 200);
    let open = |path: &str| {
        let mut socket = site.connect();
        SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", site.page).unwrap();
        // The event has begun and cannot be completed.
        let mut begun = Vec::new();
        while !begun.ends_with(b"xxxx") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            begun.extend(byte);
        }
        socket
    };
    for path in ["/events", "/live"] {
        let _first = open(path);
        let before = process_status(site.server.pid(), "VmHWM");
        let _streams: Vec<_> = (0..50).map(|_| open(path)).collect();
        let grown = process_status(site.server.pid(), "VmHWM") - before;
        assert!(grown < 10 * 1024, "{path}: {grown} KiB for 50 streams of one map of 1 MB");
    }
}

#[test]
fn a_hundred_streams_get_each_change_and_end_cleanly() {
    let (mut site, mut stdin) = fed(&["--interval", "60s"]);
    writeln!(stdin, r#"{{"n":0}}"#).unwrap();
    let mut streams: Vec<_> = (0..100).map(|_| Events::open(site.page, "/events")).collect();
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap().data, r#"{"n":0}"#);
    }
    for number in 1..=5 {
        let map = format!(r#"{{"n":{number}}}"#);
        writeln!(stdin, "{map}").unwrap();
        for stream in &mut streams {
            assert_eq!(stream.next().unwrap().data, map);
        }
    }
    site.server.signal(Signal::TERM);
    for stream in &mut streams {
        assert_eq!(stream.next(), None, "a clean end");
    }
    assert_eq!(site.server.exit_code(), 0);
}

#[test]
fn the_thread_of_a_closed_stream_ends() {
    let site = Site::start(&["--interval", "60s"]);
    // After a map and a response, all of the server's own threads have started.
    let mut reader = Reader::connect(site.server.addr());
    reader.map(Format::Bincode);
    assert_eq!(site.get("/livez").code, 200);
    // Those of connections alone: the server's own, such as one that writes a file, may come and go.
    let threads = || {
        let number = |name: String| name.strip_prefix("http-")?.parse::<u64>().ok();
        thread_names(site.server.pid()).into_iter().filter_map(number).count()
    };
    eventually("the thread of the response has ended", || threads() == 0);
    let mut streams: Vec<_> = (0..20).map(|_| Events::open(site.page, "/live")).collect();
    for stream in &mut streams {
        stream.data("status");
    }
    assert_eq!(threads(), 20);
    drop(streams);
    eventually("the threads are gone", || threads() == 0);
}

#[test]
fn the_stream_of_the_page_has_everything_that_it_shows() {
    let (site, mut stdin) = fed(&["--interval", "60s"]);
    let mut stream = Events::open(site.page, "/live");
    assert_eq!(stream.next().unwrap().name, "history");
    let status = stream.data("status");
    assert!(status["map"].is_null());
    assert_eq!(status["connections"]["active"], 0);
    assert_eq!(stream.data("clients")["total"], 0);

    writeln!(stdin, r#"{{"<script>":9223372036854775807,"1":"a"}}"#).unwrap();
    let map = stream.data("map");
    let entries = serde_json::json!([["1", "\"a\""], ["<script>", "9223372036854775807"]]);
    assert_eq!((&map["version"], &map["entries"]), (&1.into(), &entries));
    assert_eq!(map["etag"], site.get("/map").header("ETag"));

    let mut readers: Vec<_> = (0..3).map(|_| Reader::connect(site.server.addr())).collect();
    for reader in &mut readers {
        reader.map(Format::Bincode);
    }
    while stream.data("status")["connections"]["active"] != 3 {}
    while stream.data("clients")["clients"].as_array().unwrap().len() != 3 {}
    // A new stream starts with the history.
    eventually("a count of 3", || {
        let history = Events::open(site.page, "/live").data("history");
        assert_eq!(history["period_ms"], 1000);
        history["active"].as_array().unwrap().contains(&3.into())
    });
    drop(readers);
    while stream.data("status")["connections"]["active"] != 0 {}
}

#[test]
fn an_allowed_origin_gets_cors_headers() {
    let site = Site::start(&["--http-allow-origin", "https://app.example"]);
    let response = site.ask("GET /map", "Origin: https://evil.example\r\n", "");
    assert_eq!(response.header("Access-Control-Allow-Origin"), "https://app.example");
    assert!(Events::open(site.page, "/events").head.contains("Access-Control-Allow-Origin: https://app.example\n"));
    let preflight =
        site.ask("OPTIONS /map", "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n", "");
    assert_eq!((preflight.code, preflight.header("Access-Control-Allow-Methods")), (204, "GET, HEAD, OPTIONS"));
}

#[test]
fn a_stream_whose_client_sends_too_much_is_closed() {
    let site = Site::start(&["--interval", "60s"]);
    let mut socket = site.connect();
    write!(socket, "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", site.page).unwrap();
    flood(&mut socket, 100_000_000);
}
