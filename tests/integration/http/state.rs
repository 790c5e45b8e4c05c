//! The state file: one server keeps its map there, and other processes do not disturb it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mapcast::frame::Frame;
use mapcast::{Format, Map, Value};
use rustix::process::Signal;

use super::{Site, ask, token};
use crate::support::eventually;
use crate::support::program::{Program, SERVER, clean, run};
use crate::support::reader::Reader;

/// Returns the command of a server that accepts changes and keeps its map at `state`.
fn server(token: &Path, state: &Path) -> Command {
    server_at(SERVER, token, state)
}

/// As [`server`], from a copy of the program.
fn server_at(program: &str, token: &Path, state: &Path) -> Command {
    let mut command = clean(program);
    command.args(["-l", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-token-file", token.to_str().unwrap()]);
    command.args(["--state", state.to_str().unwrap()]);
    command
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn kept(state: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(state).unwrap()).unwrap()
}

#[test]
fn checks_next_to_a_busy_server_change_nothing() {
    let (file, token) = token();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.json");
    fs::write(directory.path().join("state.json.new"), "the user's own").unwrap();
    let site = Site::of(Program::start(server(file.path(), &state)));
    let (page, token, done) = (site.page, token.as_str(), &AtomicBool::new(false));
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                let response = ask(page, "PATCH /map", token, &format!("{{\"n\":{number}}}"));
                assert_eq!(response.code, 200, "{response:?}");
                assert_eq!(kept(&state)["n"], number, "the confirmed change is in the file");
            }
            number
        });
        let check = |_| {
            let mut command = server(file.path(), &directory.path().join("state.json"));
            command.arg("--check-config");
            run(command)
        };
        let checks: Vec<_> = (0..30).map(check).collect();
        done.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 0);
        for finished in checks {
            finished.assert_exit(0);
            assert!(String::from_utf8_lossy(&finished.stdout).contains("kept in "), "{:?}", finished.stdout);
        }
    });
    assert_eq!(names(directory.path()), [".state.json.lock", "state.json", "state.json.new"]);
    assert_eq!(fs::read(directory.path().join("state.json.new")).unwrap(), b"the user's own");
}

#[test]
fn a_check_creates_no_state_and_reports_a_bad_one() {
    let (file, _) = token();
    let directory = tempfile::tempdir().unwrap();
    let checked = |state: &Path| {
        let mut command = server(file.path(), state);
        command.arg("--check-config");
        run(command)
    };
    checked(&directory.path().join("state.json")).assert_exit(0);
    assert_eq!(names(directory.path()), [""; 0]);
    checked(&directory.path().join("missing/state.json")).assert_exit(2).assert_stderr("the state cannot be written");
    checked(directory.path()).assert_exit(2).assert_stderr("the state cannot be written");
    fs::write(directory.path().join("state.json"), "{\"kept\": true}").unwrap();
    let finished = checked(&directory.path().join("state.json"));
    finished.assert_exit(0);
    let said = String::from_utf8_lossy(&finished.stdout).into_owned();
    assert!(said.contains("the map: from no source, 29 bytes now"), "{said}");
}

#[test]
fn a_second_server_is_refused_and_the_first_continues() {
    let (file, token) = token();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.json");
    let mut first = Site::of(Program::start(server(file.path(), &state)));
    for number in 0..3 {
        // The first time there is no state file, later a different one each time.
        let second = run(server(file.path(), &state));
        second.assert_exit(2).assert_stderr("state.json: another running server keeps its map there; stop that server");
        assert_eq!(second.stderr.lines().count(), 1, "{}", second.stderr);
        assert_eq!(first.ask("PATCH /map", &token, &format!("{{\"n\":{number}}}")).code, 200);
        assert_eq!(kept(&state)["n"], number);
    }
    let mut lines = clean(SERVER);
    lines.args(["-l", "127.0.0.1:0", "--source", "-", "--state", state.to_str().unwrap()]);
    run(lines).assert_exit(2).assert_stderr("another running server keeps its map there");
    first.server.signal(Signal::TERM);
    assert_eq!(first.server.exit_code(), 0);
    let next = Site::of(Program::start(server(file.path(), &state)));
    assert_eq!(next.json("/map")["n"], 2);
}

#[test]
fn the_state_stays_locked_after_its_source_has_ended() {
    let (file, _) = token();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.json");
    // Standard input is empty.
    let mut command = clean(SERVER);
    command.args(["-l", "127.0.0.1:0", "--source", "-", "--state", state.to_str().unwrap()]);
    let first = Program::start(command);
    first.wait_log("standard input ended");
    run(server(file.path(), &state)).assert_exit(2).assert_stderr("another running server keeps its map there");
}

#[test]
fn a_change_with_response_500_was_not_kept() {
    let (file, token) = token();
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let state = inner.join("state.json");
    let secret = directory.path().join("token");
    fs::copy(file.path(), &secret).unwrap();
    let mut command = server(&secret, &state);
    if rustix::process::geteuid().is_root() {
        // Root may read any directory; this unused user may not.
        let user = 54_323;
        let program = inner.join("mapcast-server");
        fs::copy(SERVER, &program).unwrap();
        for path in [directory.path(), &inner, &secret] {
            chown(path, Some(user), Some(user)).unwrap();
        }
        command = server_at(program.to_str().unwrap(), &secret, &state);
        command.uid(user).gid(user);
    }
    let site = Site::of(Program::start(command));
    assert_eq!(site.ask("PATCH /map", &token, "{\"n\":1}").code, 200);
    let mode = |mode| fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).unwrap();
    // Writable, but not readable, which synchronizing needs.
    mode(0o300);
    let response = site.ask("PATCH /map", &token, "{\"n\":2}");
    assert_eq!(response.code, 500, "{response:?}");
    assert_eq!((&site.json("/map")["n"], &kept(&state)["n"]), (&1.into(), &1.into()));
    mode(0o700);
    assert_eq!(site.ask("PATCH /map", &token, "{\"n\":3}").code, 200);
    assert_eq!((&site.json("/map")["n"], &kept(&state)["n"]), (&3.into(), &3.into()));
    eventually("no temporary files", || names(&inner).iter().all(|name| !name.contains(".tmp")));
}

#[test]
fn bytes_from_a_source_stay_bytes_after_a_change() {
    let (file, token) = token();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let mut map = Map::from([("bytes".into(), Value::Bytes(vec![0, 255])), ("far".into(), f64::INFINITY.into())]);
    let frame = Frame::new(&Format::Bincode.encode_map(&map).unwrap(), 1000).unwrap();
    fs::write(&state, frame.as_bytes()).unwrap();
    map.insert("n".into(), 1.into());
    let mut site = Site::of(Program::start(server(file.path(), &state)));
    assert_eq!(site.ask("PATCH /map", &token, "{\"n\":1}").code, 200);
    assert_eq!(Reader::connect(site.server.addr()).map(Format::Bincode), map);
    site.server.signal(Signal::KILL);
    site.server.exit_code();
    let site = Site::of(Program::start(server(file.path(), &state)));
    assert_eq!(Reader::connect(site.server.addr()).map(Format::Bincode), map, "the same map after a restart");
    assert_eq!(site.ask("PUT /map", &token, "{\"n\":2}").code, 200);
    assert_eq!(kept(&state)["n"], 2, "JSON again");
}
