//! `--write`: files that are whole, whatever happens.

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

use super::peer::pace;
use super::place::Place;
use crate::support::program::{CLIENT, clean, run};
use crate::support::server::numbered;
use crate::support::{eventually, pause};

/// Seldom: what is written is a change.
const INTERVAL: Duration = Duration::from_mins(1);

#[test]
fn every_change_is_in_the_file_and_nothing_is_printed() {
    let place = Place::new(INTERVAL);
    let client = place.client(&["--write", "map.json"]);
    place.wait_text("map.json", "{\n  \"n\": 0\n}\n");
    place.server.feed.publish(&numbered(1)).unwrap();
    place.wait_text("map.json", "{\n  \"n\": 1\n}\n");
    client.signal(Signal::TERM);
    client.finish().assert_exit(0).assert_stdout("").assert_stderr("map.json: written, 13 bytes");
}

#[test]
fn the_format_is_that_of_the_suffix_or_the_one_that_is_named() {
    let place = Place::new(INTERVAL);
    for (args, text) in [
        (&["--write", "a.toml"][..], "n = 0\n"),
        (&["--write", "a.env"], "n=0\n"),
        (&["--write", "a.conf", "--write-format", "toml"], "n = 0\n"),
    ] {
        place.client(&[args, &["-n", "1"]].concat()).finish().assert_exit(0);
        assert_eq!(fs::read_to_string(place.path(args[1])).unwrap(), text);
    }
}

#[test]
fn a_template_is_filled_and_a_missing_entry_leaves_the_file_and_is_said_once() {
    let place = Place::new(Duration::from_millis(20));
    fs::write(place.path("template"), "n is {{n}}{{\"{{\"}}").unwrap();
    let client = place.client(&["--write", "out", "--template", "template"]);
    place.wait_text("out", "n is 0{{");
    place.server.feed.publish(&Map::from([("m".into(), 1.into())])).unwrap();
    let line = client.wait_log("stays as it is");
    assert!(line.contains("line 1 names the entry \"n\", which the map does not have"), "{line}");
    assert_eq!(fs::read_to_string(place.path("out")).unwrap(), "n is 0{{");
    pace(Duration::from_millis(200));
    place.server.feed.publish(&numbered(2)).unwrap();
    client.wait_log("can be written again");
    place.wait_text("out", "n is 2{{");
    let complaints = client.log().iter().filter(|line| line.contains("stays as it is")).count();
    assert_eq!(complaints, 1, "{:?}", client.log());
}

#[test]
fn the_same_bytes_are_not_written_again_and_others_are_put_right() {
    let place = Place::new(Duration::from_millis(20));
    place.client(&["--write", "map.json", "-n", "1"]).finish().assert_exit(0);
    let before = fs::metadata(place.path("map.json")).unwrap();
    place.client(&["--write", "map.json", "-n", "5"]).finish().assert_exit(0);
    let after = fs::metadata(place.path("map.json")).unwrap();
    assert_eq!((before.ino(), before.mtime(), before.mtime_nsec()), (after.ino(), after.mtime(), after.mtime_nsec()));
    let _client = place.client(&["--write", "map.json"]);
    fs::write(place.path("map.json"), "edited").unwrap();
    place.wait_text("map.json", "{\n  \"n\": 0\n}\n");
}

#[test]
fn the_mode_is_kept_or_set_and_a_new_file_has_the_umask() {
    let place = Place::new(INTERVAL);
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().mode() & 0o7777;
    fs::write(place.path("kept.json"), "").unwrap();
    fs::set_permissions(place.path("kept.json"), fs::Permissions::from_mode(0o604)).unwrap();
    place.client(&["--write", "kept.json", "-n", "1"]).finish().assert_exit(0);
    assert_eq!(mode("kept.json"), 0o604);
    place.client(&["--write", "set.json", "--mode", "0640", "-n", "1"]).finish().assert_exit(0);
    assert_eq!(mode("set.json"), 0o640);
    place.client(&["--write", "new.json", "-n", "1"]).finish().assert_exit(0);
    fs::write(place.path("usual"), "").unwrap();
    assert_eq!(mode("new.json"), mode("usual"));
}

