//! The state file: keeps the last good map across restarts of the server.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::display::escape::escape;
use crate::display::units::format_duration;
use crate::files;
use crate::files::atomic_file::{self, AtomicFile, Replaced};
use crate::format::{self, Format};
use crate::frame::{self, Frame, FrameReader};
use crate::map::{self, Map};
use crate::platform::{self, FileId};
use crate::sync::Mutex;

/// Why a map could not be kept, or loaded again. The text is safe to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{name}: the state cannot be read")]
    Unreadable {
        /// The path, escaped.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not contain a map.
    #[error("{name}: the state is not a map; fix it, or move it away to start without one")]
    Invalid {
        /// The path, escaped.
        name: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is longer than any map.
    #[error("{name}: the state is above the limit of {max} bytes")]
    TooLong {
        /// The path, escaped.
        name: String,
        /// The limit in bytes.
        max: u64,
    },
    /// The map cannot be encoded.
    #[error("{name}: the map cannot be kept")]
    Unwritable {
        /// The path, escaped.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file cannot be written: the old one stays.
    #[error("{name}: the state cannot be written")]
    Unkept {
        /// The path, escaped.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The lock file was replaced: another server may have written its map to the state since.
    #[error(
        "{name}: its lock was replaced, so another server may have written its map there; find that server \
         ({}), and restart this one",
        platform::show_users(lock)
    )]
    LockReplaced {
        /// The path, escaped.
        name: String,
        /// The path of the lock, escaped.
        lock: String,
    },
    /// Another process, or this one, has the state open.
    #[error(
        "{name}: another running server keeps its map there; stop that server ({} shows it), or name another file for this \
         one",
        platform::show_users(lock)
    )]
    InUse {
        /// The path, escaped.
        name: String,
        /// The path of the lock, escaped.
        lock: String,
    },
    /// The lock cannot be taken.
    #[error(
        "{lock}: the state cannot be locked; allow this user to write that file, or remove it if no server is running"
    )]
    Unlockable {
        /// The path of the lock, escaped.
        lock: String,
        /// What the system says.
        source: io::Error,
    },
}

/// A file with the last map. Each write creates a new file and renames it, so that the file is always complete.
///
/// A map that was written over HTTP is kept as JSON, which a person can edit, unless JSON would change the map. A map of a
/// source is kept as one frame, a header and bincode: JSON has no integer keys, bytes or NaN, and clients must get the same map
/// while the source is unreachable. Both forms are read.
///
/// The modification time of the file is the time of the map's change, also if it was written later.
///
/// All clones have one owner: `.NAME.lock` beside the file is locked (flock(2)) until the last clone is dropped or the process
/// ends. That file is empty and stays. If it is removed, perhaps with its directory, it is made and locked again before the
/// next write. A process that is killed during a write may leave `.NAME.XXXXXXXX.tmp`, as an [`AtomicFile`] does; the next
/// process that opens the state removes it.
#[derive(Debug, Clone)]
pub struct StateFile(Arc<Opened>);

/// A locked path.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    /// The locked file. The mutex is held during a write, so that a lost lock is replaced once.
    lock: Mutex<File>,
    /// Whether the warning that the directory cannot be synchronized was logged; it is logged once.
    warned_unsynced: AtomicBool,
}

/// How far the clock of a file system may be ahead: 2 s, the resolution of FAT's times, and more than the usual difference to
/// a file server.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// The mode of the state and its lock.
const MODE: u32 = 0o600;

