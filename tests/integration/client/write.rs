//! `--write`: files are replaced atomically, whatever happens.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mapcast::{Map, Value};
use rustix::process::Signal;

use super::fixture::Fixture;
use super::peer::delay;
use crate::support::program::{CLIENT, clean, run};
use crate::support::server::numbered;
use crate::support::{eventually, pause};

/// A long repeat interval: every write is a change.
const INTERVAL: Duration = Duration::from_mins(1);

#[test]
fn every_change_is_in_the_file_and_nothing_is_printed() {
    let fixture = Fixture::new(INTERVAL);
    let client = fixture.client(&["--write", "map.json"]);
    fixture.wait_text("map.json", "{\n  \"n\": 0\n}\n");
    fixture.server.feed.publish(&numbered(1)).unwrap();
    fixture.wait_text("map.json", "{\n  \"n\": 1\n}\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0).assert_stdout("").assert_stderr("map.json: written, 13 bytes");
}

#[test]
fn the_format_follows_from_the_suffix_or_the_option() {
    let fixture = Fixture::new(INTERVAL);
    for (args, text) in [
        (&["--write", "a.toml"][..], "n = 0\n"),
        (&["--write", "a.env"], "n=0\n"),
        (&["--write", "a.conf", "--write-format", "toml"], "n = 0\n"),
    ] {
        fixture.client(&[args, &["-n", "1"]].concat()).finish().assert_exit(0);
        assert_eq!(fs::read_to_string(fixture.path(args[1])).unwrap(), text);
    }
}

#[test]
fn a_missing_entry_of_a_template_is_logged_once() {
    let fixture = Fixture::new(Duration::from_millis(20));
    fs::write(fixture.path("template"), "n is {{n}}{{\"{{\"}}").unwrap();
    let client = fixture.client(&["--write", "out", "--template", "template"]);
    fixture.wait_text("out", "n is 0{{");
    fixture.server.feed.publish(&Map::from([("m".into(), 1.into())])).unwrap();
    let line = client.wait_log("stays unchanged");
    assert!(line.contains("line 1 of the template: the map has no entry \"n\""), "{line}");
    assert_eq!(fs::read_to_string(fixture.path("out")).unwrap(), "n is 0{{");
    delay(Duration::from_millis(200));
    fixture.server.feed.publish(&numbered(2)).unwrap();
    client.wait_log("can be written again");
    fixture.wait_text("out", "n is 2{{");
    let complaints = client.log().iter().filter(|line| line.contains("stays unchanged")).count();
    assert_eq!(complaints, 1, "{:?}", client.log());
}

#[test]
fn the_same_content_is_not_written_again() {
    let fixture = Fixture::new(Duration::from_millis(20));
    fixture.client(&["--write", "map.json", "-n", "1"]).finish().assert_exit(0);
    let before = fs::metadata(fixture.path("map.json")).unwrap();
    fixture.client(&["--write", "map.json", "-n", "5"]).finish().assert_exit(0);
    let after = fs::metadata(fixture.path("map.json")).unwrap();
    assert_eq!((before.ino(), before.mtime(), before.mtime_nsec()), (after.ino(), after.mtime(), after.mtime_nsec()));
    let _client = fixture.client(&["--write", "map.json"]);
    fs::write(fixture.path("map.json"), "edited").unwrap();
    fixture.wait_text("map.json", "{\n  \"n\": 0\n}\n");
}

#[test]
fn the_mode_is_kept_or_set_or_follows_the_umask() {
    let fixture = Fixture::new(INTERVAL);
    let mode = |name: &str| fs::metadata(fixture.path(name)).unwrap().mode() & 0o7777;
    fs::write(fixture.path("kept.json"), "").unwrap();
    fs::set_permissions(fixture.path("kept.json"), fs::Permissions::from_mode(0o604)).unwrap();
    fixture.client(&["--write", "kept.json", "-n", "1"]).finish().assert_exit(0);
    assert_eq!(mode("kept.json"), 0o604);
    fixture.client(&["--write", "set.json", "--mode", "0640", "-n", "1"]).finish().assert_exit(0);
    assert_eq!(mode("set.json"), 0o640);
    fixture.client(&["--write", "new.json", "-n", "1"]).finish().assert_exit(0);
    fs::write(fixture.path("usual"), "").unwrap();
    assert_eq!(mode("new.json"), mode("usual"));
}

#[test]
fn the_owner_is_kept_where_root_writes() {
    let fixture = Fixture::new(INTERVAL);
    let path = fixture.path("map.json");
    fs::write(&path, "").unwrap();
    if std::os::unix::fs::chown(&path, Some(12345), Some(54321)).is_err() {
        return crate::support::skip("not root, so no file has another owner");
    }
    fixture.client(&["--write", "map.json", "-n", "1"]).finish().assert_exit(0);
    let written = fs::metadata(&path).unwrap();
    assert_eq!((written.uid(), written.gid(), written.len()), (12345, 54321, 13));
}

#[test]
fn a_file_with_a_new_owner_gains_no_readers() {
    if !rustix::process::geteuid().is_root() {
        return crate::support::skip("not root, so no client is another user");
    }
    let fixture = Fixture::new(INTERVAL);
    // An otherwise unused user, with a directory and a copy of the program.
    let user = 54_324;
    std::os::unix::fs::chown(&fixture.directory, Some(user), Some(user)).unwrap();
    fs::copy(CLIENT, fixture.path("mapcast-client")).unwrap();
    for (before, after) in [(0o640, 0o600), (0o644, 0o644), (0o4664, 0o644), (0o2755, 0o755)] {
        let path = fixture.path("map.json");
        fs::write(&path, "").unwrap();
        std::os::unix::fs::chown(&path, Some(0), Some(42)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
        let mut client = clean(fixture.path("mapcast-client").to_str().unwrap());
        client.current_dir(&fixture.directory).uid(user).gid(user);
        client.args(["-f", "json", "-n", "1", "--write", "map.json", &fixture.server.running.addr.to_string()]);
        run(client).assert_exit(0);
        let written = fs::metadata(&path).unwrap();
        assert_eq!((written.uid(), written.gid(), written.len()), (user, user, 13));
        assert_eq!(written.mode() & 0o7777, after, "{:o} before, {before:o} wanted", written.mode());
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn another_users_link_in_a_shared_directory_is_refused() {
    let fixture = Fixture::new(Duration::from_millis(20));
    let (shared, target) = (fixture.path("shared"), fixture.path("target"));
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(&target, "kept").unwrap();
    let link = shared.join("map.json");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    if std::os::unix::fs::lchown(&link, Some(54_324), None).is_err() {
        return crate::support::skip("not root, so no link has another owner");
    }
    let client = fixture.client(&["--write", "shared/map.json", "-n", "1"]);
    client.wait_log("shared/map.json is a link in a directory that everyone can write to");
    assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    fs::remove_file(&link).unwrap();
    client.finish().assert_exit(0);
    assert_eq!((fs::read_to_string(&target).unwrap(), fs::metadata(&link).unwrap().len()), ("kept".to_owned(), 13));
}

#[test]
fn a_failed_write_is_logged_once_and_retried() {
    let fixture = Fixture::new(Duration::from_millis(20));
    let client = fixture.client(&["--write", "later/map.json", "-n", "1"]);
    client.wait_log("later/map.json stays unchanged: cannot write later/map.json");
    delay(Duration::from_millis(200));
    fs::create_dir(fixture.path("later")).unwrap();
    let client = client.finish();
    client.assert_exit(0);
    assert_eq!(client.stderr.matches("stays unchanged").count(), 1, "{}", client.stderr);
    fixture.wait_text("later/map.json", "{\n  \"n\": 0\n}\n");
}

#[test]
fn entries_that_are_not_variables_are_skipped_and_named() {
    let fixture = Fixture::new(INTERVAL);
    let entries = [("a-b", "1"), ("ok", "x y"), ("UID", "0"), ("bad", "\u{fffe}")];
    fixture.server.feed.publish(&entries.map(|(key, value)| (key.into(), value.into())).into()).unwrap();
    let client = fixture.client(&["--write", ".env", "-n", "1"]).finish();
    client.assert_exit(0).assert_stderr(
        "skipped in .env, because shells or systemd would not read it back as a string: \"UID\", \"a-b\", \"bad\"",
    );
    assert_eq!(fs::read_to_string(fixture.path(".env")).unwrap(), "ok=\"x y\"\n");
}

#[test]
fn a_key_selects_the_written_entries() {
    let fixture = Fixture::new(INTERVAL);
    fixture.server.feed.publish(&Map::from([("a".into(), 1.into()), ("b".into(), 2.into())])).unwrap();
    fixture.client(&["--write", "map.toml", "-k", "b", "-n", "1"]).finish().assert_exit(0);
    assert_eq!(fs::read_to_string(fixture.path("map.toml")).unwrap(), "b = 2\n");
    fixture.client(&["--write", "map.toml", "-k", "c"]).finish().assert_exit(5);
}

/// A map that shows whether it is complete: 200 entries with the same number, some 30 KB.
fn woven(number: i64) -> Map {
    (0..200).map(|entry| (format!("{entry:0100}").into(), Value::Int(number))).collect()
}

/// Returns the number in a written map, or `None` if there is no file yet.
///
/// # Panics
/// If the file is torn.
#[track_caller]
fn woven_number(path: &Path) -> Option<i64> {
    let text = fs::read_to_string(path).ok()?;
    let map: std::collections::BTreeMap<String, i64> = serde_json::from_str(&text).expect("a whole file");
    assert_eq!(map.len(), 200);
    let numbers: std::collections::BTreeSet<i64> = map.into_values().collect();
    assert_eq!(numbers.len(), 1, "two maps in one file: {numbers:?}");
    numbers.first().copied()
}

#[test]
fn a_client_killed_while_it_writes_leaves_no_torn_file() {
    let fixture = Fixture::new(INTERVAL);
    fixture.server.feed.publish(&woven(0)).unwrap();
    let (feed, done) = (Arc::clone(&fixture.server.feed), Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&done);
    let publish = move || {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            feed.publish(&woven(number)).unwrap();
            pause();
        }
    };
    let publisher = thread::Builder::new().spawn(publish).unwrap();
    let path = fixture.path("map.json");
    let mut seen = 0;
    for round in 0..40 {
        let mut client = fixture.client(&["-qq", "--write", "map.json"]);
        let first = woven_number(&path);
        eventually("another file", || woven_number(&path) != first);
        // Waits a varying number of checks, so that the client is killed at another point of a write each time.
        for _ in 0..round % 8 {
            assert!(woven_number(&path).is_some());
        }
        client.signal(Signal::KILL);
        client.exit_code();
        let number = woven_number(&path).expect("a file");
        assert!(number >= seen, "an older map over a newer one");
        seen = number;
    }
    done.store(true, Ordering::Relaxed);
    publisher.join().unwrap();
}

#[test]
fn a_changed_template_is_read_again_if_it_is_valid() {
    let fixture = Fixture::new(Duration::from_millis(20));
    fs::write(fixture.path("template"), "one {{n}}").unwrap();
    let client = fixture.client(&["--write", "out", "--template", "template"]);
    fixture.wait_text("out", "one 0");
    fs::write(fixture.path("template"), "two {{n}}").unwrap();
    fixture.wait_text("out", "two 0");
    fs::write(fixture.path("template"), "").unwrap();
    client.wait_log("the template template: is empty; keeping the previous template");
    fs::write(fixture.path("template"), "three {{n").unwrap();
    client.wait_log("the template template: line 1: a {{ has no }}");
    fixture.publish(1);
    fixture.wait_text("out", "two 1");
    fs::remove_file(fixture.path("template")).unwrap();
    client.wait_log(
        "the template template: cannot be read: No such file or directory (os error 2); keeping the previous template",
    );
    fs::write(fixture.path("template"), "four {{n}}").unwrap();
    fixture.wait_text("out", "four 1");
}

#[test]
fn a_template_that_is_not_a_regular_file_is_rejected() {
    let fixture = Fixture::new(INTERVAL);
    let fifo = fixture.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for template in ["fifo", "."] {
        let client = fixture.client(&["--write", "out", "--template", template, "-W", "1m"]).finish();
        client.assert_exit(2).assert_stderr("not a regular file");
    }
    fixture
        .client(&["--write", "out", "--template", "missing"])
        .finish()
        .assert_exit(2)
        .assert_stderr("the template missing");
}

#[test]
fn a_mount_point_is_rejected_at_the_start() {
    if !rustix::process::geteuid().is_root() || !crate::support::has_command("unshare") {
        return crate::support::skip("not root, or no unshare");
    }
    let fixture = Fixture::new(INTERVAL);
    for name in ["from", "map.json"] {
        fs::write(fixture.path(name), "{}").unwrap();
    }
    std::os::unix::fs::symlink("map.json", fixture.path("link.json")).unwrap();
    let address = fixture.server.running.addr.to_string();
    for name in ["map.json", "link.json"] {
        let mut command = clean("unshare");
        let script = format!("mount --bind from map.json && exec {CLIENT} -f json -n 1 --write {name} {address}");
        command.args(["--mount", "sh", "-c", &script]).current_dir(&fixture.directory);
        run(command).assert_exit(2).assert_stderr("map.json is a mount point; mount its directory instead");
    }
}

#[test]
fn an_unwritable_directory_is_logged_at_the_start() {
    if !rustix::process::geteuid().is_root() {
        return crate::support::skip("not root, so no client is another user");
    }
    let fixture = Fixture::new(Duration::from_millis(20));
    fs::set_permissions(&fixture.directory, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(fixture.path("theirs")).unwrap();
    fs::copy(CLIENT, fixture.path("mapcast-client")).unwrap();
    let mut client = clean(fixture.path("mapcast-client").to_str().unwrap());
    client.current_dir(&fixture.directory).uid(54_325).gid(54_325);
    client.args(["-f", "json", "-n", "1", "--write", "theirs/map.json", &fixture.server.running.addr.to_string()]);
    let client = crate::support::program::Program::start(client);
    client.wait_log("theirs/map.json cannot be written yet: cannot create a file in theirs: Permission denied");
    client.wait_log("theirs/map.json stays unchanged: cannot write theirs/map.json: cannot create a file in theirs: ");
    std::os::unix::fs::chown(fixture.path("theirs"), Some(54_325), None).unwrap();
    client.finish().assert_exit(0);
    fixture.wait_text("theirs/map.json", "{\n  \"n\": 0\n}\n");
}
