//! Changes of the map: permission, results, and that no change is lost.

use std::io::{Read, Write};
use std::thread;

use mapcast::{Format, Key, builtin_map};
use rustix::process::Signal;

use super::{BUILTIN_ENTRIES, Response, Site, ask, path, token};
use crate::support::program::{SERVER, clean, run};
use crate::support::reader::Reader;

#[test]
fn a_change_is_sent_to_every_client() {
    let (file, token) = token();
    let args = ["--http-token-file", path(&file), "--interval", "60s"];
    let site = Site::start(&[&args[..], &BUILTIN_ENTRIES].concat());
    let mut reader = Reader::connect(site.server.addr());
    assert_eq!(reader.map(Format::Bincode), builtin_map());

    let response = site.ask("PATCH /map", &token, r#"{"1":"Hello","dark":true,"2":null}"#);
    assert_eq!((response.code, response.body.as_str()), (200, "{\"version\":2,\"entries\":4,\"changed\":true}\n"));
    let mut wanted = builtin_map();
    wanted.insert(Key::Int(1), "Hello".into());
    wanted.insert("dark".into(), true.into());
    wanted.remove(&Key::Int(2));
    assert_eq!(reader.map(Format::Bincode), wanted, "numbers stay numbers");
    let shown = site.get("/map");
    assert_eq!(shown.body, "{\"1\":\"Hello\",\"3\":\"Al\",\"4\":\"Servidor\",\"dark\":true}\n");
    assert_eq!(shown.header("ETag"), response.header("ETag"));

    assert_eq!(site.ask("DELETE /map/3", &token, "").code, 200);
    wanted.remove(&Key::Int(3));
    assert_eq!(reader.map(Format::Bincode), wanted);
    assert_eq!(site.ask("DELETE /map/3", &token, "").code, 404);

    assert_eq!(site.ask("PUT /map", &token, "{\"a/b ñ\": null}").code, 200);
    assert_eq!(reader.map(Format::Bincode), [("a/b ñ".into(), mapcast::Value::Null)].into());
    let same = site.ask("PUT /map", &token, "{\"a/b ñ\": null}");
    assert!(same.body.contains("\"changed\":false"), "{same:?}");
    assert_eq!(site.ask("DELETE /map/a%2Fb%20%C3%B1", &token, "").code, 200);
    assert_eq!(reader.map(Format::Bincode), mapcast::Map::new());
    site.server.wait_log("PATCH /map from 127.0.0.1:");
}

#[test]
fn an_entry_is_set_to_any_value() {
    let (file, token) = token();
    let args = ["--http-token-file", path(&file), "--interval", "60s"];
    let site = Site::start(&[&args[..], &BUILTIN_ENTRIES].concat());
    let mut reader = Reader::connect(site.server.addr());
    reader.map(Format::Bincode);
    let response = site.ask("PUT /map/1", &token, "\"Hello\"");
    assert_eq!((response.code, response.body.as_str()), (200, "{\"version\":2,\"entries\":4,\"changed\":true}\n"));
    let mut wanted = builtin_map();
    wanted.insert(Key::Int(1), "Hello".into());
    assert_eq!(reader.map(Format::Bincode), wanted, "numbers stay numbers");
    let seen = format!("{token}If-Match: {}\r\n", response.header("ETag"));
    assert_eq!(site.ask("PUT /map/a%2Fb+c", &seen, "null").code, 200);
    wanted.insert("a/b+c".into(), mapcast::Value::Null);
    assert_eq!(reader.map(Format::Bincode), wanted);
    assert_eq!(site.get("/map/a%2Fb+c").body, "null\n");
    for (headers, body, code) in [
        (seen.as_str(), "2", 412),
        ("", "2", 401),
        (&token, "", 400),
        (&token, "Hello", 400),
        (&token, "9223372036854775808", 400),
    ] {
        let response = site.ask("PUT /map/1", headers, body);
        assert_eq!(response.code, code, "{body}: {response:?}");
    }
    assert_eq!(site.ask("PUT /map/1", &token, &format!("\"{}\"", "x".repeat(1 << 20))).code, 413);
    assert_eq!(site.ask("POST /map/1", &token, "1").header("Allow"), "GET, HEAD, PUT, DELETE, OPTIONS");
    assert_eq!(site.json("/status")["map"]["version"], 3);
}

#[test]
fn an_invalid_change_is_refused_and_the_map_stays() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file), "--max-frame", "1KiB"]);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(2000));
    let nested = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    // Fits into a body, but not into a frame together with the other entries.
    let growing = format!("{{\"a\":\"{}\"}}", "x".repeat(1000));
    for (request, headers, body, code) in [
        ("PATCH /map", "", "{}", 401),
        ("PATCH /map", "Authorization: Bearer wrong\r\n", "{}", 401),
        ("PATCH /map", "Authorization: Basic Y29ycmVjdA==\r\n", "{}", 401),
        ("PUT /map", "", large.as_str(), 401),
        ("PUT /map", &token, &large, 413),
        ("PATCH /map", &token, &growing, 413),
        ("PUT /map", &token, "[1]", 400),
        ("PUT /map", &token, "", 400),
        ("PATCH /map", &token, "null", 400),
        ("PATCH /map", &token, "{\"a\":1", 400),
        ("PATCH /map", &token, "{\"a\":18446744073709551616}", 400),
        ("PATCH /map", &token, &nested, 400),
        ("PUT /map", &token, "{\"a\":1,\"a\":1}", 400),
        ("PATCH /map", &token, "{\"a\":[{\"b\":1,\"\\u0062\":2}]}", 400),
        ("PUT /map/a", &token, "{\"b\":1,\"b\":1}", 400),
        ("DELETE /map", &token, "", 405),
        ("POST /map", &token, "{}", 405),
        ("DELETE /map/missing", &token, "", 404),
    ] {
        let response = site.ask(request, headers, body);
        assert_eq!(response.code, code, "{request} {body:.40}: {response:?}");
    }
    assert_eq!(site.ask("PATCH /map", "", "{}").header("WWW-Authenticate"), "Bearer realm=\"mapcast\"");
    assert_eq!(site.ask("POST /map", "", "").header("Allow"), "GET, HEAD, PUT, PATCH, OPTIONS");
    assert_eq!(site.json("/status")["map"]["version"], 1);
}

