//! Atomic replacement of a file: a new file is written beside it and renamed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempPath};

use crate::display::escape::escape;
use crate::files;
use crate::platform::{self, is_mount_point};

/// The random characters of a name.
const RANDOM_LEN: usize = 8;

/// The end of a new file's name.
const SUFFIX: &str = ".tmp";

/// A new file beside the file that it replaces. A reader of that file gets the old content or the new, at any time.
///
/// Its name is `.NAME.XXXXXXXX.tmp`, with eight random letters and digits: two writers that replace the same file at once
/// have separate new files, and the last one wins. Dropping it before [`finish`](Self::finish) removes it; a process that is
/// killed leaves it.
///
/// ```
/// use std::io::Write;
/// use mapcast::files::atomic_file::AtomicFile;
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("flags.json");
/// let new = AtomicFile::begin(&path, 0o600)?;
/// new.file().write_all(b"{}")?;
/// assert!(!path.exists());
/// let _replaced = new.finish()?;
/// assert_eq!(std::fs::read(&path)?, b"{}");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    /// The file that is replaced.
    path: PathBuf,
    new: NamedTempFile,
}

/// A new file that is on the disk and closed, for checking it before it replaces the old one: on Windows many programs cannot
/// read a file that is open for writing. Dropping it before [`finish`](Self::finish) removes it.
#[derive(Debug)]
pub struct ClosedFile {
    /// The file that is replaced.
    path: PathBuf,
    new: TempPath,
}

/// Whether a replacement survives a power loss. Readers get the new file in any case.
#[derive(Debug)]
#[must_use]
pub enum Replaced {
    /// The new file survives a power loss.
    Synced,
    /// After a power loss it is the old file or the new one, each complete: the directory, which has the new name, could not be
    /// synchronized. Some file systems cannot do that, and it requires permission to read the directory.
    Unsynced(io::Error),
}

impl AtomicFile {
    /// Creates the new file, on Unix with `mode` minus the umask, to replace the file at `path`, which need not exist. A symbolic link
    /// at `path` is itself replaced.
    ///
    /// # Errors
    /// As [`check`], and if the system refuses a new file in the directory.
    pub fn begin(path: &Path, mode: u32) -> io::Result<Self> {
        check(path)?;
        let prefix = prefix(path.file_name().unwrap_or_default());
        // Not `tempfile_in`: its errors name the random path.
        let new = Builder::new()
            .prefix(&prefix)
            .suffix(SUFFIX)
            .rand_bytes(RANDOM_LEN)
            .make_in(directory(path), |beside| platform::create_new(beside, mode));
        Ok(Self { path: path.to_owned(), new: new.map_err(|error| no_new_file(path, &error))? })
    }

    /// The new file, for writing and for setting its owner and mode.
    pub fn file(&self) -> &File {
        self.new.as_file()
    }

    /// Writes the new file to the disk and closes it.
    ///
    /// # Errors
    /// If the system refuses it; the new file is removed.
    pub fn close(self) -> io::Result<ClosedFile> {
        self.file().sync_all()?;
        Ok(ClosedFile { path: self.path, new: self.new.into_temp_path() })
    }

    /// Writes the new file to the disk and replaces the old one with it.
    ///
    /// # Errors
    /// If the system refuses it; the old file is unchanged, and the new one is removed.
    pub fn finish(self) -> io::Result<Replaced> {
        self.close()?.finish()
    }
}

impl ClosedFile {
    /// The path of the new file.
    pub fn new_path(&self) -> &Path {
        &self.new
    }

    /// Replaces the old file with the new one.
    ///
    /// # Errors
    /// If the system refuses it; the old file is unchanged, and the new one is removed.
    pub fn finish(self) -> io::Result<Replaced> {
        let directory = files::open_directory(directory(&self.path));
        platform::replace(self.new, &self.path)?;
        Ok(sync(directory))
    }
}

/// Checks that a rename can replace `path`, as far as possible without one. The file need not exist.
///
/// # Errors
/// If the path ends in a slash or has no file name; if it is a directory, a FIFO, a socket or a device (on Windows also by its
/// name, such as `NUL`); if it is a mount point,
/// such as a single file that is mounted into a container: the system never replaces that (`EBUSY`, rename(2)).
pub fn check(path: &Path) -> io::Result<()> {
    let invalid = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    match path.file_name() {
        // `x/` and `x/.` have a file name too, but are directories.
        Some(name) if path.as_os_str().as_encoded_bytes().ends_with(name.as_encoded_bytes()) => {}
        _ => return invalid("it is a directory's path; name a file in it"),
    }
    files::check_name(path)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_symlink() => files::check_regular(&found)?,
        _ => {}
    }
    if is_mount_point(path) {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "it is a mount point, which cannot be replaced; mount its directory instead",
        ));
    }
    Ok(())
}

