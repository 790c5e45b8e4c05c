//! Warnings about secret files that everyone may read.

use std::fs;
use std::path::Path;

use crate::display::escape::escape;
use crate::platform;

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
    fs::metadata(path).is_ok_and(|metadata| platform::is_public(&metadata))
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
