use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::map::{Key, Value, builtin};
use crate::testing::check_texts;

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

/// Repeats `attempt` while the state is in use, and returns its result. A program that another test starts inherits the lock's
/// descriptor until its exec.
fn once_unused<T>(attempt: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    loop {
        match attempt() {
            Err(Error::InUse { .. }) if std::time::Instant::now() < deadline => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

fn unusual() -> Map {
    Map::from([
        (Key::Int(1), Value::from("a number")),
        (Key::from("1"), "a text".into()),
        ("bytes".into(), Value::Bytes(vec![0, 255])),
        ("infinite".into(), Value::Float(f64::INFINITY)),
        ("nothing".into(), Value::Null),
    ])
}

#[test]
fn a_saved_map_is_loaded_with_its_integer_keys() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateFile::open(directory.path().join("state.json")).unwrap();
    assert_eq!(state.load(100).unwrap(), None);
    state.save(&builtin(), SystemTime::now()).unwrap();
    assert_eq!(state.load(100).unwrap(), Some(builtin()));
    assert_eq!(names(directory.path()), [".state.json.lock", "state.json"]);
    assert!(fs::read_to_string(directory.path().join("state.json")).unwrap().starts_with("{\n  \"1\": \"Hola\""));
    let mode = |name| fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("state.json"), mode(".state.json.lock")], [MODE, MODE]);
}

#[test]
fn an_exact_state_preserves_the_map() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateFile::open(directory.path().join("state")).unwrap();
    for map in [unusual(), builtin(), Map::new()] {
        state.save_exact(&map, SystemTime::now()).unwrap();
        assert_eq!(state.load(100).unwrap(), Some(map));
    }
}

#[test]
fn a_map_that_json_would_change_is_preserved() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateFile::open(directory.path().join("state")).unwrap();
    let mut map = unusual();
    map.remove(&Key::from("1"));
    state.save(&map, SystemTime::now()).unwrap();
    assert_eq!(state.load(100).unwrap(), Some(map));
    state.save(&Map::from([("not".into(), Value::Float(f64::NAN))]), SystemTime::now()).unwrap();
    let read = state.load(100).unwrap().unwrap();
    assert!(matches!(read[&"not".into()], Value::Float(float) if float.is_nan()), "{read:?}");
    let inner = Map::from([("in".into(), Map::from([(Key::Int(1), Value::Null)]).into())]);
    state.save(&inner, SystemTime::now()).unwrap();
    assert_eq!(state.load(100).unwrap(), Some(inner));
}

#[test]
fn an_invalid_state_is_an_error_that_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let frames = ["0         ", "9         abc", "1", "4         Hola", "8         \0\0\0\0\0\0\0\0x"];
    for text in ["", "[]", "{\"a\":1", "{\"a\":\"\x1b\"}"].into_iter().chain(frames) {
        fs::write(&path, text).unwrap();
        let error = StateFile::open(&path).unwrap().load(100).unwrap_err();
        assert!(matches!(&error, Error::Invalid { name, .. } if name.ends_with("state.json")), "{error:?}");
        assert!(matches!(StateFile::inspect(&path, 100), Err(Error::Invalid { .. })));
        let text = crate::display::error_chain::ErrorChain(&error).to_string();
        let words_for_peers = ["--format", "other end", "peer", "stream", "payload", "--max-frame"];
        assert!(!words_for_peers.iter().any(|words| text.contains(words)), "{text}");
    }
    fs::write(&path, vec![b' '; 1 << 21]).unwrap();
    assert!(matches!(StateFile::open(&path).unwrap().load(100), Err(Error::TooLong { max: 1_048_576, .. })));
}

#[test]
fn a_limit_of_any_size_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateFile::open(directory.path().join("state")).unwrap();
    state.save(&builtin(), SystemTime::now()).unwrap();
    for max_frame in [1 << 59, 1 << 60, usize::MAX] {
        assert_eq!(state.load(max_frame).unwrap(), Some(builtin()));
    }
}

