//! Symbolic links to the file to write.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::platform::{check_link, too_many_links};

/// The maximum number of links to follow, as in Linux (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Returns the path after following links. `path` itself may be missing; the target of a link must exist.
///
/// # Errors
/// If a link is dangling or not trusted. The kernel does not apply its own rule here, because the file is replaced and never opened through the link; nor would it without
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
        check_link(&path, &found, &fs::metadata(parent)?)?;
        path = parent.join(fs::read_link(&path)?);
    }
    Err(too_many_links())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::platform::Foreign;
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
}
