//! Warnings about secret files that everyone may read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::display::escape::escape;

/// The bit of a file's mode that lets everyone read it (inode(7)).
const READABLE_BY_OTHERS: u32 = 0o004;

/// Logs a warning if everyone on the machine may read `path`, which contains `what`.
pub(crate) fn warn_if_public(path: &Path, what: &str) {
    if is_public(path) {
        warn_public(path, what);
    }
}

/// Logs a warning that everyone on the machine may read `path`, which contains `what`.
pub(crate) fn warn_public(path: &Path, what: &str) {
    log::warn!("{}: everyone on this machine may read {what} (chmod o-r)", escape(&path.to_string_lossy()));
}

/// True if and only if the file exists and its mode lets everyone read it.
pub(crate) fn is_public(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & READABLE_BY_OTHERS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_public_if_others_may_read_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, public) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_public(file.path()), public, "{mode:o}");
        }
        assert!(!is_public(Path::new("/nowhere")));
    }
}
