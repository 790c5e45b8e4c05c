//! Files that a thread can wait for.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// A file that a thread can wait for.
pub(crate) type PollableFile = File;

/// Returns `file`.
#[allow(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn pollable(file: File) -> io::Result<PollableFile> {
    Ok(file)
}

/// Returns a duplicate of the descriptor of standard input, without the buffer of [`io::stdin`].
pub(crate) fn standard_input() -> io::Result<File> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}