#[test]
fn an_unwritable_path_is_an_error_at_startup() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    for path in [PathBuf::from("/nowhere/state.json"), directory.path().to_owned(), directory.path().join("file/state")]
    {
        assert!(matches!(StateFile::open(&path), Err(Error::Unkept { .. })), "{}", path.display());
        assert!(matches!(StateFile::inspect(&path, 100), Err(Error::Unkept { .. })), "{}", path.display());
    }
}

#[test]
fn an_open_state_is_locked_until_its_last_clone_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let first = StateFile::open(&path).unwrap();
    first.save(&builtin(), SystemTime::now()).unwrap();
    let second = first.clone();
    drop(first);
    // The save has replaced the file.
    assert!(matches!(StateFile::open(&path), Err(Error::InUse { .. })));
    drop(second);
    once_unused(|| StateFile::open(&path)).unwrap();
}

#[test]
fn a_removed_lock_is_recreated_before_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let (path, lock) = (inner.join("state"), inner.join(".state.lock"));
    let first = StateFile::open(&path).unwrap();
    fs::remove_file(&lock).unwrap();
    first.save(&builtin(), SystemTime::now()).unwrap();
    assert!(matches!(StateFile::open(&path), Err(Error::InUse { .. })));
    fs::remove_dir_all(&inner).unwrap();
    let saved = first.save(&builtin(), SystemTime::now());
    let Err(Error::Unkept { source, .. }) = saved else { panic!("{saved:?}") };
    assert!(
        source.kind() == io::ErrorKind::NotFound && source.to_string().contains(inner.to_str().unwrap()),
        "{source}"
    );
    fs::create_dir(&inner).unwrap();
    first.save(&builtin(), SystemTime::now()).unwrap();
    assert!(matches!(StateFile::open(&path), Err(Error::InUse { .. })));
    assert_eq!(first.load(1000).unwrap(), Some(builtin()));
}

#[test]
fn a_state_taken_by_a_second_server_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let first = StateFile::open(&path).unwrap();
    fs::remove_file(directory.path().join(".state.lock")).unwrap();
    let second = StateFile::open(&path).unwrap();
    second.save(&builtin(), SystemTime::now()).unwrap();
    assert!(matches!(first.save(&Map::new(), SystemTime::now()), Err(Error::InUse { .. })));
    // The map that the second one has saved stays after its end.
    drop(second);
    assert!(matches!(once_unused(|| first.save(&Map::new(), SystemTime::now())), Err(Error::LockReplaced { .. })));
    assert_eq!(first.load(1000).unwrap(), Some(builtin()));
    assert!(!names(directory.path()).iter().any(|name| name.contains(".tmp")));
}

#[test]
fn a_path_that_cannot_be_a_state_is_refused_at_startup() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut slash = directory.path().join("x").into_os_string();
    slash.push("/");
    for (path, kind) in [
        (fifo.clone(), io::ErrorKind::InvalidInput),
        (fifo.join("state"), io::ErrorKind::NotADirectory),
        (PathBuf::from(slash), io::ErrorKind::InvalidInput),
        (PathBuf::from("/nowhere/state"), io::ErrorKind::NotFound),
    ] {
        for refusal in [StateFile::open(&path).map(drop), StateFile::inspect(&path, 100).map(drop)] {
            let Err(Error::Unkept { source, .. }) = refusal else { panic!("{refusal:?}") };
            assert_eq!(source.kind(), kind, "{source}");
        }
    }
    assert_eq!(names(directory.path()), ["fifo"]);
}

#[test]
fn two_states_in_one_directory_are_independent() {
    let directory = tempfile::tempdir().unwrap();
    let _first = StateFile::open(directory.path().join("one")).unwrap();
    StateFile::open(directory.path().join("two")).unwrap();
}

#[test]
fn an_unusable_lock_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join(".state.lock")).unwrap();
    std::os::unix::fs::symlink("elsewhere", directory.path().join(".linked.lock")).unwrap();
    let error = StateFile::open(directory.path().join("state")).unwrap_err();
    assert!(matches!(&error, Error::Unlockable { lock, .. } if lock.ends_with(".state.lock")), "{error:?}");
    let error = StateFile::open(directory.path().join("linked")).unwrap_err();
    assert!(matches!(error, Error::Unlockable { .. }), "{error}");
    assert_eq!(names(directory.path()), [".linked.lock", ".state.lock"], "no file is created through a symlink");
}

