//! Files: modes, owners, links.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use log::debug;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat};
use rustix::process::geteuid;

/// The mode of a private directory.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// The mode of a private file.
const PRIVATE_FILE: u32 = 0o600;

/// The permission bits of other users.
const OTHERS: u32 = 0o077;

/// The mode bits that let others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The mode bit that lets everyone write.
const WORLD_WRITABLE: u32 = 0o002;

/// The mode bits that chmod(2) accepts.
const MODE_BITS: u32 = 0o7777;

/// The mode bits that run the file as its owner, and as its group.
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// A link of another user in a directory that everyone can write to.
#[derive(Debug, thiserror::Error)]
#[error(
    "{link} is a link in a directory that everyone can write to, and belongs to another user (uid {owner}); \
     remove it, or name the file that it leads to"
)]
pub(crate) struct Foreign {
    link: String,
    pub(crate) owner: u32,
}

/// Opens the file at `path` for reading, without waiting for the writer of a FIFO.
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// Creates or empties the file at `path`, which only this user may access.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(path)
}

/// Creates a directory that only this user may access.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(PRIVATE_DIRECTORY).create(path)
}

/// Makes the directories of `builder` private.
pub(crate) fn private_directories<'a, 'b, 'c>(
    builder: &'c mut tempfile::Builder<'a, 'b>,
) -> &'c mut tempfile::Builder<'a, 'b> {
    builder.permissions(Permissions::from_mode(PRIVATE_DIRECTORY))
}

/// True if and only if `directory` exists, belongs to this user, and is closed to others: in /tmp another user may
/// take a name as soon as it is free.
pub(crate) fn is_private(directory: &Path) -> bool {
    let found = fs::symlink_metadata(directory);
    found.is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & OTHERS == 0)
}

/// Removes the permissions of other users from `directory`, if it is a directory of this user. Returns true if and
/// only if that succeeded.
pub(crate) fn make_private(directory: &Path) -> bool {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(opened) = rustix::fs::open(directory, flags, Mode::empty()).map(File::from) else { return false };
    let is_own = opened.metadata().is_ok_and(|found| found.uid() == geteuid().as_raw());
    is_own && opened.set_permissions(Permissions::from_mode(PRIVATE_DIRECTORY)).is_ok()
}

/// Locks `directory`, shared with others, until the returned file is closed.
pub(crate) fn directory_lock(directory: &Path) -> io::Result<File> {
    File::open(directory).and_then(|file| Ok(file.try_lock_shared().map(|()| file)?))
}

/// True if and only if users other than this one and root may write to the file.
pub(crate) fn is_writable_by_others(found: &Metadata) -> bool {
    ![geteuid().as_raw(), 0].contains(&found.uid()) || found.mode() & WRITABLE_BY_OTHERS != 0
}

/// Checks that this user may create files in `directory`.
pub(crate) fn can_create_in(directory: &Path) -> io::Result<()> {
    Ok(accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// True if and only if `path` is a mount point; false where the system does not say (before Linux 5.8).
#[cfg(target_os = "linux")]
pub(crate) fn is_mount_point(path: &Path) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::empty(), rustix::fs::StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}

/// Returns false: the system does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_mount_point(_path: &Path) -> bool {
    false
}

/// True if and only if the file has another mode than `mode`.
pub(crate) fn mode_differs(found: &Metadata, mode: u32) -> bool {
    mode != found.mode() & MODE_BITS
}

/// Sets the mode of the file.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

/// Sets the mode of the file at `path`.
pub(crate) fn set_mode_of(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Gives `new` the owner and group of the old file, as far as the system allows, and returns its mode. Only root may
/// change the owner; other users may set a group of their own.
pub(crate) fn keep_mode_and_owner(new: &File, old: &Metadata) -> io::Result<u32> {
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

/// Checks that this user may follow the link at `path`, whose metadata are `found`, in `directory`. The rule is that of
/// `fs.protected_symlinks` (`proc_sys_fs(5)`): a link in a directory that everyone can write to is followed only if it
/// belongs to this user or to the directory's owner.
///
/// # Errors
/// `PermissionDenied`.
pub(crate) fn check_link(path: &Path, found: &Metadata, directory: &Metadata) -> io::Result<()> {
    if is_trusted(found, directory, geteuid().as_raw()) {
        return Ok(());
    }
    let link = path.display().to_string().escape_debug().to_string();
    Err(io::Error::new(io::ErrorKind::PermissionDenied, Foreign { link, owner: found.uid() }))
}

/// True if and only if `user` may follow `link`, which is in `directory`.
fn is_trusted(link: &Metadata, directory: &Metadata, user: u32) -> bool {
    directory.mode() & WORLD_WRITABLE == 0 || link.uid() == user || link.uid() == directory.uid()
}

/// Returns the error for more links than the system follows.
pub(crate) fn too_many_links() -> io::Error {
    rustix::io::Errno::LOOP.into()
}

/// Identifies the content of a file: device, inode, size, and the times of the last changes of content and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion(u64, u64, u64, [i64; 4]);

impl FileVersion {
    pub(crate) fn of(found: &Metadata) -> Self {
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Self(found.dev(), found.ino(), found.size(), times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_error_has_its_text() {
        assert_eq!(
            Foreign { link: "x".to_owned(), owner: 12_345 }.to_string(),
            "x is a link in a directory that everyone can write to, and belongs to another user (uid 12345); remove it, or \
             name the file that it leads to"
        );
    }
}
