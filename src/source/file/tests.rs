use super::*;
use crate::feed::Feed;
use crate::format::Format;
use crate::map::{Key, Map, Value};
use crate::source::tests::StopOnDrop;
use log::Level;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Instant;
use tempfile::TempDir;

/// A directory with a source file, and a feed in JSON for maps of up to 100 KiB.
struct Fixture {
    dir: TempDir,
    sink: Sink,
    stop: Shutdown,
}

impl Fixture {
    fn new() -> Self {
        let feed = Arc::new(Feed::new(Format::Json, 100 * 1024));
        Self { dir: TempDir::new().unwrap(), sink: Sink::new(feed, vec![]), stop: Shutdown::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces the file atomically.
    fn replace(&self, name: &str, text: &str) {
        self.write("new", text);
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// Returns a source that has published the first map.
    fn loaded(&self, name: &str, text: &str) -> File {
        self.write(name, text);
        self.load(name)
    }

    fn load(&self, name: &str) -> File {
        let mut file = File::json(self.path(name));
        file.load(&self.sink, &self.stop).unwrap();
        file
    }

    /// Returns the notice of the next poll, without the directory.
    fn poll(&self, file: &mut File) -> Option<(Level, String)> {
        let notice = file.poll_and_report(&self.sink, &self.stop)?;
        Some((notice.level, notice.text.replace(&format!("{}/", self.dir.path().display()), "")))
    }

    fn payload(&self) -> String {
        let latest = self.sink.feed().latest().expect("a map");
        String::from_utf8(latest.frame.payload().to_vec()).unwrap()
    }
}

fn info(text: &str) -> (Level, String) {
    (Level::Info, text.to_owned())
}

#[test]
fn load_publishes_the_first_map() {
    let fixture = Fixture::new();
    fixture.loaded("flags.json", r#"{"a": 1}"#);
    assert_eq!(fixture.payload(), r#"{"a":1}"#);
    assert_eq!(fixture.sink.feed().version(), 1);
}

#[test]
fn load_returns_an_error_for_a_missing_or_invalid_file() {
    let fixture = Fixture::new();
    fixture.write("half.json", r#"{"a": "#);
    for (name, wanted) in [("missing.json", "missing.json: cannot be read"), ("half.json", "as a JSON object")] {
        let error = File::json(fixture.path(name)).load(&fixture.sink, &fixture.stop).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
    assert!(fixture.sink.feed().latest().is_none());
}

#[test]
fn each_change_is_logged_once_and_an_unchanged_file_never() {
    let fixture = Fixture::new();
    let mut file = fixture.loaded("flags.json", r#"{"a": 1}"#);
    assert_eq!(fixture.poll(&mut file), None);
    fixture.write("flags.json", r#"{"a": 2, "b": 3}"#);
    assert_eq!(fixture.poll(&mut file), Some(info("flags.json: 2 entries, version 2")));
    assert_eq!(fixture.poll(&mut file), None);
    fixture.write("flags.json", r#"{"b": 3,   "a": 2}"#);
    assert_eq!(fixture.poll(&mut file), None, "the same map in another notation");
}

#[test]
fn a_toml_file_is_read() {
    let fixture = Fixture::new();
    fixture.write("flags.toml", "[on]\nday = 2026-11-22\n");
    File::toml(fixture.path("flags.toml")).load(&fixture.sink, &fixture.stop).unwrap();
    assert_eq!(fixture.payload(), r#"{"on":{"day":"2026-11-22"}}"#);
}

#[test]
fn every_replacement_of_a_file_is_detected() {
    let fixture = Fixture::new();
    for dir in ["v1", "v2"] {
        fs::create_dir(fixture.path(dir)).unwrap();
        fixture.write(&format!("{dir}/flags.json"), &format!(r#"{{"dir": "{dir}"}}"#));
    }
    // As Kubernetes mounts a ConfigMap: the path contains a symlink to a directory, which is swapped.
    symlink("v1", fixture.path("data")).unwrap();
    symlink("data/flags.json", fixture.path("flags.json")).unwrap();
    let mut file = fixture.load("flags.json");
    symlink("v2", fixture.path("new")).unwrap();
    fs::rename(fixture.path("new"), fixture.path("data")).unwrap();
    assert!(fixture.poll(&mut file).is_some());
    assert_eq!(fixture.payload(), r#"{"dir":"v2"}"#);
    symlink("v1/flags.json", fixture.path("new")).unwrap();
    fs::rename(fixture.path("new"), fixture.path("flags.json")).unwrap();
    assert!(fixture.poll(&mut file).is_some());
    assert_eq!(fixture.payload(), r#"{"dir":"v1"}"#);
    fixture.replace("flags.json", r#"{"dir": "no"}"#);
    assert!(fixture.poll(&mut file).is_some());
    assert_eq!(fixture.payload(), r#"{"dir":"no"}"#);
}

type Damage = Box<dyn Fn(&Path)>;

#[test]
fn each_file_error_is_logged_once_and_the_last_good_map_stays() {
    let large = format!(r#"{{"a": "{}"}}"#, "x".repeat(100 * 1024));
    let write = |text: &'static str| move |path: &Path| fs::write(path, text).unwrap();
    let damages: [(&str, Damage); 10] = [
        ("cannot be read: No such file", Box::new(|_| {})),
        ("line 1, column 6: unexpected end", Box::new(write(r#"{"a": "#))),
        ("line 1: the text is empty", Box::new(write(""))),
        ("line 1, column 8: a string is not UTF-8", Box::new(|path| fs::write(path, b"{\"a\": \"\xff\"}").unwrap())),
        ("expected an object in braces", Box::new(write("[1]"))),
        ("cannot be sent: the map takes 102408 bytes", Box::new(move |path| fs::write(path, &large).unwrap())),
        (
            "above the limit of 1638400 bytes",
            Box::new(|path| fs::File::create(path).unwrap().set_len(1 << 26).unwrap()),
        ),
        ("cannot be read: it is a directory, not a regular file", Box::new(|path| fs::create_dir(path).unwrap())),
        ("cannot be read: it is a FIFO, not a regular file", Box::new(mkfifo)),
        ("cannot be read: Too many levels", Box::new(|path| symlink(path, path).unwrap())),
    ];
    let fixture = Fixture::new();
    let path = fixture.path("flags.json");
    let mut file = fixture.loaded("flags.json", r#"{"a": 1}"#);
    for (wanted, damage) in damages {
        fs::remove_file(&path).unwrap();
        damage(&path);
        let (level, text) = fixture.poll(&mut file).expect(wanted);
        assert_eq!(level, Level::Warn);
        assert!(text.starts_with("flags.json: ") && text.contains(wanted), "{wanted}: {text}");
        assert!(text.ends_with("; the last good map stays"), "{text}");
        for _ in 0..3 {
            assert_eq!(fixture.poll(&mut file), None, "{wanted}");
        }
        assert_eq!((fixture.payload(), fixture.sink.feed().version()), (r#"{"a":1}"#.to_owned(), 1), "{wanted}");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).ok();
        fixture.write("flags.json", r#"{"a": 1}"#);
        assert_eq!(fixture.poll(&mut file), Some(info("flags.json: good again, 1 entry, version 1")), "{wanted}");
        assert_eq!(fixture.poll(&mut file), None, "{wanted}");
    }
}

fn mkfifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Drops the calling thread's capability to read every file, until this is dropped.
struct WithoutReadCapability(CapabilitySets);

impl WithoutReadCapability {
    fn new() -> Self {
        let before = capabilities(None).unwrap();
        let rights = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, CapabilitySets { effective: before.effective - rights, ..before }).unwrap();
        Self(before)
    }
}

impl Drop for WithoutReadCapability {
    fn drop(&mut self) {
        set_capabilities(None, self.0).unwrap();
    }
}

#[test]
fn a_file_without_read_permission_is_logged_and_retried() {
    let fixture = Fixture::new();
    let mut file = fixture.loaded("flags.json", r#"{"a": 1}"#);
    let allow = |mode| fs::set_permissions(fixture.path("flags.json"), fs::Permissions::from_mode(mode)).unwrap();
    allow(0o000);
    let _guard = WithoutReadCapability::new();
    assert!(fixture.poll(&mut file).unwrap().1.contains("cannot be read: Permission denied"));
    allow(0o600);
    assert_eq!(fixture.poll(&mut file), Some(info("flags.json: good again, 1 entry, version 1")));
}

#[test]
fn an_invalid_file_saved_with_new_content_is_logged_again() {
    let fixture = Fixture::new();
    let mut file = fixture.loaded("flags.json", r#"{"a": 1}"#);
    fixture.write("flags.json", r#"{"a": 1 "b": 2}"#);
    let first = fixture.poll(&mut file);
    fixture.write("flags.json", r#"{"a": 1 "b": 2}"#);
    assert_eq!(fixture.poll(&mut file), None, "the same bytes are the same problem");
    fixture.write("flags.json", r#"{"a": 1 "b": 3}"#);
    assert_eq!(fixture.poll(&mut file), first);
    assert!(first.is_some());
}

#[test]
fn a_recently_changed_file_is_read_again_despite_an_equal_stamp() {
    let fixture = Fixture::new();
    let mut young = fixture.loaded("flags.json", r#"{"a": 1}"#);
    assert!(young.read_changed(1000, &fixture.stop).unwrap().is_some());
    assert!(young.poll(&fixture.sink, &fixture.stop).unwrap().is_none(), "read, and found to be the same");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut old = File::toml(manifest);
    assert!(old.read_changed(1 << 20, &fixture.stop).unwrap().is_some());
    assert!(old.read_changed(1 << 20, &fixture.stop).unwrap().is_none());
}

#[test]
fn a_change_with_an_equal_stamp_is_found_when_trust_expires() {
    let fixture = Fixture::new();
    let mut file = fixture.loaded("flags.json", r#"{"a": 1}"#);
    fixture.write("flags.json", r#"{"a": 2}"#);
    // As after a write through a memory mapping, which may not change the stamp.
    let stamp = file.stamp(&file.open().unwrap()).unwrap();
    file.seen = Some((stamp, Instant::now()));
    assert_eq!(fixture.poll(&mut file), None);
    file.trust = Duration::ZERO;
    assert_eq!(fixture.poll(&mut file), Some(info("flags.json: 1 entry, version 2")));
}

#[test]
fn a_file_that_changes_during_a_read_is_not_used() {
    let fixture = Fixture::new();
    let source = fixture.loaded("flags.json", r#"{"a": 1}"#);
    let mut file = source.open().unwrap();
    let before = source.stamp(&file).unwrap();
    fixture.write("flags.json", r#"{"a": 2}"#);
    assert_eq!(source.read_whole(&mut file, before).unwrap(), None);
    let before = source.stamp(&file).unwrap();
    assert_eq!(source.read_whole(&mut file, before).unwrap().unwrap(), br#"{"a": 2}"#);
}

#[test]
fn a_reset_modification_time_does_not_hide_a_change() {
    let fixture = Fixture::new();
    let mut file = fixture.loaded("flags.json", r#"{"a": 1}"#);
    let modified = fs::metadata(fixture.path("flags.json")).unwrap().modified().unwrap();
    let seen = file.stamp(&file.open().unwrap()).unwrap();
    fixture.write("flags.json", r#"{"a": 2}"#);
    fs::File::options().write(true).open(fixture.path("flags.json")).unwrap().set_modified(modified).unwrap();
    file.seen = Some((seen, Instant::now()));
    assert!(fixture.poll(&mut file).is_some());
}

#[test]
fn a_file_name_is_escaped_in_an_error() {
    let fixture = Fixture::new();
    let error = File::json(fixture.path("\x1b[2J\n.json")).load(&fixture.sink, &fixture.stop).unwrap_err();
    assert!(error.to_string().contains("/\\u{1b}[2J\\n.json: "), "{error}");
}

#[test]
fn a_stop_ends_the_wait_for_an_unchanged_file() {
    let fixture = Fixture::new();
    fixture.write("flags.json", r#"{"a": 1}"#);
    fixture.stop.trigger();
    File::json(fixture.path("flags.json")).load(&fixture.sink, &fixture.stop).unwrap();
    assert!(fixture.sink.feed().latest().is_none());
}

#[test]
fn a_stop_ends_follow_at_once() {
    let fixture = Fixture::new();
    let mut file = fixture.loaded("flags.json", r#"{"a": 1}"#);
    file.period = Duration::from_hours(1);
    thread::scope(|scope| {
        let follower = scope.spawn(|| file.follow(&fixture.sink, &fixture.stop));
        fixture.stop.trigger();
        follower.join().unwrap();
    });
}

/// Returns a signed map of 64 KiB, so that a write of it can be interrupted. Every number below 10^10 has the same length.
fn signed(number: u64) -> String {
    let text = format!("{number:010}").repeat(6400);
    format!(r#"{{"text": "{text}", "number": {number:11}, "signature": {:10}}}"#, signature(&text))
}

/// Returns an FNV-1a hash, which changes with every digit.
fn signature(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Returns the number in the map, or `None` if its signature is wrong.
fn check(map: &Map) -> Option<i64> {
    let (Value::Text(text), Value::Int(number)) = (&map[&Key::from("text")], &map[&Key::from("number")]) else {
        panic!("another map");
    };
    (map[&Key::from("signature")] == Value::Int(signature(text).into())).then_some(*number)
}

/// Follows the file while `write_one` writes the numbers 1, 2, 3 ..., one per millisecond, with a pause after every 100, until
/// it has written 2,000 and at least `wanted` maps are published. Checks their order, and that the last number is published.
/// Returns the number of torn maps, and the number of writes that took at least `QUIET`.
fn follow_a_writer(
    fixture: &Fixture,
    mut file: File,
    wanted: u64,
    mut write_one: impl FnMut(u64) + Send,
) -> (u64, u64) {
    const WRITES: u64 = 2000;
    let (end, mut torn, mut interrupted) = (AtomicI64::new(i64::MAX), 0, 0);
    file.period = Duration::from_millis(1);
    let (feed, stop) = (fixture.sink.feed(), &fixture.stop);
    thread::scope(|scope| {
        let _stop = StopOnDrop(stop);
        scope.spawn(|| file.follow(&fixture.sink, stop));
        scope.spawn(|| {
            let (started, mut number) = (Instant::now(), 0);
            while !stop.is_triggered() && (number < WRITES || feed.version() < wanted) {
                number += 1;
                let due = started + Duration::from_millis(number);
                stop.wait(due.saturating_duration_since(Instant::now()));
                let began = Instant::now();
                write_one(number);
                interrupted += u64::from(began.elapsed() >= QUIET);
                if number % 100 == 0 {
                    stop.wait(QUIET * 3);
                }
            }
            end.store(number.try_into().unwrap(), Ordering::SeqCst);
        });
        let (mut version, mut last, deadline) = (0, 0, Instant::now() + Duration::from_mins(2));
        while last < end.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "version {version} has {last} of {}", end.load(Ordering::SeqCst));
            let Some(snapshot) = feed.wait(version, Duration::from_millis(10)) else { continue };
            version = snapshot.version;
            let Some(number) = check(&Format::Json.decode_map(snapshot.frame.payload()).unwrap()) else {
                torn += 1;
                continue;
            };
            assert!(number >= last, "{number} after {last}");
            last = number;
        }
    });
    (torn, interrupted)
}

#[test]
fn a_thousand_renames_a_second_tear_no_map() {
    let fixture = Fixture::new();
    let file = fixture.loaded("flags.json", &signed(0));
    let (torn, _) = follow_a_writer(&fixture, file, 10, |number| fixture.replace("flags.json", &signed(number)));
    assert_eq!(torn, 0);
}

#[test]
fn a_thousand_symlink_swaps_a_second_tear_no_map() {
    let fixture = Fixture::new();
    fixture.write("even.json", &signed(0));
    symlink("even.json", fixture.path("flags.json")).unwrap();
    let file = fixture.load("flags.json");
    let (torn, _) = follow_a_writer(&fixture, file, 2, |number| {
        // A new file: otherwise a reader of the old target would see this number before the swap.
        let target = if number % 2 == 0 { "even.json" } else { "odd.json" };
        fixture.replace(target, &signed(number));
        symlink(target, fixture.path("new")).unwrap();
        fs::rename(fixture.path("new"), fixture.path("flags.json")).unwrap();
    });
    assert_eq!(torn, 0);
}

#[test]
fn a_thousand_writes_in_place_a_second_tear_no_map() {
    let fixture = Fixture::new();
    let file = fixture.loaded("flags.json", &signed(0));
    let open = fs::File::options().write(true).open(fixture.path("flags.json")).unwrap();
    let (torn, interrupted) = follow_a_writer(&fixture, file, 3, |number| {
        // Half of the writes truncate the file first, the others keep its length.
        match number % 2 {
            0 => fixture.write("flags.json", &signed(number)),
            _ => open.write_all_at(signed(number).as_bytes(), 0).unwrap(),
        }
    });
    // A write that the scheduler interrupts for that long looks complete.
    assert!(torn <= interrupted, "{torn} torn maps, {interrupted} interrupted writes");
}

#[test]
fn a_file_that_always_changes_is_logged_and_not_read() {
    let fixture = Fixture::new();
    let mut file = fixture.loaded("flags.json", r#"{"a": 1}"#);
    let open = fs::File::options().write(true).open(fixture.path("flags.json")).unwrap();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&fixture.stop);
        scope.spawn(|| {
            while !fixture.stop.wait(Duration::from_millis(1)) {
                open.write_all_at(br#"{"a": 2}"#, 0).unwrap();
            }
        });
        let deadline = Instant::now() + Duration::from_mins(1);
        let text = loop {
            match file.poll_and_report(&fixture.sink, &Shutdown::new().unwrap()) {
                Some(notice) if notice.level == Level::Warn => break notice.text,
                _ => assert!(Instant::now() < deadline, "no warning"),
            }
        };
        assert!(text.contains("rename it over this one"), "{text}");
    });
}
