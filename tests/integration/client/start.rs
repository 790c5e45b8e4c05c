//! `--wait` and `--cache`: a start while the server is away.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;

use super::fixture::Fixture;
use super::peer::{closed_address, delay, numbered_frame, serve_bytes, serve_on};
use crate::support::program::Program;

/// A long repeat interval: every received map is a change.
const INTERVAL: Duration = Duration::from_mins(1);

/// A program that prints the map with which it was started.
const LIVES: &str = "echo $n >>maps; exec sleep 1000";

#[track_caller]
fn client(fixture: &Fixture, args: &[&str]) -> Program {
    Program::client_with(args, |client| client.current_dir(&fixture.directory).env("TMPDIR", fixture.directory.path()))
}

/// Writes the map `n = 0` into the file `cache`.
#[track_caller]
fn fill_cache(fixture: &Fixture) {
    fixture.client(&["-n", "1", "--write", "map.toml", "--cache", "cache"]).finish().assert_exit(0);
}

#[test]
fn a_server_that_is_not_up_yet_is_awaited() {
    let address = closed_address();
    let client = Program::client(&["-n", "1", "--wait", &address]);
    client.wait_log("(os error 111); trying again in ");
    serve_on(TcpListener::bind(&address).unwrap(), |_, mut stream| drop(stream.write_all(&numbered_frame(1))));
    client.finish().assert_exit(0).assert_stdout("{\"n\":1}\n");
}

#[test]
fn an_expired_wait_is_3() {
    let client = Program::client(&["--no-reconnect", "--wait=1500ms", &closed_address()]).finish();
    client.assert_exit(3).assert_stderr("mapcast-client: cannot connect to");
    assert!(client.elapsed >= Duration::from_millis(1500), "{:?}", client.elapsed);
}

#[test]
fn the_same_map_does_not_restart_after_a_cached_start() {
    let fixture = Fixture::new(INTERVAL);
    fill_cache(&fixture);
    let address = closed_address();
    let client = client(&fixture, &[&address, "--cache", "cache", "--run", "sh", "-c", LIVES]);
    let line = client.wait_log("starting with the map from the cache");
    assert!(line.contains("Connection refused") && line.contains("confirmed by the server"), "{line}");
    fixture.wait_text("maps", "0\n");
    let (send, maps) = mpsc::channel();
    let mut kept = Vec::new();
    serve_on(TcpListener::bind(&address).unwrap(), move |_, mut stream| {
        for map in &maps {
            stream.write_all(&numbered_frame(map)).unwrap();
            kept.push(stream.try_clone().unwrap());
        }
    });
    send.send(0).unwrap();
    client.wait_log("connected to");
    // Longer than the second between two starts.
    delay(Duration::from_millis(1500));
    assert_eq!(fixture.text("maps"), "0\n");
    send.send(1).unwrap();
    fixture.wait_text("maps", "0\n1\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(143);
}

#[test]
fn with_a_cache_a_server_without_a_map_delays_5_s_at_most() {
    let fixture = Fixture::new(INTERVAL);
    fill_cache(&fixture);
    let client = client(&fixture, &[&serve_bytes(Vec::new()), "--cache", "cache", "--run", "sh", "-c", LIVES]);
    client.wait_log("no map has come yet; starting with the map from the cache");
    fixture.wait_text("maps", "0\n");
}

#[test]
fn a_refused_map_is_not_cached() {
    let fixture = Fixture::new(INTERVAL);
    fill_cache(&fixture);
    let before = fs::read(fixture.path("cache")).unwrap();
    let client = fixture.client(&["--write", "map.toml", "--cache", "cache", "--check", "! grep -q 1 {}"]);
    client.wait_log("connected to");
    fixture.publish(1);
    client.wait_log("the check failed");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    assert_eq!(fs::read(fixture.path("cache")).unwrap(), before);
}

#[test]
fn an_unusable_cache_is_logged_and_ignored() {
    let fixture = Fixture::new(INTERVAL);
    fs::write(fixture.path("cache"), "garbage").unwrap();
    let refused = client(&fixture, &[&closed_address(), "--cache", "cache", "--write", "map.toml"]).finish();
    refused.assert_exit(3).assert_stderr("the cache cannot be used: it does not contain a map; remove it");
    let refused = client(&fixture, &[&closed_address(), "--cache", "missing", "--write", "map.toml"]).finish();
    refused.assert_exit(3);
    fs::create_dir(fixture.path("directory")).unwrap();
    let written = fixture.client(&["-n", "1", "--cache", "directory", "--write", "map.toml"]).finish();
    written.assert_exit(0).assert_stderr("directory: the map is not cached");
    assert_eq!(fixture.text("map.toml"), "n = 0\n");
}
