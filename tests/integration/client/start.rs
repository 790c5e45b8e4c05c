//! `--wait` and `--cache`: a start while the server is away.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;

use super::peer::{nobody, numbered_frame, pace, serve_bytes, serve_on};
use super::place::Place;
use crate::support::program::Program;

/// A long repeat interval: every received map is a change.
const INTERVAL: Duration = Duration::from_mins(1);

/// A program that prints the map with which it was started.
const LIVES: &str = "echo $n >>maps; exec sleep 1000";

#[track_caller]
fn client(place: &Place, args: &[&str]) -> Program {
    Program::client_with(args, |client| client.current_dir(&place.directory).env("TMPDIR", place.directory.path()))
}

/// Writes the map `n = 0` into the file `cache`.
#[track_caller]
fn fill_cache(place: &Place) {
    place.client(&["-n", "1", "--write", "map.toml", "--cache", "cache"]).finish().assert_exit(0);
}

#[test]
fn a_server_that_is_not_up_yet_is_awaited() {
    let address = nobody();
    let client = Program::client(&["-n", "1", "--wait", &address]);
    client.wait_log("(os error 111); trying again in ");
    serve_on(TcpListener::bind(&address).unwrap(), |_, mut stream| drop(stream.write_all(&numbered_frame(1))));
    client.finish().assert_exit(0).assert_stdout("{\"n\":1}\n");
}

#[test]
fn an_expired_wait_is_3() {
    let client = Program::client(&["--no-reconnect", "--wait=1500ms", &nobody()]).finish();
    client.assert_exit(3).assert_stderr("mapcast-client: cannot connect to");
    assert!(client.elapsed >= Duration::from_millis(1500), "{:?}", client.elapsed);
}

#[test]
fn the_same_map_does_not_restart_after_a_cached_start() {
    let place = Place::new(INTERVAL);
    fill_cache(&place);
    let address = nobody();
    let client = client(&place, &[&address, "--cache", "cache", "--run", "sh", "-c", LIVES]);
    let line = client.wait_log("starting with the map from the cache");
    assert!(line.contains("Connection refused") && line.contains("confirmed by the server"), "{line}");
    place.wait_text("maps", "0\n");
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
    pace(Duration::from_millis(1500));
    assert_eq!(place.text("maps"), "0\n");
    send.send(1).unwrap();
    place.wait_text("maps", "0\n1\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(143);
}

#[test]
fn with_a_cache_a_server_without_a_map_delays_5_s_at_most() {
    let place = Place::new(INTERVAL);
    fill_cache(&place);
    let client = client(&place, &[&serve_bytes(Vec::new()), "--cache", "cache", "--run", "sh", "-c", LIVES]);
    client.wait_log("no map has come yet; starting with the map from the cache");
    place.wait_text("maps", "0\n");
}

#[test]
fn a_refused_map_is_not_cached() {
    let place = Place::new(INTERVAL);
    fill_cache(&place);
    let before = fs::read(place.path("cache")).unwrap();
    let client = place.client(&["--write", "map.toml", "--cache", "cache", "--check", "! grep -q 1 {}"]);
    client.wait_log("connected to");
    place.publish(1);
    client.wait_log("the check failed");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    assert_eq!(fs::read(place.path("cache")).unwrap(), before);
}

#[test]
fn an_unusable_cache_is_logged_and_ignored() {
    let place = Place::new(INTERVAL);
    fs::write(place.path("cache"), "garbage").unwrap();
    let refused = client(&place, &[&nobody(), "--cache", "cache", "--write", "map.toml"]).finish();
    refused.assert_exit(3).assert_stderr("the cache cannot be used: it does not contain a map; remove it");
    let refused = client(&place, &[&nobody(), "--cache", "missing", "--write", "map.toml"]).finish();
    refused.assert_exit(3);
    fs::create_dir(place.path("directory")).unwrap();
    let written = place.client(&["-n", "1", "--cache", "directory", "--write", "map.toml"]).finish();
    written.assert_exit(0).assert_stderr("directory: the map is not cached");
    assert_eq!(place.text("map.toml"), "n = 0\n");
}