#[test]
fn a_change_after_a_lost_race_is_412() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file)]);
    let seen = format!("{token}If-Match: {}\r\n", site.get("/map").header("ETag"));
    assert_eq!(site.ask("PATCH /map", &seen, r#"{"a":1}"#).code, 200);
    for request in ["PATCH /map", "PUT /map"] {
        assert_eq!(site.ask(request, &seen, r#"{"a":2}"#).code, 412);
    }
    assert_eq!(site.ask("DELETE /map/a", &seen, "").code, 412);
    assert_eq!(site.ask("PATCH /map", &format!("{token}If-Match: *\r\n"), r#"{"b":2}"#).code, 200);
    assert_eq!(site.json("/map")["a"], 1);
}

#[test]
fn a_change_that_if_none_match_excludes_is_412() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file), "--set", "1=Hola"]);
    let etag = site.get("/map").header("ETag").to_owned();
    for headers in [
        "If-None-Match: *\r\n".to_owned(),
        format!("If-None-Match: {etag}\r\n"),
        format!("If-None-Match: \"other\", W/{etag}\r\n"),
        format!("If-None-Match: {etag}\r\nIf-None-Match: \"other\"\r\n"),
        format!("If-Match: {etag}\r\nIf-None-Match: *\r\n"),
        "If-Match: \"other\"\r\nIf-None-Match: \"other\"\r\n".to_owned(),
    ] {
        for (request, body) in [("PUT /map", "{}"), ("PATCH /map", "{\"a\":1}"), ("DELETE /map/1", "")] {
            let response = site.ask(request, &format!("{token}{headers}"), body);
            assert_eq!(response.code, 412, "{request} {headers}: {response:?}");
        }
    }
    for headers in
        ["If-Match: \"\u{e9}\"\r\n", "If-Match: unquoted\r\n", "If-None-Match: *\r\nIf-None-Match: \"a\"\r\n"]
    {
        let response = site.ask("PUT /map", &format!("{token}{headers}"), "{}");
        assert_eq!(response.code, 400, "{headers}: {response:?}");
    }
    assert_eq!(site.json("/status")["map"]["version"], 1);

    assert_eq!(site.ask("DELETE /map/missing", &format!("{token}If-None-Match: *\r\n"), "").code, 404);
    // RFC 9110, sections 13.1.1 and 13.1.2: `*` asks for the entry, not for the map.
    for (key, condition, code) in
        [("1", "None-Match", 412), ("new", "Match", 412), ("new", "None-Match", 200), ("new", "None-Match", 412)]
    {
        let response = site.ask(&format!("PUT /map/{key}"), &format!("{token}If-{condition}: *\r\n"), "2");
        assert_eq!(response.code, code, "{key} {condition}: {response:?}");
    }
    let etag = site.get("/map").header("ETag").to_owned();
    assert_eq!(site.json("/map"), serde_json::json!({ "1": "Hola", "new": 2 }));
    // Both lines of a header count.
    let seen = format!("{token}If-Match: {etag}\r\nIf-Match: \"other\"\r\nIf-None-Match: \"other\"\r\n");
    assert_eq!(site.ask("DELETE /map/1", &seen, "").code, 200);
}

#[test]
fn two_concurrent_writers_lose_nothing() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file), "--interval", "60s"]);
    let page = site.page;
    thread::scope(|scope| {
        for writer in ["a", "b"] {
            let token = &token;
            thread::Builder::new()
                .spawn_scoped(scope, move || {
                    for number in 0..50 {
                        // One change of an own entry, and one of a shared entry, repeated after a lost race.
                        let patch = format!("{{\"{writer}{number}\":{number}}}");
                        assert_eq!(ask(page, "PATCH /map", token, &patch).code, 200);
                        loop {
                            let seen = ask(page, "GET /map", "", "");
                            let count =
                                serde_json::from_str::<serde_json::Value>(&seen.body).unwrap()["count"].as_u64();
                            let headers = format!("{token}If-Match: {}\r\n", seen.header("ETag"));
                            let patch = format!("{{\"count\":{}}}", count.unwrap_or(0) + 1);
                            match ask(page, "PATCH /map", &headers, &patch).code {
                                200 => break,
                                code => assert_eq!(code, 412),
                            }
                        }
                    }
                })
                .unwrap();
        }
    });
    let map = site.json("/map");
    assert_eq!(map["count"], 100);
    assert_eq!(map.as_object().unwrap().len(), 100 + 1);
}

