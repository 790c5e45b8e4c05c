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
    if candidates(program).any(|path| path.is_file()) {
        return Ok(());
    }
    Err(StartError::Program { program: program.display().to_string(), source: io::ErrorKind::NotFound.into() })
}

/// Returns the paths at which Windows looks for `program` (`CreateProcessW`), as far as they are known here.
fn candidates(program: &OsStr) -> impl Iterator<Item = PathBuf> {
    let program = PathBuf::from(program);
    let is_path = program.parent().is_some_and(|parent| parent != Path::new(""));
    let path = if is_path { None } else { env::var_os("PATH") };
    let directories: Vec<_> = path.iter().flat_map(env::split_paths).collect();
    let beside = directories.into_iter().map({
        let program = program.clone();
        move |directory| directory.join(&program)
    });
    [program].into_iter().chain(beside).flat_map(|path| {
        let with_extension = path.with_added_extension(EXTENSION);
        [path, with_extension]
    })
}
