//! The last good map, in a file that outlives the server.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};

use crate::display::escape::escape;
use crate::files;
use crate::files::atomic_file::{self, AtomicFile, Replaced};
use crate::format::{self, Format};
use crate::frame::{self, Frame, FrameReader};
use crate::map::{self, Map};

/// Why a map could not be kept, or taken up again. The text is safe to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system does not let the file be read.
    #[error("{name}: the state cannot be read")]
    Unreadable {
        /// The path, escaped.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file has no map in it.
    #[error("{name}: the state is no map; mend it, or move it away to begin without one")]
    Invalid {
        /// The path, escaped.
        name: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is longer than any map is.
    #[error("{name}: the state is above the limit of {max} bytes")]
    TooLong {
        /// The path, escaped.
        name: String,
        /// The limit in bytes.
        max: u64,
    },
    /// The map has no form that can be kept.
    #[error("{name}: the map cannot be kept")]
    Unwritable {
        /// The path, escaped.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system does not let the file be written: the old one stays.
    #[error("{name}: the state cannot be written")]
    Unkept {
        /// The path, escaped.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The lock is not the file any more that was locked: another server may have kept its map there meanwhile.
    #[error(
        "{name}: its lock was replaced, so that another server may have kept its map there meanwhile; find out which one \
         (`fuser {lock}`), and restart this one"
    )]
    LockReplaced {
        /// The path, escaped.
        name: String,
        /// The path of the lock, escaped.
        lock: String,
    },
    /// Another process, or this one, has it open to keep maps there.
    #[error(
        "{name}: another server is running that keeps its map there; stop that one (`fuser {lock}` tells which it is), or \
         name another file for this one"
    )]
    InUse {
        /// The path, escaped.
        name: String,
        /// The path of the lock, escaped.
        lock: String,
    },
    /// The system does not let the lock be taken.
    #[error("{lock}: the state cannot be locked; let this user write that file, or remove it if no server is running")]
    Unlockable {
        /// The path of the lock, escaped.
        lock: String,
        /// What the system says.
        source: io::Error,
    },
}

/// A file with the last map. Written beside itself and renamed, so that it is whole at every moment.
///
/// A map that is written over HTTP is kept as JSON, which a person may mend, unless that would make another map of it. A
/// source's is kept as one frame, a header and bincode: JSON has neither numbers for keys nor bytes nor NaN, and the map that
/// clients get while the source is away must be the one that they had. Either is read, whoever wrote it.
///
/// The file's modification time is when the map changed, also if it was written later.
///
/// It is one owner's, with all clones: `.NAME.lock` beside it is locked (flock(2)) until the last of them is dropped or the
/// process has ended, however it does. That file is empty and stays; one that was removed all the same, with its directory
/// perhaps, is made and locked again before the next write. A process that is killed while it writes may leave
/// `.NAME.XXXXXXXX.tmp`, as a [`AtomicFile`] does; the next one that opens the state removes it.
#[derive(Debug, Clone)]
pub struct StateFile(Arc<Opened>);

/// The path, as long as it is locked.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    /// Locked until it is closed. Guards that it is replaced once; held for that, by who writes.
    lock: Mutex<File>,
    /// Whether it was told that the directory cannot be synchronized; it is told once.
    told_unsynced: AtomicBool,
}

/// The mode of the state and its lock.
const MODE: u32 = 0o600;

