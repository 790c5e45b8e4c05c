//! Files: types, modes, identities.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use tempfile::TempPath;

/// The bit of a file's mode that lets everyone read it (inode(7)).
const READABLE_BY_OTHERS: u32 = 0o004;

/// Opens the file at `path` for reading, without waiting for a writer or a device, and without making a terminal the
/// controlling one.
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Opens the directory at `path`.
///
/// # Errors
/// If the system refuses it; `NotADirectory` if it is not a directory.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = (OFlags::DIRECTORY | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Synchronizes a directory, which contains the names of its files (fsync(2)).
pub(crate) fn sync_directory(directory: &File) -> io::Result<()> {
    directory.sync_all()
}

/// Creates the file at `path`, which must not exist, for writing, with `mode` minus the umask.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Renames `new` to `path`.
pub(crate) fn replace(new: TempPath, path: &Path) -> io::Result<()> {
    Ok(new.persist(path)?)
}

/// Returns false: a device has a type, and no name of its own.
pub(crate) fn is_device_name(_path: &Path) -> bool {
    false
}

/// Opens or creates the file at `path`, with `mode` minus the umask, to lock it. In a directory that others can write to, it
/// may be a symbolic link, which is refused, or a FIFO.
pub(crate) fn open_lock(path: &Path, mode: u32) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().write(true).create(true).truncate(false).mode(mode).custom_flags(flags).open(path)
}

/// Returns what a file is that is neither a regular file nor a directory nor a symbolic link.
pub(crate) fn special_type(kind: FileType) -> &'static str {
    match () {
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "something else",
    }
}

/// True if and only if it is a pipe with a name.
pub(crate) fn is_fifo(kind: FileType) -> bool {
    kind.is_fifo()
}

/// True if and only if everyone on the machine may read the file.
pub(crate) fn is_public(metadata: &Metadata) -> bool {
    metadata.mode() & READABLE_BY_OTHERS != 0
}

/// Checks that this user may create files in `directory`.
pub(crate) fn can_create_in(directory: &Path) -> io::Result<()> {
    Ok(accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// True if `path` itself is a mount point and the system reports it (Linux 5.8 and later).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn is_mount_point(path: &Path) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags, statx};
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Returns false: the system does not report it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_mount_point(_path: &Path) -> bool {
    false
}

/// The identity of a file, however it is named, while it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// When a file was changed. Equal ones mean that it was not changed in between, as far as the clock of the file system shows.
/// It has the change time because the modification time can be set back (`cp -p`, `rsync -t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileTimes {
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileTimes {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { modified: (metadata.mtime(), metadata.mtime_nsec()), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }

    /// How long ago the file was changed; `None` if the time is in the future by the clock of this machine.
    pub(crate) fn age(&self) -> Option<Duration> {
        let (seconds, nanos) = self.changed;
        let since = Duration::new(seconds.try_into().ok()?, nanos.try_into().ok()?);
        SystemTime::now().duration_since(UNIX_EPOCH.checked_add(since)?).ok()
    }
}
