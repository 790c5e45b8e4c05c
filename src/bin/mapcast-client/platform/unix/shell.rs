//! The shell: sh.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// The editor of every Unix system (POSIX).
pub(crate) const EDITOR: &str = "vi";

/// The exit code of the shell for a command that it cannot find.
pub(crate) const NOT_FOUND: i32 = 127;

/// Returns the command that runs `script` in the shell, with `path` as its last argument.
pub(crate) fn shell_with_path(script: &OsStr, path: &Path) -> Command {
    let mut with_path = script.to_owned();
    with_path.push(" \"$@\"");
    let mut command = shell(with_path);
    command.arg(script).arg(path);
    command
}

/// Returns the command that runs `script` in the shell.
pub(crate) fn shell(script: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

/// Returns `script` with `path` in place of `placeholder`, quoted if the shell would split it.
pub(crate) fn insert_path(script: &str, placeholder: &str, path: &Path) -> anyhow::Result<String> {
    let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(byte);
    let word = if path.as_bytes().iter().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    };
    Ok(script.replace(placeholder, &word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_quoted_as_one_word() {
        for (path, wanted) in [("/a/.b.tmp", "t /a/.b.tmp"), ("/a b", "t '/a b'"), ("/it's", r"t '/it'\''s'")] {
            assert_eq!(insert_path("t {}", "{}", Path::new(path)).unwrap(), wanted);
        }
    }
}
