//! Standard error. On a console, its text; otherwise its bytes, without the locks of the standard library, which a panicking or
//! printing thread may need.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::windows::io::AsHandle;

use crossterm::ansi_support::supports_ansi;

/// An output of bytes.
pub(super) trait RawOutput {
    /// Writes some of `bytes`, and returns how many.
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// A console, which would show bytes in its own code page: the standard library converts text for it.
struct Console;

impl RawOutput for Console {
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write(bytes)
    }
}

impl RawOutput for File {
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = self;
        out.write(bytes)
    }
}

impl RawOutput for Box<dyn RawOutput + Send> {
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        (**self).write_some(bytes)
    }
}

/// Returns the console, or a duplicate of the handle of standard error.
pub(super) fn standard_error() -> io::Result<impl RawOutput + Send + 'static> {
    let stderr = io::stderr();
    let out: Box<dyn RawOutput + Send> = if stderr.is_terminal() {
        Box::new(Console)
    } else {
        Box::new(File::from(stderr.as_handle().try_clone_to_owned()?))
    };
    Ok(out)
}

/// False if and only if standard error is a console that does not accept the sequences of ECMA-48. Turns them on.
pub(super) fn accepts_colours() -> bool {
    !io::stderr().is_terminal() || supports_ansi()
}
