//! Files: types, identities. Windows has access lists instead of modes: a file gets those of its directory.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempPath;

use crate::platform::device_names;

/// Others may open a file for reading and writing, and may not rename or remove it (`CreateFileW`, `FILE_SHARE_READ` and
/// `FILE_SHARE_WRITE`).
const SHARE_WITHOUT_REMOVAL: u32 = 0x0000_0003;

/// Opens a directory like a file (`CreateFileW`, `FILE_FLAG_BACKUP_SEMANTICS`).
const BACKUP_SEMANTICS: u32 = 0x0200_0000;

/// Opens a symbolic link itself (`CreateFileW`, `FILE_FLAG_OPEN_REPARSE_POINT`).
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// The errors of a rename over a file that another program has open (System Error Codes): access denied, sharing violation,
/// lock violation.
const IN_USE: [i32; 3] = [5, 32, 33];

/// How long a rename is tried while another program has the file open: 1 s. Readers and virus scanners close it sooner.
const RENAME_LIMIT: Duration = Duration::from_secs(1);

/// The pause between two tries: 10 ms.
const RENAME_PAUSE: Duration = Duration::from_millis(10);

/// Opens the file at `path` for reading.
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Opens the directory at `path`.
///
/// # Errors
/// If the system refuses it; `NotADirectory` if it is not a directory.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).custom_flags(BACKUP_SEMANTICS).open(path)?;
    if opened.metadata()?.is_dir() { Ok(opened) } else { Err(ErrorKind::NotADirectory.into()) }
}

/// Does nothing: NTFS keeps its names in a log of its own, and Windows flushes no directory.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn sync_directory(_directory: &File) -> io::Result<()> {
    Ok(())
}

/// Creates the file at `path`, which must not exist, for writing.
pub(crate) fn create_new(path: &Path, _mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Renames `new` to `path`. Tries again for a second while another program has the old file open: Windows replaces such a file
/// only if that program permits it, as programs in Rust do.
///
/// # Errors
/// If the system refuses it.
#[allow(clippy::needless_pass_by_value, reason = "other systems consume it")]
pub(crate) fn replace(new: TempPath, path: &Path) -> io::Result<()> {
    let began = Instant::now();
    loop {
        // Not `persist`, which never replaces an open file.
        let Err(error) = fs::rename(&new, path) else { return Ok(()) };
        if !error.raw_os_error().is_some_and(|code| IN_USE.contains(&code)) {
            return Err(error);
        }
        if began.elapsed() >= RENAME_LIMIT {
            let why = format!("{error}; close the program that has the file open, or make the file writable");
            return Err(io::Error::new(error.kind(), why));
        }
        thread::park_timeout(RENAME_PAUSE);
    }
}

/// True if and only if `path` names a device, such as `NUL`, `con.json` or `\\.\COM1`: its metadata may be those of a regular file.
pub(crate) fn is_device_name(path: &Path) -> bool {
    device_names::is_device(&path.to_string_lossy())
}

/// Opens or creates the file at `path` to lock it. While it is open, it cannot be removed.
///
/// # Errors
/// If the system refuses it; `InvalidInput` if it is a symbolic link.
pub(crate) fn open_lock(path: &Path, _mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = options.share_mode(SHARE_WITHOUT_REMOVAL).custom_flags(OPEN_REPARSE_POINT).open(path)?;
    if file.metadata()?.is_symlink() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is a symbolic link"));
    }
    Ok(file)
}

/// Returns what a file is that is neither a regular file nor a directory nor a symbolic link.
pub(crate) fn special_type(_kind: FileType) -> &'static str {
    "a device"
}

/// Returns false: a pipe has a path of its own kind, `\\.\pipe\`, which is not waited for.
pub(crate) fn is_fifo(_kind: FileType) -> bool {
    false
}

/// Returns false: the access list of a file is not read.
pub(crate) fn is_public(_metadata: &Metadata) -> bool {
    false
}

/// Checks that `directory` exists. Its access list is not read: creating a file shows what it allows.
pub(crate) fn can_create_in(directory: &Path) -> io::Result<()> {
    fs::metadata(directory).map(drop)
}

/// Returns false: a file cannot be one.
pub(crate) fn is_mount_point(_path: &Path) -> bool {
    false
}

/// The identity of a file. All are equal: a file opened by [`open_lock`] cannot be replaced while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId;

impl FileId {
    pub(crate) fn of(_metadata: &Metadata) -> Self {
        Self
    }
}

/// When a file was changed, in units of 100 ns since 1601 (`FILETIME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileTimes {
    created: u64,
    written: u64,
    modified: Option<SystemTime>,
}

impl FileTimes {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            created: metadata.creation_time(),
            written: metadata.last_write_time(),
            modified: metadata.modified().ok(),
        }
    }

    /// How long ago the file was changed; `None` if the time is in the future by the clock of this machine.
    pub(crate) fn age(&self) -> Option<Duration> {
        SystemTime::now().duration_since(self.modified?).ok()
    }
}
