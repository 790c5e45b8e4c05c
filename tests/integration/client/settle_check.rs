//! `--settle` and `--check`: maps that are delayed or refused.

use std::fs;
use std::time::Duration;

use mapcast::Map;
use rustix::process::Signal;

use super::fixture::Fixture;
use super::peer::delay;
use crate::support::eventually;

/// The repeat interval: many repeats come between two changes.
const INTERVAL: Duration = Duration::from_millis(50);

#[test]
fn changes_in_quick_succession_are_one() {
    let fixture = Fixture::new(INTERVAL);
    let args = ["--settle", "3s", "--write", "map.toml", "--exec", "cat >>maps"];
    let client = fixture.client(&args);
    client.wait_log("connected to");
    for number in 1..=6 {
        fixture.publish(number);
        delay(Duration::from_millis(100));
    }
    fixture.wait_text("maps", "{\"n\":6}\n");
    assert_eq!(fixture.text("map.toml"), "n = 6\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    assert_eq!(fixture.text("maps"), "{\"n\":6}\n");
}

#[test]
fn a_map_that_keeps_changing_is_delivered() {
    let fixture = Fixture::new(INTERVAL);
    let client = fixture.client(&["--settle", "1s", "--settle-max", "2s", "--exec", "cat >>maps"]);
    let mut number = 0;
    eventually("a map", || {
        number += 1;
        fixture.publish(number);
        delay(Duration::from_millis(20));
        !fixture.text("maps").is_empty()
    });
    drop(client);
}

#[test]
fn a_refused_file_is_never_in_place() {
    let fixture = Fixture::new(INTERVAL);
    let check = "! grep -q 1 {} || { cat {} >>refused; exit 3; }";
    let client = fixture.client(&["--write", "map.toml", "--check", check, "--exec", "cat map.toml >>seen"]);
    fixture.wait_text("seen", "n = 0\n");
    fixture.publish(1);
    client.wait_log("map.toml stays unchanged: the check failed: exit status: 3");
    fixture.publish(2);
    fixture.wait_text("seen", "n = 0\nn = 2\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    // A refused map is not checked again with each repeat.
    assert_eq!(fixture.text("refused"), "n = 1\n");
    assert_eq!(fixture.text("map.toml"), "n = 2\n");
    assert!(
        fs::read_dir(&fixture.directory).unwrap().all(|entry| !entry
            .unwrap()
            .path()
            .to_string_lossy()
            .ends_with(".tmp"))
    );
}

#[test]
fn a_refused_map_keeps_the_program() {
    let fixture = Fixture::new(INTERVAL);
    let client =
        fixture.client(&["--check", "! grep -q '\"n\":1}' {}", "--run", "sh", "-c", "echo $n >>maps; exec sleep 1000"]);
    fixture.wait_text("maps", "0\n");
    fixture.publish(1);
    client.wait_log("the map is not delivered: the check failed: exit status: 1");
    fixture.publish(2);
    fixture.wait_text("maps", "0\n2\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(143);
    assert_eq!(fixture.directories(), 0);
}

#[test]
fn a_check_that_hangs_is_terminated_and_refuses() {
    let fixture = Fixture::new(INTERVAL);
    let check = "trap 'echo ended >>ended; exit' TERM; echo {} >>checks; while :; do sleep 0.05; done";
    let client = fixture.client(&["--write", "map.toml", "--check", check, "--check-timeout", "5s"]);
    client.wait_log("map.toml stays unchanged: the check exceeded 5s and was terminated");
    assert_eq!(fixture.text("ended"), "ended\n");
    assert!(fixture.text("checks").contains("/.map.toml."), "{}", fixture.text("checks"));
    fixture.publish(1);
    eventually("another check", || fixture.text("checks").lines().count() == 2);
    // The client does not wait for it at exit.
    client.signal(Signal::TERM);
    client.finish().assert_exit(0);
    assert!(!fixture.path("map.toml").exists());
}

#[test]
fn a_path_with_spaces_is_one_word_for_the_check() {
    let fixture = Fixture::new(INTERVAL);
    let check = "cat {} >checked";
    fixture.client(&["-n", "1", "--write", "a b's.toml", "--check", check]).finish().assert_exit(0);
    assert_eq!(fixture.text("checked"), "n = 0\n");
    assert_eq!(fixture.text("a b's.toml"), "n = 0\n");
}

#[test]
fn an_unselected_entry_does_not_extend_the_wait() {
    let fixture = Fixture::new(INTERVAL);
    let _client = fixture.client(&["-k", "n", "--settle", "1s", "--settle-max", "1000h", "--write", "map.toml"]);
    let mut number = 0;
    eventually("the file", || {
        number += 1;
        let map = Map::from([("n".into(), 0.into()), ("other".into(), number.into())]);
        fixture.server.feed.publish(&map).unwrap();
        delay(Duration::from_millis(20));
        fixture.text("map.toml") == "n = 0\n"
    });
}