impl StateFile {
    /// Opens and locks the state at `path`, which need not exist yet.
    ///
    /// # Errors
    /// `InUse` if it is open already, `Unlockable` if the lock cannot be taken, `Unkept` if no file can be written beside it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        check_place(&path)?;
        let state =
            Self(Arc::new(Opened { lock: Mutex::new(lock(&path)?), path, warned_unsynced: AtomicBool::new(false) }));
        // Fail now instead of at the first write.
        let tried = atomic_file::remove_abandoned(&state.0.path)
            .and_then(|()| AtomicFile::begin(&state.0.path, MODE).map(drop));
        tried.map_err(|source| state.unkept(source))?;
        Ok(state)
    }

    /// Returns the map that [`open`](Self::open) and [`load`](Self::load) would return, without changing or locking anything:
    /// safe while another server has the state.
    ///
    /// # Errors
    /// As those two, except for the lock.
    pub fn inspect(path: &Path, max_frame: usize) -> Result<Option<Map>, Error> {
        check_place(path)?;
        let writable = platform::can_create_in(atomic_file::directory(path));
        writable.map_err(|error| unkept(path, atomic_file::no_new_file(path, &error)))?;
        load(path, max_frame)
    }

    /// Returns the kept map; `None` if and only if there is no file. In JSON, keys that spell an integer are integer keys, as
    /// when they are written over HTTP.
    ///
    /// # Errors
    /// If the file exists and does not contain a map of at most 16 times `max_frame` bytes.
    pub fn load(&self, max_frame: usize) -> Result<Option<Map>, Error> {
        load(&self.0.path, max_frame)
    }

    /// Returns how long ago the kept map changed: the age of the file. Returns `None` if that is unknown: there is no file, or
    /// its modification time is more than 2 s in the future by the clock of this machine, which is a warning in the log.
    pub fn age(&self) -> Option<Duration> {
        let modified = self.0.path.metadata().and_then(|metadata| metadata.modified()).ok()?;
        let ahead = match modified.elapsed() {
            Ok(age) => return Some(age),
            Err(error) => error.duration(),
        };
        if ahead <= CLOCK_TOLERANCE {
            return Some(Duration::ZERO);
        }
        let (name, ahead) = (self.name(), format_duration(Duration::from_secs(ahead.as_secs())));
        log::warn!(
            "{name}: the age of the map is unknown: the file was changed {ahead} in the future, by the clock of this machine; \
             set the clock, or touch the file"
        );
        None
    }

    /// Writes `map`, which changed at `changed`, as JSON, or as a frame if JSON would change the map. When this returns, every
    /// reader of the file gets the map. It also survives a power loss, unless the directory cannot be synchronized: that is one
    /// warning in the log and no error, since the file has the new map.
    ///
    /// # Errors
    /// `Unwritable`, `Unkept`; the file is as it was.
    pub(crate) fn save(&self, map: &Map, changed: SystemTime) -> Result<(), Error> {
        let json = format::pretty(map).map_err(|source| self.unwritable(source))?;
        if decode(json.as_bytes()).is_ok_and(|read| read == *map) {
            self.replace((json + "\n").as_bytes(), changed)
        } else {
            self.save_exact(map, changed)
        }
    }

    /// As [`save`](Self::save), always as a frame.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub(crate) fn save_exact(&self, map: &Map, changed: SystemTime) -> Result<(), Error> {
        let payload = Format::Bincode.encode_map(map).map_err(|source| self.unwritable(source))?;
        let frame = Frame::new(&payload, usize::MAX).map_err(|source| self.unwritable(source))?;
        self.replace(frame.as_bytes(), changed)
    }

    fn replace(&self, content: &[u8], changed: SystemTime) -> Result<(), Error> {
        self.keep_locked()?;
        self.try_replace(content, changed)
            .map(|replaced| self.warn_unsynced(&replaced))
            .map_err(|source| self.unkept(source))
    }

    fn try_replace(&self, content: &[u8], changed: SystemTime) -> io::Result<Replaced> {
        // A directory that cannot be opened cannot be synchronized: fail before the rename, while the old map stays.
        open_parent(&self.0.path)?;
        let new = AtomicFile::begin(&self.0.path, MODE)?;
        new.file().write_all(content)?;
        // Without it the map seems to have changed when it was written: that is better than losing it.
        let _ = new.file().set_modified(changed);
        new.finish()
    }

    /// Checks that the lock is still the file that other processes would lock. Makes it again if it is missing: no other
    /// process has the state then, because an owner never removes its lock.
    fn keep_locked(&self) -> Result<(), Error> {
        let path = lock_path(&self.0.path);
        let mut held = self.0.lock.lock();
        match (held.metadata(), path.symlink_metadata()) {
            (Ok(ours), Ok(found)) if FileId::of(&ours) == FileId::of(&found) => Ok(()),
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                *held = lock(&self.0.path)?;
                log::warn!("{}: was removed, and is made again", name(&path));
                Ok(())
            }
            (_, Ok(_)) => {
                // `InUse` if another process has it. If not, the state may have changed since.
                drop(lock(&self.0.path)?);
                Err(Error::LockReplaced { name: self.name(), lock: name(&path) })
            }
            (_, Err(source)) => Err(Error::Unlockable { lock: name(&path), source }),
        }
    }

    fn warn_unsynced(&self, replaced: &Replaced) {
        if let Replaced::Unsynced(error) = replaced
            && !self.0.warned_unsynced.swap(true, Ordering::Relaxed)
        {
            let name = self.name();
            log::warn!(
                "{name}: kept, but its directory cannot be synchronized: {error}; a power loss may undo changes"
            );
        }
    }

    fn unwritable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Unwritable { name: self.name(), source: source.into() }
    }

    fn unkept(&self, source: io::Error) -> Error {
        unkept(&self.0.path, source)
    }

    /// Blocks writes until the guard is dropped, like a file system that hangs.
    #[cfg(test)]
    pub(crate) fn hang(&self) -> crate::sync::MutexGuard<'_, File> {
        self.0.lock.lock()
    }

    /// The path, escaped.
    pub fn name(&self) -> String {
        name(&self.0.path)
    }
}

