//! Standard error, written without the locks of the standard library, which a panicking or printing thread may need.

use std::fs::File;
use std::io::{self, Write};
use std::os::windows::io::AsHandle;

/// An output of bytes.
pub(super) trait RawOutput {
    /// Writes some of `bytes`, and returns how many.
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl RawOutput for File {
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = self;
        out.write(bytes)
    }
}

/// Returns a duplicate of the handle of standard error. A console shows the bytes in its own code page.
pub(super) fn standard_error() -> io::Result<impl RawOutput + Send + 'static> {
    io::stderr().as_handle().try_clone_to_owned().map(File::from)
}
