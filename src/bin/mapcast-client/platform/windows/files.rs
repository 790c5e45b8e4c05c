//! Files. Windows has access lists instead of modes and owners: a file gets those of its directory.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::windows::fs::MetadataExt;
use std::path::Path;

/// Opens the file at `path` for reading.
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Creates or empties the file at `path`.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// Creates a directory.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// Changes nothing: the temporary directory of a user is private.
pub(crate) fn private_directories<'a, 'b, 'c>(
    builder: &'c mut tempfile::Builder<'a, 'b>,
) -> &'c mut tempfile::Builder<'a, 'b> {
    builder
}

/// True if and only if `directory` is a directory.
pub(crate) fn is_private(directory: &Path) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir())
}

/// Returns false: there is no mode to change.
pub(crate) fn make_private(_directory: &Path) -> bool {
    false
}

/// Fails with `Unsupported`: Windows locks no directories, and removes none of them.
pub(crate) fn directory_lock(_directory: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns false: the access list of a file is not read.
pub(crate) fn is_writable_by_others(_found: &Metadata) -> bool {
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

/// Returns false: there is no mode.
pub(crate) fn mode_differs(_found: &Metadata, _mode: u32) -> bool {
    false
}

/// Does nothing.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Does nothing.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn set_mode_of(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Returns no mode: the new file has the access list of its directory.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn keep_mode_and_owner(_new: &File, _old: &Metadata) -> io::Result<u32> {
    Ok(0)
}

/// Allows every link: only administrators create them by default.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn check_link(_path: &Path, _found: &Metadata, _directory: &Metadata) -> io::Result<()> {
    Ok(())
}

/// Returns the error for more links than the system follows.
pub(crate) fn too_many_links() -> io::Error {
    io::Error::other("too many symbolic links")
}

/// Identifies the content of a file: its size, and when it was created and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion(u64, u64, u64);

impl FileVersion {
    pub(crate) fn of(found: &Metadata) -> Self {
        Self(found.file_size(), found.creation_time(), found.last_write_time())
    }
}
