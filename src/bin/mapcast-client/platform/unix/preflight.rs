//! Checks whether a command can be started, without starting it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mapcast::display::units;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// The search path without `PATH`, as in the C library.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Bounds of the kernel's limit for arguments and environment, in bytes (execve(2), fs/exec.c).
const MIN_ARGUMENTS: u64 = 128 << 10;
const MAX_ARGUMENTS: u64 = 6 << 20;

/// The longest argument or variable with its NUL, in bytes: `MAX_ARG_STRLEN` is 32 pages.
const MAX_VARIABLE: usize = 128 << 10;

/// What the kernel and an interpreter add, in bytes: the program's path, twice, and the `#!` line.
const MARGIN: u64 = 16 << 10;

/// The longest `#!` line, in bytes (execve(2)).
const MAX_INTERPRETER_LINE: u64 = 256;

/// Why a command cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StartError {
    /// The program does not exist, or this user may not run it.
    #[error("cannot run {program}")]
    Program { program: String, source: io::Error },
    /// The interpreter of a script does not exist, or this user may not run it.
    #[error("cannot run {program}: cannot run its interpreter {interpreter}")]
    Interpreter { program: String, interpreter: String, source: io::Error },
    /// Arguments and environment together are too large.
    #[error(
        "cannot run {program}: its environment with the map takes {} bytes, and the system allows {}; take fewer entries \
         (--key), read them from MAPCAST_FILE (--signal), or raise the limit (ulimit -s)",
        size,
        limit
    )]
    TooLarge { program: String, size: u64, limit: u64 },
    /// One variable is too long.
    #[error(
        "cannot run {program}: the variable {name} takes {size} bytes, and the system allows {}",
        units::format_size(MAX_VARIABLE)
    )]
    TooLong { program: String, name: String, size: usize },
}

impl StartError {
    /// True if and only if the program itself is at fault, not the map.
    pub(crate) fn is_program_error(&self) -> bool {
        matches!(self, Self::Program { .. } | Self::Interpreter { .. })
    }
}

/// Checks that the system would start `command` with its environment.
///
/// # Errors
/// If it would not.
pub(crate) fn check_start(command: &Command) -> Result<(), StartError> {
    let environment = environment(command);
    let program = command.get_program();
    let name = || program.display().to_string();
    let path = environment.get(OsStr::new("PATH")).map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    let file = find(program, path).map_err(|source| StartError::Program { program: name(), source })?;
    if let Some(interpreter) = interpreter(&file)
        && let Err(source) = executable(&interpreter)
    {
        let interpreter = interpreter.display().to_string();
        return Err(StartError::Interpreter { program: name(), interpreter, source });
    }
    let strings = environment.iter().map(|(name, value)| (name, name.len() + value.len() + 2));
    if let Some((variable, size)) = strings.clone().find(|(_, size)| *size > MAX_VARIABLE) {
        return Err(StartError::TooLong { program: name(), name: variable.display().to_string(), size });
    }
    let arguments = [program].into_iter().chain(command.get_args()).map(|argument| argument.len() + 1);
    let strings = strings.map(|(_, size)| size).chain(arguments);
    // Each string also has a pointer.
    let size = MARGIN + strings.map(|size| (size + size_of::<usize>()) as u64).sum::<u64>();
    let limit = argument_limit();
    if cfg!(target_os = "linux") && size > limit {
        return Err(StartError::TooLarge { program: name(), size, limit });
    }
    Ok(())
}

/// Returns the limit for arguments and environment, in bytes: a quarter of the stack limit (execve(2)).
fn argument_limit() -> u64 {
    let stack = getrlimit(Resource::Stack).current;
    stack.map_or(MAX_ARGUMENTS, |stack| stack / 4).clamp(MIN_ARGUMENTS, MAX_ARGUMENTS)
}

/// Returns the environment of `command`.
fn environment(command: &Command) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => environment.insert(name.to_owned(), value.to_owned()),
            None => environment.remove(name),
        };
    }
    environment
}

/// Returns the file of `program`: itself if it contains a slash, otherwise the first executable in `path`.
fn find(program: &OsStr, path: &OsStr) -> io::Result<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return executable(Path::new(program)).map(|()| program.into());
    }
    let mut refusal = io::Error::from(Errno::NOENT);
    for directory in std::env::split_paths(path) {
        let file = directory.join(program);
        match executable(&file) {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refusal = error,
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// Returns an error unless this user may execute the file at `path`.
fn executable(path: &Path) -> io::Result<()> {
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Returns the interpreter of the script at `path`; `None` if it is not a script or not readable.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(MAX_INTERPRETER_LINE).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(OsStr::from_bytes(word).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_texts;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Stdio;

    /// Whether the system starts it, as the reference.
    fn starts(command: &mut Command) -> bool {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.map(|mut child| child.wait().unwrap()).is_ok()
    }

    #[test]
    fn a_passing_command_starts_and_a_far_larger_one_does_not() {
        let variables = |count: usize| {
            let mut command = Command::new("true");
            command.envs((0..count).map(|number| (format!("v{number}"), "x".repeat(90_000))));
            command
        };
        let mut largest = (1..100).take_while(|count| check_start(&variables(*count)).is_ok()).last().unwrap();
        assert!(starts(&mut variables(largest)), "{largest}");
        largest += 2;
        assert!(matches!(check_start(&variables(largest)), Err(StartError::TooLarge { .. })));
        assert!(!starts(&mut variables(largest)), "{largest}");
    }

    #[test]
    fn a_variable_of_128_kib_is_too_long() {
        let mut command = Command::new("true");
        command.env("x", "y".repeat(MAX_VARIABLE - 3));
        assert!(check_start(&command).is_ok() && starts(&mut command));
        command.env("x", "y".repeat(MAX_VARIABLE - 2));
        assert!(matches!(check_start(&command), Err(StartError::TooLong { .. })));
    }

    #[test]
    fn a_program_is_found_like_the_system_finds_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let script = file("mapcast-script", "#!/bin/sh\nexit 0\n", 0o755);
        let broken = file("broken", "#! /no/such/interpreter -x\n", 0o755);
        let plain = file("plain", "#!/bin/sh\n", 0o644);
        assert!(check_start(&Command::new(&script)).is_ok());
        assert!(check_start(Command::new("mapcast-script").env("PATH", directory.path())).is_ok());
        assert!(
            check_start(Command::new("mapcast-script").env("PATH", "/usr/bin"))
                .is_err_and(|error| error.is_program_error())
        );
        for program in [broken, plain, directory.path().to_owned(), directory.path().join("missing")] {
            let error = check_start(&Command::new(&program)).unwrap_err();
            assert!(error.is_program_error(), "{error}");
        }
    }

    #[test]
    fn every_error_has_its_text() {
        let program = || "run".to_owned();
        let denied = || io::ErrorKind::PermissionDenied.into();
        check_texts!(StartError {
            Program { program: program(), source: denied() } => "cannot run run";
            Interpreter { program: program(), interpreter: "/bin/x".to_owned(), source: denied() } =>
                "cannot run run: cannot run its interpreter /bin/x";
            TooLarge { program: program(), size: 3, limit: 2 } =>
                "cannot run run: its environment with the map takes 3 bytes, and the system allows 2; take fewer entries \
                 (--key), read them from MAPCAST_FILE (--signal), or raise the limit (ulimit -s)";
            TooLong { program: program(), name: "A".to_owned(), size: 3 } =>
                "cannot run run: the variable A takes 3 bytes, and the system allows 128KiB";
        });
    }
}
