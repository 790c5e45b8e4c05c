//! Standard output: without a buffer, and watched.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mapcast::Shutdown;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Returns standard output without a buffer: one map must be one write, so that several clients who share a terminal or
/// a file never mix within a line.
pub(crate) fn unbuffered() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Whether anyone still reads standard output.
#[derive(Debug)]
pub(crate) struct Watch {
    closed: Arc<AtomicBool>,
}

impl Watch {
    /// Has `shutdown` triggered as soon as nobody reads standard output any more. A write alone would notice that with
    /// the next map, and `mapcast-client | head -1` would stand there until then.
    pub(crate) fn start(shutdown: &Shutdown) -> io::Result<Self> {
        let closed = Arc::new(AtomicBool::new(false));
        let (shutdown, told) = (shutdown.clone(), Arc::clone(&closed));
        let watch = move || {
            if wait_closed(&shutdown) {
                told.store(true, Ordering::SeqCst);
                shutdown.trigger();
            }
        };
        // It ends with the process, or before.
        thread::Builder::new().name("stdout".to_owned()).spawn(watch)?;
        Ok(Self { closed })
    }

    /// True if and only if the stop came from here.
    pub(crate) fn saw_close(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

/// Returns true if and only if standard output was closed at its other end before the stop was requested.
fn wait_closed(shutdown: &Shutdown) -> bool {
    let stdout = io::stdout();
    // No flags: its end, and an error on it, are always told.
    let mut fds = [PollFd::new(&stdout, PollFlags::empty()), PollFd::new(shutdown, PollFlags::IN)];
    while poll(&mut fds, None) == Err(Errno::INTR) {}
    fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Passes bytes on and remembers the last one.
#[derive(Debug)]
pub(crate) struct LastByte<W> {
    out: W,
    last: Option<u8>,
}

impl<W: Write> LastByte<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, last: None }
    }

    /// Ends the line if it has begun and has no end: a prompt would stand behind it.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        if self.last.is_some_and(|last| last != b'\n') {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl<W: Write> Write for LastByte<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.last = bytes[..written].last().copied().or(self.last);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_ended_only_if_it_has_begun_and_has_no_end() {
        for (text, wanted) in [("", ""), ("Hola", "Hola\n"), ("Hola\n", "Hola\n")] {
            let mut out = LastByte::new(Vec::new());
            out.write_all(text.as_bytes()).unwrap();
            out.end_line().unwrap();
            assert_eq!(out.out, wanted.as_bytes());
        }
    }
}
