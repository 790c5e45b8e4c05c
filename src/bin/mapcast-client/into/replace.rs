//! A file replaced whole: whoever reads it has the old bytes or the new ones, whatever happens in between.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use log::debug;

/// What a new file may be, less the umask; as every other program's.
const NEW_MODE: u32 = 0o666;

/// The bits of a mode that chmod(2) takes.
const MODE_BITS: u32 = 0o7777;

/// Puts `bytes` into the file at `path`, by another one in the same folder that is renamed over it. Returns true if and
/// only if other bytes stood there, or none.
///
/// The file's mode stays, or becomes `mode`; its owner and group stay where the system allows it. A link is followed. When
/// this returns, the bytes are on the disk and not only in memory. A process that is killed in between leaves the old file,
/// and beside it may leave `.NAME.XXXXXX.tmp`.
///
/// # Errors
/// If it is there and no regular file, or the system refuses; the old file stays.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> anyhow::Result<bool> {
    let path = &follow_link(path).with_context(|| format!("{} leads nowhere", path.display()))?;
    let old = match fs::metadata(path) {
        Ok(old) if !old.is_file() => bail!("{} is no regular file", path.display()),
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
    };
    if let Some(old) = &old
        && holds(path, old, bytes).with_context(|| format!("cannot read {} to compare it", path.display()))?
    {
        if let Some(mode) = mode.filter(|mode| *mode != old.mode() & MODE_BITS) {
            let set = fs::set_permissions(path, Permissions::from_mode(mode));
            set.with_context(|| format!("cannot set the mode of {}", path.display()))?;
        }
        return Ok(false);
    }
    write_beside(path, bytes, mode, old.as_ref())
        .map_err(without_path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// Returns the file that `path` is or leads to; it may not be there yet.
fn follow_link(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::canonicalize(path),
        _ => Ok(path.to_owned()),
    }
}

/// Returns true if and only if the file holds `bytes`.
fn holds(path: &Path, found: &Metadata, bytes: &[u8]) -> io::Result<bool> {
    Ok(found.len() == bytes.len() as u64 && fs::read(path)? == bytes)
}

fn write_beside(path: &Path, bytes: &[u8], mode: Option<u32>, old: Option<&Metadata>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    if old.is_none() {
        builder.permissions(Permissions::from_mode(NEW_MODE));
    }
    let mut new = builder.tempfile_in(folder)?;
    new.write_all(bytes)?;
    if let Some(old) = old {
        keep_owner(new.as_file(), old);
    }
    // Behind the owner, because a change of owner takes some bits away: chown(2).
    if let Some(mode) = mode.or(old.map(|old| old.mode() & MODE_BITS)) {
        new.as_file().set_permissions(Permissions::from_mode(mode))?;
    }
    new.as_file().sync_all()?;
    new.persist(path)?;
    // The new name is in the folder, and the folder may still be in memory alone. Not every file system can do this.
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        debug!("{} is written, but its folder cannot be synchronized: {error}", path.display());
    }
    Ok(())
}

/// Returns what the system says, without the name that `tempfile` puts behind it: that is another one each time, and the
/// same trouble would not be seen to be the same.
fn without_path(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path \"") {
        Some((system, _)) => io::Error::new(error.kind(), system),
        None => error,
    }
}

/// Only root may give a file away; who may not still keeps the group where it is one of their own.
fn keep_owner(new: &File, old: &Metadata) {
    if fchown(new, Some(old.uid()), Some(old.gid())).is_ok() {
        return;
    }
    if let Err(error) = fchown(new, None, Some(old.gid())) {
        debug!("the owner and the group cannot be kept: {error}");
    }
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(replace(&path, b"one", None).unwrap());
        let first = fs::metadata(&path).unwrap();
        assert!(!replace(&path, b"one", None).unwrap());
        let same = fs::metadata(&path).unwrap();
        assert_eq!((first.ino(), first.mtime_nsec()), (same.ino(), same.mtime_nsec()));
        assert!(replace(&path, b"two", None).unwrap());
        assert_ne!(fs::metadata(&path).unwrap().ino(), first.ino());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn the_mode_stays_or_is_the_one_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        replace(&path, b"two", None).unwrap();
        assert_eq!(mode(&path), 0o604);
        replace(&path, b"three", Some(0o640)).unwrap();
        assert_eq!(mode(&path), 0o640);
        assert!(!replace(&path, b"three", Some(0o600)).unwrap());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_link_is_followed_and_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "one").unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, b"two", None).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_is_no_file_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let error = replace(folder.path(), b"two", None).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error:#}");
        let error = replace(&folder.path().join("missing/file"), b"two", None).unwrap_err();
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
    }
}