/// Returns the error for a new file beside `path` that the system refuses: it names the directory.
pub(crate) fn no_new_file(path: &Path, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => "; let this user write to that directory",
        io::ErrorKind::ReadOnlyFilesystem => "; name a file in another directory",
        _ => "",
    };
    let directory = escape(&directory(path).to_string_lossy());
    io::Error::new(error.kind(), format!("cannot create a file in {directory}: {error}{advice}"))
}

/// Returns the directory that `path` is in.
pub(crate) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes the new files that killed processes have left beside `path`. No process may be replacing it meanwhile.
///
/// # Errors
/// If the directory cannot be read, or a file cannot be removed.
pub(crate) fn remove_abandoned(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    for entry in fs::read_dir(directory(path))? {
        let entry = entry?;
        if is_beside(name, &entry.file_name()) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Synchronizes the directory, which contains the new name (fsync(2)).
fn sync(directory: io::Result<File>) -> Replaced {
    match directory.and_then(|directory| platform::sync_directory(&directory)) {
        Ok(()) => Replaced::Synced,
        Err(error) => Replaced::Unsynced(error),
    }
}

/// Returns what the names of new files beside `name` begin with.
fn prefix(name: &OsStr) -> OsString {
    [OsStr::new("."), name, OsStr::new(".")].into_iter().collect()
}

/// True if and only if `found` may be the name of a new file beside `name`.
fn is_beside(name: &OsStr, found: &OsStr) -> bool {
    let rest = found.as_encoded_bytes().strip_prefix(prefix(name).as_encoded_bytes());
    let random = rest.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
    random.is_some_and(|random| random.len() == RANDOM_LEN && random.iter().all(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(directory: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn two_concurrent_replacements_of_a_file_do_not_conflict() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let (first, second) = (AtomicFile::begin(&path, 0o600).unwrap(), AtomicFile::begin(&path, 0o600).unwrap());
        first.file().write_all(b"first").unwrap();
        second.file().write_all(b"second").unwrap();
        assert!(matches!(first.finish().unwrap(), Replaced::Synced));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert!(matches!(second.finish().unwrap(), Replaced::Synced));
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn an_unfinished_replacement_keeps_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        drop(AtomicFile::begin(&path, 0o600).unwrap());
        let over_a_directory = AtomicFile::begin(&directory.path().join("full"), 0o600).unwrap();
        fs::create_dir_all(directory.path().join("full/inside")).unwrap();
        assert!(over_a_directory.finish().is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["file", "full"]);
        assert!(AtomicFile::begin(Path::new("/"), 0o600).is_err());
    }

    #[test]
    fn a_path_that_no_rename_can_replace_is_refused_first() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |path: &Path| AtomicFile::begin(path, 0o600).unwrap_err().to_string();
        fs::write(directory.path().join("file"), "old").unwrap();
        for (path, why) in [
            ("file/", "it is a directory's path; name a file in it"),
            ("file/.", "it is a directory's path"),
            ("..", "it is a directory's path"),
            ("", "it is a directory's path"),
            ("missing/file", "cannot create a file in "),
        ] {
            let refusal = refused(&directory.path().join(path));
            assert!(refusal.starts_with(why), "{path}: {refusal}");
        }
        assert_eq!(check(directory.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(refused(Path::new("/proc/self/x")).contains("/proc/self"));
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn a_mount_point_is_recognized() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
        // Those in containers are files; any other will do.
        let point = points.find(|point| point.exists()).unwrap();
        assert!(is_mount_point(point), "{}", point.display());
        assert!(!is_mount_point(NamedTempFile::new().unwrap().path()));
    }

    #[test]
    fn only_temporary_files_of_a_killed_process_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut left = AtomicFile::begin(&path, 0o600).unwrap();
        left.new.disable_cleanup(true);
        drop(left);
        assert_eq!(names(directory.path()).len(), 1);
        let others =
            [".file.0123456.tmp", ".file.0123456_.tmp", ".file.tmp", ".other.01234567.tmp", "file", "file.new"];
        for name in others {
            fs::write(directory.path().join(name), "").unwrap();
        }
        remove_abandoned(&path).unwrap();
        assert_eq!(names(directory.path()), others);
    }

    #[test]
    fn a_failed_synchronization_is_not_a_failed_replacement() {
        // A device has nothing to synchronize: EINVAL, as of a directory on a file system that cannot (fsync(2)).
        assert!(matches!(sync(File::open("/dev/null")), Replaced::Unsynced(_)));
        assert!(matches!(sync(Err(io::ErrorKind::PermissionDenied.into())), Replaced::Unsynced(_)));
    }
}
