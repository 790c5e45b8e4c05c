//! Atomic replacement of a file: a reader sees the old content or the new, never a mixture.

use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use log::{debug, warn};
use mapcast::files::atomic_file::{self, AtomicFile, Replaced};

use super::link;
use crate::platform::{can_create_in, is_mount_point, keep_mode_and_owner, mode_differs, set_mode, set_mode_of};

/// The mode of a new file before the umask, as for other programs.
const NEW_MODE: u32 = 0o666;

/// The mode of the new file until it has the owner of the old one: closed to other users.
const UNFINISHED_MODE: u32 = 0o600;

/// Writes `bytes` to the file at `path`: creates a new file in the same directory and renames it. Returns true if and
/// only if the content has changed.
///
/// The file gets `mode`, or keeps its own; it keeps its owner and group where the system allows it. Where it does not,
/// users who had no access before get none. Links are followed. When this returns, the bytes are on the disk and not
/// only in memory. A process that is killed meanwhile leaves the old file, and may leave `.NAME.XXXXXXXX.tmp` beside
/// it.
///
/// `approve` is called with the path of the new file before the rename.
///
/// # Errors
/// If the path exists and is not a regular file, the system refuses, or `approve` does; the old file stays.
pub(super) fn replace(
    path: &Path,
    bytes: &[u8],
    mode: Option<u32>,
    approve: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let (path, old) = &resolve(path)?;
    if let Some(old) = old
        && has_content(path, old, bytes).with_context(|| format!("cannot read {} to compare it", path.display()))?
    {
        if let Some(mode) = mode.filter(|mode| mode_differs(old, *mode)) {
            let set = set_mode_of(path, mode);
            set.with_context(|| format!("cannot set the mode of {}", path.display()))?;
        }
        return Ok(false);
    }
    let new = write_temporary(path, bytes, mode, old.as_ref())?;
    let new = new.close().with_context(|| format!("cannot write {}", path.display()))?;
    approve(new.new_path())?;
    match new.finish() {
        Ok(Replaced::Synced) => {}
        Ok(Replaced::Unsynced(error)) => {
            debug!("{} is written, but cannot sync its directory: {error}", path.display());
        }
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(mount_point(path)),
        Err(error) => return Err(error).with_context(|| format!("cannot replace {}", path.display())),
    }
    Ok(true)
}

/// Checks in advance whether the file at `path` can be replaced. A directory that is missing or not writable may be
/// fixed later; the latter is a warning.
///
/// # Errors
/// If it can never be replaced: it is a mount point, or not a regular file.
pub(super) fn check_destination(path: &Path) -> anyhow::Result<()> {
    // There, the name of a device is an error before its metadata are.
    if cfg!(windows) {
        atomic_file::check(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let Ok(path) = link::follow(path) else { return Ok(()) };
    if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        bail!("{} is not a regular file", path.display());
    }
    if is_mount_point(&path) {
        return Err(mount_point(&path));
    }
    let directory = directory(&path);
    if let Err(error) = can_create_in(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(
            "{} cannot be written yet: cannot create a file in {}: {error}; let this user write to that directory",
            path.display(),
            directory.display()
        );
    }
    Ok(())
}

/// Returns the error for a mount point: rename(2) fails with EBUSY.
pub(super) fn mount_point(path: &Path) -> anyhow::Error {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    anyhow!("{} is a mount point; mount its directory instead: {}", path.display(), directory(&path).display())
}

/// Returns the directory of `path`.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the path after following links, and its metadata; `None` if it does not exist.
fn resolve(path: &Path) -> anyhow::Result<(PathBuf, Option<Metadata>)> {
    let path = link::follow(path).with_context(|| format!("cannot follow {}", path.display()))?;
    // A link that has appeared since was not checked.
    match fs::symlink_metadata(&path) {
        Ok(old) if !old.is_file() => bail!("{} is not a regular file", path.display()),
        Ok(old) => Ok((path, Some(old))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path, None)),
        Err(error) => Err(error).with_context(|| format!("cannot read the metadata of {}", path.display())),
    }
}

/// Returns true if and only if the file contains `bytes`.
fn has_content(path: &Path, found: &Metadata, bytes: &[u8]) -> io::Result<bool> {
    Ok(found.len() == bytes.len() as u64 && fs::read(path)? == bytes)
}

/// Returns the new file, written, with its final mode and owner.
fn write_temporary(path: &Path, bytes: &[u8], mode: Option<u32>, old: Option<&Metadata>) -> anyhow::Result<AtomicFile> {
    let new = AtomicFile::begin(path, old.map_or(NEW_MODE, |_| UNFINISHED_MODE)).with_context(|| {
        format!("cannot write {}: cannot create a file in {}", path.display(), directory(path).display())
    })?;
    let fill = || {
        new.file().write_all(bytes)?;
        let kept = old.map(|old| keep_mode_and_owner(new.file(), old)).transpose()?;
        // After the owner: a change of owner clears some mode bits (chown(2)).
        mode.or(kept).map_or(Ok(()), |mode| set_mode(new.file(), mode))
    };
    fill().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_is_replaced_only_if_its_content_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(replace(&path, b"one", None, |_| Ok(())).unwrap());
        let first = fs::metadata(&path).unwrap();
        assert!(!replace(&path, b"one", None, |_| Ok(())).unwrap());
        let same = fs::metadata(&path).unwrap();
        assert_eq!((first.ino(), first.mtime_nsec()), (same.ino(), same.mtime_nsec()));
        assert!(replace(&path, b"two", None, |_| Ok(())).unwrap());
        assert_ne!(fs::metadata(&path).unwrap().ino(), first.ino());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn the_mode_is_kept_or_set() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        replace(&path, b"two", None, |_| Ok(())).unwrap();
        assert_eq!(mode(&path), 0o604);
        replace(&path, b"three", Some(0o640), |_| Ok(())).unwrap();
        assert_eq!(mode(&path), 0o640);
        assert!(!replace(&path, b"three", Some(0o600), |_| Ok(())).unwrap());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_link_is_followed_and_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "one").unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, b"two", None, |_| Ok(())).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_path_that_is_not_a_file_is_an_error_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let error = replace(directory.path(), b"two", None, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error:#}");
        let error = replace(&directory.path().join("missing/file"), b"two", None, |_| Ok(())).unwrap_err();
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
    }
}