#[test]
fn the_owner_is_kept_where_root_writes() {
    let place = Place::new(INTERVAL);
    let path = place.path("map.json");
    fs::write(&path, "").unwrap();
    if std::os::unix::fs::chown(&path, Some(12345), Some(54321)).is_err() {
        return crate::support::skip("not root, so no file has another owner");
    }
    place.client(&["--write", "map.json", "-n", "1"]).finish().assert_exit(0);
    let written = fs::metadata(&path).unwrap();
    assert_eq!((written.uid(), written.gid(), written.len()), (12345, 54321, 13));
}

#[test]
fn nobody_else_may_read_a_file_whose_owner_and_group_cannot_be_kept() {
    if !rustix::process::geteuid().is_root() {
        return crate::support::skip("not root, so no client is another user");
    }
    let place = Place::new(INTERVAL);
    // A user whom nobody else is, with a folder and a program of their own to run.
    let user = 54_324;
    std::os::unix::fs::chown(&place.folder, Some(user), Some(user)).unwrap();
    fs::copy(CLIENT, place.path("mapcast-client")).unwrap();
    for (before, after) in [(0o640, 0o600), (0o644, 0o644), (0o4664, 0o644), (0o2755, 0o755)] {
        let path = place.path("map.json");
        fs::write(&path, "").unwrap();
        std::os::unix::fs::chown(&path, Some(0), Some(42)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
        let mut client = clean(place.path("mapcast-client").to_str().unwrap());
        client.current_dir(&place.folder).uid(user).gid(user);
        client.args(["-f", "json", "-n", "1", "--write", "map.json", &place.server.running.addr.to_string()]);
        run(client).assert_exit(0);
        let written = fs::metadata(&path).unwrap();
        assert_eq!((written.uid(), written.gid(), written.len()), (user, user, 13));
        assert_eq!(written.mode() & 0o7777, after, "{:o} before, {before:o} wanted", written.mode());
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_link_that_somebody_else_has_put_into_a_shared_folder_is_not_followed() {
    let place = Place::new(Duration::from_millis(20));
    let (shared, target) = (place.path("shared"), place.path("target"));
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(&target, "kept").unwrap();
    let link = shared.join("map.json");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    if std::os::unix::fs::lchown(&link, Some(54_324), None).is_err() {
        return crate::support::skip("not root, so no link has another owner");
    }
    let client = place.client(&["--write", "shared/map.json", "-n", "1"]);
    client.wait_log("shared/map.json is a link in a directory that everyone can write to");
    assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    fs::remove_file(&link).unwrap();
    client.finish().assert_exit(0);
    assert_eq!((fs::read_to_string(&target).unwrap(), fs::metadata(&link).unwrap().len()), ("kept".to_owned(), 13));
}

#[test]
fn what_cannot_be_written_is_said_once_and_written_as_soon_as_it_can_be() {
    let place = Place::new(Duration::from_millis(20));
    let client = place.client(&["--write", "later/map.json", "-n", "1"]);
    client.wait_log("later/map.json stays as it is: cannot write later/map.json");
    pace(Duration::from_millis(200));
    fs::create_dir(place.path("later")).unwrap();
    let client = client.finish();
    client.assert_exit(0);
    assert_eq!(client.stderr.matches("stays as it is").count(), 1, "{}", client.stderr);
    place.wait_text("later/map.json", "{\n  \"n\": 0\n}\n");
}

#[test]
fn variables_that_are_none_are_left_out_and_named() {
    let place = Place::new(INTERVAL);
    let entries = [("a-b", "1"), ("ok", "x y"), ("UID", "0"), ("bad", "\u{fffe}")];
    place.server.feed.publish(&entries.map(|(key, value)| (key.into(), value.into())).into()).unwrap();
    let client = place.client(&["--write", ".env", "-n", "1"]).finish();
    client.assert_exit(0).assert_stderr(
        "skipped in .env, because shells or systemd do not read them back as text: \"UID\", \"a-b\", \"bad\"",
    );
    assert_eq!(fs::read_to_string(place.path(".env")).unwrap(), "ok=\"x y\"\n");
}

#[test]
fn a_key_narrows_what_is_written() {
    let place = Place::new(INTERVAL);
    place.server.feed.publish(&Map::from([("a".into(), 1.into()), ("b".into(), 2.into())])).unwrap();
    place.client(&["--write", "map.toml", "-k", "b", "-n", "1"]).finish().assert_exit(0);
    assert_eq!(fs::read_to_string(place.path("map.toml")).unwrap(), "b = 2\n");
    place.client(&["--write", "map.toml", "-k", "c"]).finish().assert_exit(5);
}

/// A map that shows whether it is whole: 200 entries of the same number, some 30 KB.
fn woven(number: i64) -> Map {
    (0..200).map(|entry| (format!("{entry:0100}").into(), Value::Int(number))).collect()
}

/// Returns the number of a woven map's file, or `None` if there is none yet.
///
/// # Panics
/// If it is torn.
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
fn a_client_that_is_killed_in_the_middle_never_leaves_a_torn_file() {
    let place = Place::new(INTERVAL);
    place.server.feed.publish(&woven(0)).unwrap();
    let (feed, done) = (Arc::clone(&place.server.feed), Arc::new(AtomicBool::new(false)));
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
    let path = place.path("map.json");
    let mut seen = 0;
    for round in 0..40 {
        let mut client = place.client(&["-qq", "--write", "map.json"]);
        let first = woven_number(&path);
        eventually("another file", || woven_number(&path) != first);
        // A few looks later, so that it is killed at another point of its writing each time.
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
fn a_template_is_read_again_when_it_changes_and_a_bad_one_is_not_used() {
    let place = Place::new(Duration::from_millis(20));
    fs::write(place.path("template"), "one {{n}}").unwrap();
    let client = place.client(&["--write", "out", "--template", "template"]);
    place.wait_text("out", "one 0");
    fs::write(place.path("template"), "two {{n}}").unwrap();
    place.wait_text("out", "two 0");
    // Replaced whole: half of a template may be a template, and would then be the last good one.
    fs::write(place.path("next"), "three {{n").unwrap();
    fs::rename(place.path("next"), place.path("template")).unwrap();
    client.wait_log("the template template: line 1: a {{ has no }}");
    place.publish(1);
    place.wait_text("out", "two 1");
    fs::remove_file(place.path("template")).unwrap();
    client
        .wait_log("the template template: cannot be read: No such file or directory (os error 2); the template before");
    fs::write(place.path("template"), "four {{n}}").unwrap();
    place.wait_text("out", "four 1");
}

#[test]
fn a_template_that_is_no_regular_file_is_refused_at_once() {
    let place = Place::new(INTERVAL);
    let fifo = place.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for template in ["fifo", "."] {
        let client = place.client(&["--write", "out", "--template", template, "-W", "1m"]).finish();
        client.assert_exit(2).assert_stderr("not a regular file");
    }
    place
        .client(&["--write", "out", "--template", "missing"])
        .finish()
        .assert_exit(2)
        .assert_stderr("the template missing");
}

#[test]
fn a_mount_point_is_refused_at_the_start() {
    if !rustix::process::geteuid().is_root() || !crate::support::has_command("unshare") {
        return crate::support::skip("not root, or no unshare");
    }
    let place = Place::new(INTERVAL);
    for name in ["from", "map.json"] {
        fs::write(place.path(name), "{}").unwrap();
    }
    std::os::unix::fs::symlink("map.json", place.path("link.json")).unwrap();
    let address = place.server.running.addr.to_string();
    for name in ["map.json", "link.json"] {
        let mut command = clean("unshare");
        let script = format!("mount --bind from map.json && exec {CLIENT} -f json -n 1 --write {name} {address}");
        command.args(["--mount", "sh", "-c", &script]).current_dir(&place.folder);
        run(command).assert_exit(2).assert_stderr("map.json is a mount point; mount its directory instead");
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named_at_the_start() {
    if !rustix::process::geteuid().is_root() {
        return crate::support::skip("not root, so no client is another user");
    }
    let place = Place::new(Duration::from_millis(20));
    fs::set_permissions(&place.folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.path("theirs")).unwrap();
    fs::copy(CLIENT, place.path("mapcast-client")).unwrap();
    let mut client = clean(place.path("mapcast-client").to_str().unwrap());
    client.current_dir(&place.folder).uid(54_325).gid(54_325);
    client.args(["-f", "json", "-n", "1", "--write", "theirs/map.json", &place.server.running.addr.to_string()]);
    let client = crate::support::program::Program::start(client);
    client.wait_log("theirs/map.json cannot be written yet: no file can be made in theirs: Permission denied");
    client.wait_log("theirs/map.json stays as it is: cannot write theirs/map.json: no file can be made in theirs: ");
    std::os::unix::fs::chown(place.path("theirs"), Some(54_325), None).unwrap();
    client.finish().assert_exit(0);
    place.wait_text("theirs/map.json", "{\n  \"n\": 0\n}\n");
}