fn name(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

fn unkept(path: &Path, source: io::Error) -> Error {
    Error::Unkept { name: name(path), source }
}

/// Checks that `path` can be replaced, and that its directory can be opened, which synchronizing needs.
fn check_place(path: &Path) -> Result<(), Error> {
    atomic_file::check(path).and_then(|()| open_parent(path)).map(drop).map_err(|source| unkept(path, source))
}

/// Opens the directory of `path`.
fn open_parent(path: &Path) -> io::Result<File> {
    let directory = atomic_file::directory(path);
    files::open_directory(directory)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot open {}: {error}", name(directory))))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut file_name = std::ffi::OsString::from(".");
    file_name.push(path.file_name().unwrap_or_default());
    file_name.push(".lock");
    path.with_file_name(file_name)
}

/// Locks the state at `path` until the returned file is closed. A separate file, because each write replaces the state.
fn lock(path: &Path) -> Result<File, Error> {
    let lock = lock_path(path);
    let unlockable = |source| Error::Unlockable { lock: name(&lock), source };
    let file = platform::open_lock(&lock, MODE).map_err(|source| match lock.symlink_metadata() {
        Ok(_) => unlockable(source),
        Err(_) => unkept(path, atomic_file::no_new_file(path, &source)),
    })?;
    files::check_regular(&file.metadata().map_err(unlockable)?).map_err(unlockable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { name: name(path), lock: name(&lock) }),
        Err(TryLockError::Error(source)) => Err(unlockable(source)),
    }
}

fn load(path: &Path, max_frame: usize) -> Result<Option<Map>, Error> {
    let unreadable = |source| Error::Unreadable { name: name(path), source };
    let file = match files::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let max = format::most_text_len(max_frame);
    let mut content = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > max {
        return Err(Error::TooLong { name: name(path), max });
    }
    let map = decode(&content).map_err(|source| Error::Invalid { name: name(path), source })?;
    Ok(Some(map))
}

/// Decodes a frame, which begins with a digit, or else JSON, which begins with a brace. The errors are about a file: they do
/// not mention a peer or its format.
fn decode(content: &[u8]) -> Result<Map, Box<dyn std::error::Error + Send + Sync>> {
    if !content.first().is_some_and(u8::is_ascii_digit) {
        return Ok(map::number_keys(Format::Json.decode_map(content).map_err(cause)?));
    }
    let mut frames = FrameReader::new(content, content.len());
    let payload = frames.read_frame().map_err(frame_fault)?.unwrap_or_default();
    if !frames.inner().is_empty() {
        return Err("there is more than one frame".into());
    }
    Format::Bincode.decode_map(&payload).map_err(cause)
}

/// Returns the cause of a decoding error, without the words about a payload.
fn cause(error: format::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        format::Error::Decode { source, .. } => source,
        error => error.into(),
    }
}

/// Returns the error for a file with an invalid frame.
fn frame_fault(error: frame::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        frame::Error::BadHeader { reason, .. } => {
            format!("it begins like a frame, with an invalid header: {reason}").into()
        }
        frame::Error::TooLarge { .. } | frame::Error::Truncated { .. } => "its frame is incomplete".into(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
