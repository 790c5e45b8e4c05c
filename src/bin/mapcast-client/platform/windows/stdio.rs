//! Standard output, and a pair of sockets that wakes a waiting thread: Windows waits for the readiness of sockets only.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::windows::io::AsHandle;
use std::time::Duration;

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

/// Returns a duplicate of the handle of standard output. A console shows the bytes in its own code page.
pub(crate) fn standard_output() -> io::Result<File> {
    io::stdout().as_handle().try_clone_to_owned().map(File::from)
}

/// Waits for the stop and returns false: the system does not say that a pipe has no reader. The next write fails.
pub(crate) fn wait_output_closed(shutdown: &Shutdown) -> bool {
    while !shutdown.wait(Duration::from_hours(1)) {}
    false
}
