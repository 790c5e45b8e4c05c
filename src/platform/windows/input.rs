//! Files that a thread can wait for: a socket, to which another thread passes the bytes of the file.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::net::TcpStream;
use std::os::windows::io::AsHandle;
use std::thread;

use super::pipe::local_pair;

/// The reading end.
pub(crate) type PollableFile = TcpStream;

/// Starts the thread that reads `file`, and returns the socket. A console is read as text: its bytes would be in its own code
/// page. The thread ends at the end of the file, after an error, at the first write after the socket is closed, or with the
/// process.
pub(crate) fn pollable(mut file: File) -> io::Result<PollableFile> {
    let (reader, mut writer) = local_pair()?;
    // An error of the file is an end of the input.
    let run = move || {
        if file.is_terminal() {
            drop(io::copy(&mut io::stdin().lock(), &mut writer));
        } else {
            drop(io::copy(&mut file, &mut writer));
        }
    };
    thread::Builder::new().name("input".to_owned()).spawn(run)?;
    Ok(reader)
}

/// Returns a duplicate of the handle of standard input, without the buffer of [`io::stdin`].
pub(crate) fn standard_input() -> io::Result<File> {
    Ok(io::stdin().as_handle().try_clone_to_owned()?.into())
}
