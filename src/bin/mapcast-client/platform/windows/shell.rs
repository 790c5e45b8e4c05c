//! The shell: cmd.

use std::ffi::OsStr;
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Returns the command that runs `script` in the shell.
pub(crate) fn shell(script: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("cmd");
    // With /S, cmd removes the first and the last quote, and changes nothing in between.
    let mut line = std::ffi::OsString::from("\"");
    line.push(script);
    line.push("\"");
    command.args(["/D", "/S", "/C"]).raw_arg(line);
    command
}

/// Returns `script` with `path` in place of `placeholder`, in quotes: a path cannot have any.
pub(crate) fn insert_path(script: &str, placeholder: &str, path: &Path) -> anyhow::Result<String> {
    let path = path.to_str().with_context(|| format!("{} is not Unicode", path.display()))?;
    Ok(script.replace(placeholder, &format!("\"{path}\"")))
}