impl StateFile {
    /// Returns the state at `path`, which need not be there yet.
    ///
    /// # Errors
    /// `InUse` if somebody has it, `Unlockable` if that cannot be found out, `Unkept` if nothing can be written beside it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        check_place(&path)?;
        let state =
            Self(Arc::new(Opened { lock: Mutex::new(lock(&path)?), path, told_unsynced: AtomicBool::new(false) }));
        // Better now than at the first write.
        let tried = atomic_file::remove_abandoned(&state.0.path)
            .and_then(|()| AtomicFile::begin(&state.0.path, MODE).map(drop));
        tried.map_err(|source| state.unkept(source))?;
        Ok(state)
    }

    /// Returns the map that [`open`](Self::open) and [`load`](Self::load) would find, for who only wants to know: nothing on
    /// the disk is changed, nothing is locked, and whoever has the state does not notice.
    ///
    /// # Errors
    /// As those two, but for the lock.
    pub fn inspect(path: &Path, max_frame: usize) -> Result<Option<Map>, Error> {
        check_place(path)?;
        let writable =
            accessat(CWD, atomic_file::directory(path), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
        writable.map_err(|error| unkept(path, atomic_file::no_new_file(path, &error.into())))?;
        load(path, max_frame)
    }

    /// Returns the map that was kept; `None` if and only if there is no such file. In JSON, keys that spell a number are
    /// numbers, as when they were written over HTTP.
    ///
    /// # Errors
    /// If the file is there and has no map of at most 16 times `max_frame` bytes.
    pub fn load(&self, max_frame: usize) -> Result<Option<Map>, Error> {
        load(&self.0.path, max_frame)
    }

    /// Returns how long ago the map that is kept changed: the age of the file. Returns zero if that is not known, or is in the
    /// future by this machine's clock.
    pub fn age(&self) -> Duration {
        let modified = self.0.path.metadata().and_then(|metadata| metadata.modified()).ok();
        modified.and_then(|modified| modified.elapsed().ok()).unwrap_or_default()
    }

    /// Keeps `map`, which changed at `changed`, as JSON, or as a frame if JSON has no form for it that is read as the very same
    /// map. When this returns, whoever reads the file finds it. It is there after a loss of power too, unless the directory cannot
    /// be synchronized, of which the log has one warning: the file has the new map by then, and to say that it was not kept
    /// would be untrue.
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
        self.try_replace(content, changed).map(|replaced| self.tell(&replaced)).map_err(|source| self.unkept(source))
    }

    fn try_replace(&self, content: &[u8], changed: SystemTime) -> io::Result<Replaced> {
        // A directory that cannot be opened cannot be synchronized: before the rename that is an error that is true.
        open_parent(&self.0.path)?;
        let new = AtomicFile::begin(&self.0.path, MODE)?;
        new.file().write_all(content)?;
        // Without it the map seems to have changed when it was written: no reason to lose it.
        let _ = new.file().set_modified(changed);
        new.finish()
    }

    /// Makes sure that the lock is still the file that others would lock. Where there is none any more, nobody else has the
    /// state, because who has it never removes its lock: it is made again.
    fn keep_locked(&self) -> Result<(), Error> {
        let path = lock_path(&self.0.path);
        let mut held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let id = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        match (held.metadata(), path.symlink_metadata()) {
            (Ok(ours), Ok(found)) if id(&ours) == id(&found) => Ok(()),
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                *held = lock(&self.0.path)?;
                log::warn!("{}: was removed, and is made again", name(&path));
                Ok(())
            }
            (_, Ok(_)) => {
                // Who has it now is named; if it has been left, the state may still be another one.
                drop(lock(&self.0.path)?);
                Err(Error::LockReplaced { name: self.name(), lock: name(&path) })
            }
            (_, Err(source)) => Err(Error::Unlockable { lock: name(&path), source }),
        }
    }

    fn tell(&self, replaced: &Replaced) {
        if let Replaced::Unsynced(error) = replaced
            && !self.0.told_unsynced.swap(true, Ordering::Relaxed)
        {
            let name = self.name();
            log::warn!(
                "{name}: kept, but its directory cannot be synchronized: {error}; a loss of power may undo changes"
            );
        }
    }

    fn unwritable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Unwritable { name: self.name(), source: source.into() }
    }

    fn unkept(&self, source: io::Error) -> Error {
        unkept(&self.0.path, source)
    }

    /// Has whoever writes wait until the guard is dropped, as for a file system that hangs.
    #[cfg(test)]
    pub(crate) fn hang(&self) -> std::sync::MutexGuard<'_, File> {
        self.0.lock.lock().unwrap()
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

/// Returns an error if `path` cannot be replaced, or is in no directory that can be read, as synchronizing it takes.
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

/// Returns the lock of the state at `path`, which is the caller's until it is closed. A file of its own, because each write
/// puts another file in the state's place.
fn lock(path: &Path) -> Result<File, Error> {
    let lock = lock_path(path);
    // In a directory that others may write to, it could be a link to anywhere, or a FIFO.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).custom_flags(flags).open(&lock);
    let unlockable = |source| Error::Unlockable { lock: name(&lock), source };
    let file = opened.map_err(|source| match lock.symlink_metadata() {
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

/// Reads a frame, which begins with a digit, or else JSON, which begins with a brace. What is wrong is told of a file:
/// nobody at another end has a `--format`, and nobody sends.
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

/// What a format's library says, without the advice for who reads from a peer.
fn cause(error: format::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        format::Error::Decode { source, .. } => source,
        error => error.into(),
    }
}

/// What is wrong with the frame of a file.
fn frame_fault(error: frame::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        frame::Error::BadHeader { reason, .. } => {
            format!("it begins as a frame does, and has no header: {reason}").into()
        }
        frame::Error::TooLarge { .. } | frame::Error::Truncated { .. } => "its frame is not whole".into(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
