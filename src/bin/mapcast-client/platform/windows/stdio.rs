//! Standard output, and a pair of sockets that wakes a waiting thread: Windows waits for the readiness of sockets only.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::windows::io::AsHandle;
use std::time::Duration;

use crossterm::ansi_support::supports_ansi;
use mapcast::Shutdown;

/// The end of a pair for which a thread can wait.
pub(crate) type WakeReader = TcpStream;

/// Returns two connected sockets; a byte in the first wakes the thread that waits for it.
pub(crate) fn wake_pair() -> io::Result<(WakeReader, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let reader = TcpStream::connect(listener.local_addr()?)?;
    loop {
        let (writer, peer) = listener.accept()?;
        // Another process may have connected first.
        if peer == reader.local_addr()? {
            writer.set_nodelay(true)?;
            return Ok((reader, writer));
        }
    }
}

/// Standard output: a console takes text, anything else takes bytes.
#[derive(Debug)]
pub(crate) struct StandardOutput {
    bytes: File,
    is_console: bool,
}

/// Returns standard output. It has a duplicate of the handle.
pub(crate) fn standard_output() -> io::Result<StandardOutput> {
    let stdout = io::stdout();
    let bytes = stdout.as_handle().try_clone_to_owned().map(File::from)?;
    Ok(StandardOutput { bytes, is_console: stdout.is_terminal() })
}

impl Write for StandardOutput {
    /// A console would show the bytes in its own code page. The standard library converts text for it; it refuses what is not
    /// UTF-8, with `InvalidData`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_console && str::from_utf8(bytes).is_ok() {
            let mut console = io::stdout().lock();
            return console.write_all(bytes).and_then(|()| console.flush()).map(|()| bytes.len());
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the type of the terminal: `TERM`, which Windows itself does not set. A console that accepts the sequences of ECMA-48
/// has one in any case.
pub(crate) fn terminal_type() -> Option<OsString> {
    env::var_os("TERM").or_else(|| supports_ansi().then(|| "console".into()))
}

/// Waits for the stop and returns false: the system does not say that a pipe has no reader. The next write fails.
pub(crate) fn wait_output_closed(shutdown: &Shutdown) -> bool {
    while !shutdown.wait(Duration::from_hours(1)) {}
    false
}
