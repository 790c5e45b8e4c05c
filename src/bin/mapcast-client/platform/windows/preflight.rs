//! Checks whether a command can be started, before it replaces one that runs.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The extension that Windows adds to the name of a program.
const EXTENSION: &str = "exe";

/// Why a command cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StartError {
    /// The program does not exist.
    #[error("cannot run {program}")]
    Program { program: String, source: io::Error },
}

impl StartError {
    /// Returns true: the program itself is at fault, not the map.
    #[allow(clippy::unused_self, reason = "other systems have other errors")]
    pub(crate) fn is_program_error(&self) -> bool {
        true
    }
}

/// Checks that the program of `command` exists.
///
/// # Errors
/// If it does not.
pub(crate) fn check_start(command: &Command) -> Result<(), StartError> {
    let program = command.get_program();
    if candidates(program).iter().any(|path| path.is_file()) {
        return Ok(());
    }
    Err(StartError::Program { program: program.display().to_string(), source: io::ErrorKind::NotFound.into() })
}

/// Returns the paths at which the standard library looks for `program` (`std::process::Command`): a name alone in the directory of
/// this program, in those of the system and in `PATH`, never in the current directory. Without an extension it is an `.exe`.
fn candidates(program: &OsStr) -> Vec<PathBuf> {
    let program = Path::new(program);
    let with_extension = program.with_added_extension(EXTENSION);
    if program.parent().is_some_and(|parent| parent != Path::new("")) {
        return vec![with_extension, program.to_owned()];
    }
    let name = if program.extension().is_none() { with_extension.as_path() } else { program };
    let own = env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let windows = env::var_os("SystemRoot").map(PathBuf::from);
    let system = windows.iter().map(|windows| windows.join("System32"));
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = own.into_iter().chain(system).chain(windows.clone()).chain(env::split_paths(&path));
    directories.map(|directory| directory.join(name)).collect()
}
