//! Atomic replacement of a file: a reader sees the old content or the new, never a mixture.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use log::{debug, warn};
use mapcast::files::atomic_file::{AtomicFile, Replaced};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::link;

/// The mode of a new file before the umask, as for other programs.
const NEW_MODE: u32 = 0o666;

/// The mode of the new file until it has the owner of the old one: closed to other users.
const UNFINISHED_MODE: u32 = 0o600;

/// The mode bits that chmod(2) accepts.
const MODE_BITS: u32 = 0o7777;

/// The mode bits that run the file as its owner, and as its group.
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

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
        if let Some(mode) = mode.filter(|mode| *mode != old.mode() & MODE_BITS) {
            let set = fs::set_permissions(path, Permissions::from_mode(mode));
            set.with_context(|| format!("cannot set the mode of {}", path.display()))?;
        }
        return Ok(false);
    }
    let new = write_temporary(path, bytes, mode, old.as_ref())?;
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
    let Ok(path) = link::follow(path) else { return Ok(()) };
    if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        bail!("{} is not a regular file", path.display());
    }
    if is_mount_point(&path) {
        return Err(mount_point(&path));
    }
    let directory = directory(&path);
    let writable = accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    if let Err(error) = writable.map_err(io::Error::from)
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

/// True if and only if `path` is a mount point; false where the system does not say (before Linux 5.8).
#[cfg(target_os = "linux")]
fn is_mount_point(path: &Path) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::empty(), rustix::fs::StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(target_os = "linux"))]
fn is_mount_point(_path: &Path) -> bool {
    false
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
        let kept = old.map(|old| copy_owner(new.file(), old)).transpose()?;
        // After the owner: a change of owner clears some mode bits (chown(2)).
        mode.or(kept).map_or(Ok(()), |mode| new.file().set_permissions(Permissions::from_mode(mode)))
    };
    fill().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(new)
}

/// Gives `new` the owner and group of the old file, as far as the system allows, and returns its mode. Only root may
/// change the owner; other users may set a group of their own.
fn copy_owner(new: &File, old: &Metadata) -> io::Result<u32> {
    if fchown(new, Some(old.uid()), Some(old.gid())).is_err()
        && let Err(error) = fchown(new, None, Some(old.gid()))
    {
        debug!("cannot keep owner and group: {error}");
    }
    // Read back: owner and group may already match, for example in a setgid directory.
    let new = new.metadata()?;
    Ok(kept_mode(old.mode() & MODE_BITS, new.uid() == old.uid(), new.gid() == old.gid()))
}

/// Returns `mode` without permissions for users who did not have them before. If the group differs, members of the new
/// group were "others" before, and members of the old group are "others" now: both get only what both had.
fn kept_mode(mode: u32, is_owner_kept: bool, is_group_kept: bool) -> u32 {
    let mut kept = mode;
    if !is_group_kept {
        let both = (mode >> 3) & mode & 0o7;
        kept = (mode & !(0o77 | SETGID)) | both << 3 | both;
    }
    if !is_owner_kept {
        kept &= !(SETUID | SETGID);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & MODE_BITS
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
    fn a_new_owner_or_group_gains_no_permissions() {
        for (mode, of_another_owner, of_another_group) in [
            (0o640, 0o640, 0o600),
            (0o644, 0o644, 0o644),
            (0o664, 0o664, 0o644),
            (0o604, 0o604, 0o600),
            (0o751, 0o751, 0o711),
            (0o4664, 0o664, 0o4644),
            (0o6755, 0o755, 0o4755),
            (0o1777, 0o1777, 0o1777),
        ] {
            assert_eq!(kept_mode(mode, true, true), mode);
            assert_eq!(kept_mode(mode, false, true), of_another_owner, "{mode:o}");
            assert_eq!(kept_mode(mode, true, false), of_another_group, "{mode:o}");
            assert_eq!(kept_mode(mode, false, false), of_another_owner & of_another_group, "{mode:o}");
        }
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
