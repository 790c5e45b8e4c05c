//! A file replaced whole: whoever reads it has the old bytes or the new ones, whatever happens in between.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use log::{debug, warn};
use mapcast::files::atomic_file::{AtomicFile, Replaced};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::link;

/// What a new file may be, less the umask; as every other program's.
const NEW_MODE: u32 = 0o666;

/// What the file that takes an old one's place is until it has that one's owner: nobody else's to read.
const UNFINISHED_MODE: u32 = 0o600;

/// The bits of a mode that chmod(2) takes.
const MODE_BITS: u32 = 0o7777;

/// The bits of a mode that have the file run as its owner, and as its group.
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// Puts `bytes` into the file at `path`, by another one in the same directory that is renamed over it. Returns true if and
/// only if other bytes stood there, or none.
///
/// The file's mode becomes `mode`, or stays; its owner and group stay where the system allows it. Where it does not, the mode
/// that stays loses what others than before would have of it. A link is followed. When this returns, the bytes are on the
/// disk and not only in memory. A process that is killed in between leaves the old file, and beside it may leave
/// `.NAME.XXXXXXXX.tmp`.
///
/// `approve` is called with the path of the new file before it takes the old one's place.
///
/// # Errors
/// If it is there and no regular file, the system refuses, or `approve` does; the old file stays.
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
            debug!("{} is written, but its directory cannot be synchronized: {error}", path.display());
        }
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(mount_point(path)),
        Err(error) => return Err(error).with_context(|| format!("cannot replace {}", path.display())),
    }
    Ok(true)
}

/// Looks for what will keep the file at `path` from being replaced, before there is anything to replace it with. A directory
/// that is missing, or that this user may not write to, may become right; there is a warning of the latter.
///
/// # Errors
/// If it can never be replaced: it is a mount point, or not a regular file.
pub(super) fn check_destination(path: &Path) -> anyhow::Result<()> {
    let Ok(path) = link::follow(path) else { return Ok(()) };
    if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        bail!("{} is no regular file", path.display());
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
            "{} cannot be written yet: no file can be made in {}: {error}; let this user write to that directory",
            path.display(),
            directory.display()
        );
    }
    Ok(())
}

/// True if and only if something is mounted at `path`; false where the system does not say (before Linux 5.8).
fn is_mount_point(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::statx(CWD, path, AtFlags::empty(), rustix::fs::StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT));
    #[cfg(not(target_os = "linux"))]
    return false;
}

/// Returns why the file at `path` can never be replaced: rename(2) refuses it with EBUSY.
pub(super) fn mount_point(path: &Path) -> anyhow::Error {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    anyhow!("{} is a mount point; mount its directory instead: {}", path.display(), directory(&path).display())
}

/// Returns the directory that `path` is in.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the file that `path` is or leads to, and what is there; `None` if nothing is.
fn resolve(path: &Path) -> anyhow::Result<(PathBuf, Option<Metadata>)> {
    let path = link::follow(path).with_context(|| format!("cannot follow {}", path.display()))?;
    // A link that is there only now is none of those that were followed.
    match fs::symlink_metadata(&path) {
        Ok(old) if !old.is_file() => bail!("{} is no regular file", path.display()),
        Ok(old) => Ok((path, Some(old))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path, None)),
        Err(error) => Err(error).with_context(|| format!("cannot resolve at {}", path.display())),
    }
}

/// Returns true if and only if the file has_content `bytes`.
fn has_content(path: &Path, found: &Metadata, bytes: &[u8]) -> io::Result<bool> {
    Ok(found.len() == bytes.len() as u64 && fs::read(path)? == bytes)
}

/// Returns the new file, written, with the mode and owner that it is to have.
fn write_temporary(path: &Path, bytes: &[u8], mode: Option<u32>, old: Option<&Metadata>) -> anyhow::Result<AtomicFile> {
    let new = AtomicFile::begin(path, old.map_or(NEW_MODE, |_| UNFINISHED_MODE)).with_context(|| {
        format!("cannot write {}: no file can be made in {}", path.display(), directory(path).display())
    })?;
    let fill = || {
        new.file().write_all(bytes)?;
        let kept = old.map(|old| copy_owner(new.file(), old)).transpose()?;
        // Behind the owner, because a change of owner takes some bits away: chown(2).
        mode.or(kept).map_or(Ok(()), |mode| new.file().set_permissions(Permissions::from_mode(mode)))
    };
    fill().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(new)
}

/// Gives `new` the owner and the group of the old file, or as much of that as the system allows, and returns the mode that
/// it may then have. Only root may give a file away; who may not still keeps the group where it is one of their own.
fn copy_owner(new: &File, old: &Metadata) -> io::Result<u32> {
    if fchown(new, Some(old.uid()), Some(old.gid())).is_err()
        && let Err(error) = fchown(new, None, Some(old.gid()))
    {
        debug!("the owner and the group cannot be kept: {error}");
    }
    // Asked and not concluded: they may be the old ones by themselves, as in a directory that passes its group on.
    let new = new.metadata()?;
    Ok(kept_mode(old.mode() & MODE_BITS, new.uid() == old.uid(), new.gid() == old.gid()))
}

/// Returns `mode` less what it would allow to those whom it did not allow that before. With another group, its members were
/// among the others, and the old group's now are: both may do what both could.
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
    fn a_file_is_made_replaced_and_left_alone_if_it_holds_the_same() {
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
    fn the_mode_stays_or_is_the_one_that_is_asked_for() {
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
    fn nobody_gets_more_of_a_file_whose_owner_or_group_is_another() {
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
    fn a_link_is_followed_and_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "one").unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, b"two", None, |_| Ok(())).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_is_no_file_is_refused_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let error = replace(directory.path(), b"two", None, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error:#}");
        let error = replace(&directory.path().join("missing/file"), b"two", None, |_| Ok(())).unwrap_err();
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
    }
}
