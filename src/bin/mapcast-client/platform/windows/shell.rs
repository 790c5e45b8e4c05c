//! The shell: cmd.

use std::ffi::{OsStr, OsString};
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// The editor of every Windows.
pub(crate) const EDITOR: &str = "notepad";

/// The exit code of cmd for a command that it cannot find (measured under Wine).
pub(crate) const NOT_FOUND: i32 = 9009;

/// The process and its descendants do not get the Ctrl-C of the console (`CreateProcessW`, `CREATE_NEW_PROCESS_GROUP`).
const NEW_PROCESS_GROUP: u32 = 0x0000_0200;

/// Returns the command that runs `script` in the shell, with `path` as its last argument. A script that is the path of a program,
/// such as `C:\Program Files\x.exe`, is put in quotes.
pub(crate) fn shell_with_path(script: &OsStr, path: &Path) -> Command {
    let quoted = |text: &OsStr| [OsStr::new("\""), text, OsStr::new("\"")].into_iter().collect::<OsString>();
    let mut with_path = if Path::new(script).is_file() { quoted(script) } else { script.to_owned() };
    with_path.push(" ");
    with_path.push(quoted(path.as_os_str()));
    run_in_shell(&with_path)
}

/// Returns the command that runs `script` in the shell. Ctrl-C is this program's alone.
pub(crate) fn shell(script: impl AsRef<OsStr>) -> Command {
    let mut command = run_in_shell(script.as_ref());
    command.creation_flags(NEW_PROCESS_GROUP);
    command
}

fn run_in_shell(script: &OsStr) -> Command {
    let mut command = Command::new("cmd");
    // With /S, cmd removes the first and the last quote, and changes nothing in between.
    let mut line = OsString::from("\"");
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