#[test]
fn a_confirmed_change_survives_a_kill() {
    let (file, token) = token();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.json");
    let args = ["--http-token-file", path(&file), "--state", state.to_str().unwrap(), "--set", "1=Hola"];
    for round in 0..5 {
        let mut site = Site::start(&args);
        if round > 0 {
            assert_eq!(site.json("/map")["n"], round - 1);
            let mut reader = Reader::connect(site.server.addr());
            assert!(reader.map(Format::Bincode).contains_key(&Key::Int(1)), "numbers stay numbers");
        }
        assert_eq!(site.ask("PATCH /map", &token, &format!("{{\"n\":{round}}}")).code, 200);
        site.server.signal(Signal::KILL);
        assert_eq!(site.server.exit_code(), 128 + 9);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "only the state and its lock are left");
}

#[test]
fn a_broken_state_is_an_error_at_startup() {
    let (file, _) = token();
    let state = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(state.path(), "{\"a\": ").unwrap();
    let mut command = clean(SERVER);
    command.args(["-l", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-token-file", path(&file)]);
    command.args(["--state", path(&state)]);
    let finished = run(command);
    finished.assert_exit(2).assert_stderr(path(&state)).assert_stderr("the state is not a map");
}

#[test]
fn a_source_and_a_token_exclude_each_other() {
    let (file, _) = token();
    let mut command = clean(SERVER);
    command.args(["-l", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-token-file", path(&file), "-s", "-"]);
    run(command).assert_exit(2).assert_stderr("cannot be used with");
    let mut command = clean(SERVER);
    command.args(["-l", "127.0.0.1:0", "--http-token-file", path(&file)]);
    run(command).assert_exit(2).assert_stderr("--http <ADDR:PORT>");
}

#[test]
fn expect_100_continue_gets_100_or_the_refusal() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file), "--max-frame", "1KiB"]);
    let mut socket = site.connect();
    let head = |token: &str, len: usize| {
        let host = site.page;
        format!("PUT /map HTTP/1.1\r\nHost: {host}\r\n{token}Content-Length: {len}\r\nExpect: 100-continue\r\n\r\n")
    };
    socket.write_all(head(&token, 2).as_bytes()).unwrap();
    let mut interim = [0; 25];
    socket.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"{}").unwrap();
    let mut response = [0; 12];
    socket.read_exact(&mut response).unwrap();
    assert_eq!(&response, b"HTTP/1.1 200");
    assert_eq!(Response::parse(&site.send(head(&token, 100_000_000).as_bytes())).code, 413);
    assert_eq!(Response::parse(&site.send(head("", 2).as_bytes())).code, 401);
}

#[test]
fn a_refused_writer_that_still_sends_gets_its_response() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file), "--max-frame", "1KiB"]);
    // Above the discard limit, but small enough for one write to the kernel.
    let body = "x".repeat(200_000);
    let head = format!("PUT /map HTTP/1.1\r\nHost: {}\r\n{token}Content-Length: 200000\r\n\r\n", site.page);
    let mut socket = site.connect();
    socket.write_all((head + &body).as_bytes()).unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    assert_eq!(Response::parse(&response).code, 413);
    // A reset after the end would discard a response that is still in transit.
    for _ in 0..50 {
        assert!(socket.take_error().unwrap().is_none(), "a reset after the response");
        crate::support::pause();
    }
}

#[test]
fn a_new_token_is_valid_at_once() {
    let (file, token) = token();
    let site = Site::start(&["--http-token-file", path(&file)]);
    assert_eq!(site.ask("PATCH /map", &token, "{}").code, 200);
    std::fs::write(file.path(), "another-token-altogether").unwrap();
    assert_eq!(site.ask("PATCH /map", &token, "{}").code, 401);
    assert_eq!(site.ask("PATCH /map", "Authorization: Bearer another-token-altogether\r\n", "{}").code, 200);
    std::fs::write(file.path(), "").unwrap();
    assert_eq!(site.ask("PATCH /map", &token, "{}").code, 503);
}