#[test]
fn inspect_reads_a_locked_state_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    assert_eq!(StateFile::inspect(&path, 100).unwrap(), None);
    assert_eq!(names(directory.path()), [""; 0]);
    let state = StateFile::open(&path).unwrap();
    state.save(&builtin(), SystemTime::now()).unwrap();
    let before = fs::metadata(&path).unwrap();
    // A temporary file of a writer, and a file of the user.
    let begun = AtomicFile::begin(&path, MODE).unwrap();
    fs::write(directory.path().join("state.json.new"), "the user's").unwrap();
    let seen = names(directory.path());
    assert_eq!(StateFile::inspect(&path, 100).unwrap(), Some(builtin()));
    assert_eq!(names(directory.path()), seen);
    assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino());
    let _replaced = begun.finish().unwrap();
}

#[test]
fn open_removes_only_temporary_files_of_a_killed_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    fs::write(directory.path().join(".state.json.0123abcd.tmp"), "half a map").unwrap();
    fs::write(directory.path().join("state.json.new"), "the user's").unwrap();
    fs::write(directory.path().join(".state.json.mine.tmp"), "the user's too").unwrap();
    let state = StateFile::open(&path).unwrap();
    state.save(&builtin(), SystemTime::now()).unwrap();
    let names = names(directory.path());
    assert_eq!(names, [".state.json.lock", ".state.json.mine.tmp", "state.json", "state.json.new"]);
    assert_eq!(fs::read(directory.path().join("state.json.new")).unwrap(), b"the user's");
}

#[test]
fn an_unsynchronized_directory_is_logged_once() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateFile::open(directory.path().join("state")).unwrap();
    let unsynced = Replaced::Unsynced(io::ErrorKind::InvalidInput.into());
    state.warn_unsynced(&Replaced::Synced);
    assert!(!state.0.warned_unsynced.load(Ordering::Relaxed));
    state.warn_unsynced(&unsynced);
    assert!(state.0.warned_unsynced.load(Ordering::Relaxed));
}

#[test]
fn every_error_has_its_text() {
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let (name, lock) = (|| "a.json".to_owned(), || ".a.lock".to_owned());
    check_texts!(Error {
        Unreadable { name: name(), source: denied() } => "a.json: the state cannot be read";
        Invalid { name: name(), source: denied().into() } =>
            "a.json: the state is not a map; fix it, or move it away to start without one";
        TooLong { name: name(), max: 20 } => "a.json: the state is above the limit of 20 bytes";
        Unwritable { name: name(), source: denied().into() } => "a.json: the map cannot be kept";
        Unkept { name: name(), source: denied() } => "a.json: the state cannot be written";
        LockReplaced { name: name(), lock: lock() } =>
            "a.json: its lock was replaced, so another server may have written its map there; find that server \
             (`fuser .a.lock`), and restart this one";
        InUse { name: name(), lock: lock() } =>
            "a.json: another running server keeps its map there; stop that server (`fuser .a.lock` shows it), or name \
             another file for this one";
        Unlockable { lock: lock(), source: denied() } =>
            ".a.lock: the state cannot be locked; allow this user to write that file, or remove it if no server is running";
    });
}

#[test]
fn the_age_of_a_file_from_the_future_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateFile::open(directory.path().join("state")).unwrap();
    assert_eq!(state.age(), None, "there is no file");
    state.save(&builtin(), SystemTime::now() - Duration::from_mins(1)).unwrap();
    assert!(state.age() >= Some(Duration::from_mins(1)), "{:?}", state.age());
    let written = File::open(directory.path().join("state")).unwrap();
    written.set_modified(SystemTime::now() + Duration::from_hours(1)).unwrap();
    assert_eq!(state.age(), None);
}
