//! Symbolic links to the file to write.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The maximum number of links to follow, as in Linux (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// The mode bit that lets everyone write.
const WORLD_WRITABLE: u32 = 0o002;

/// A link of another user in a directory that everyone can write to.
#[derive(Debug, thiserror::Error)]
#[error(
    "{link} is a link in a directory that everyone can write to, and belongs to another user (uid {owner}); \
     remove it, or name the file that it leads to"
)]
struct Foreign {
    link: String,
    owner: u32,
}

/// Returns the path after following links. `path` itself may be missing; the target of a link must exist.
///
/// # Errors
/// If a link is dangling or not trusted. The rule is that of `fs.protected_symlinks` (`proc_sys_fs(5)`): a link in a
/// directory that everyone can write to is followed only if it belongs to this user or to the directory's owner. The
/// kernel does not apply it here, because the file is replaced and never opened through the link; nor would it without
/// the sticky bit.
pub(super) fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for followed in 0..MAX_LINKS {
        let found = match fs::symlink_metadata(&path) {
            Err(error) if followed == 0 && error.kind() == io::ErrorKind::NotFound => return Ok(path),
            found => found?,
        };
        if !found.is_symlink() {
            return Ok(path);
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !is_trusted(&found, &fs::metadata(parent)?, rustix::process::geteuid().as_raw()) {
            let link = path.display().to_string().escape_debug().to_string();
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, Foreign { link, owner: found.uid() }));
        }
        path = parent.join(fs::read_link(&path)?);
    }
    Err(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error()))
}

/// True if and only if `user` may follow `link`, which is in `directory`.
fn is_trusted(link: &Metadata, directory: &Metadata, user: u32) -> bool {
    directory.mode() & WORLD_WRITABLE == 0 || link.uid() == user || link.uid() == directory.uid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    #[test]
    fn links_are_followed_to_an_existing_target() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("below")).unwrap();
        fs::write(at("below/file"), "").unwrap();
        symlink("below/two", at("one")).unwrap();
        symlink("../three", at("below/two")).unwrap();
        symlink(at("below/file"), at("three")).unwrap();
        assert_eq!(follow(&at("one")).unwrap(), at("below/file"));
        assert_eq!(follow(&at("below/file")).unwrap(), at("below/file"));
        assert_eq!(follow(&at("missing")).unwrap(), at("missing"));
        symlink("missing", at("dangling")).unwrap();
        assert_eq!(follow(&at("dangling")).unwrap_err().kind(), io::ErrorKind::NotFound);
        symlink("loop", at("loop")).unwrap();
        assert!(follow(&at("loop")).is_err());
    }

    #[test]
    fn another_users_link_in_a_shared_directory_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link, shared) =
            (directory.path().join("file"), directory.path().join("s/link"), directory.path().join("s"));
        fs::create_dir(&shared).unwrap();
        fs::write(&file, "kept").unwrap();
        symlink(&file, &link).unwrap();
        if lchown(&link, Some(12_345), None).is_err() {
            return crate::testing::skip("not root, so no link has another owner");
        }
        for (mode, directory_owner, is_followed) in
            [(0o1777, 0, false), (0o777, 0, false), (0o1777, 12_345, true), (0o755, 0, true), (0o1775, 0, true)]
        {
            chown(&shared, Some(directory_owner), None).unwrap();
            fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
            let followed = follow(&link);
            assert_eq!(followed.is_ok(), is_followed, "{mode:o} of {directory_owner}: {followed:?}");
            if let Err(error) = followed {
                let foreign = error.get_ref().and_then(|error| error.downcast_ref::<Foreign>());
                assert!(foreign.is_some_and(|foreign| foreign.owner == 12_345), "{error}");
            }
        }
        // A link of this user, wherever it is.
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
        lchown(&link, Some(rustix::process::geteuid().as_raw()), None).unwrap();
        assert_eq!(follow(&link).unwrap(), file);
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
