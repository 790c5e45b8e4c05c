//! Standard output: unbuffered, watched for a closed reader, and with writes that cannot hang the client.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mapcast::Shutdown;
use mapcast::client::Error;

use crate::platform::{WakeReader, standard_output, wait_output_closed, wake_pair};

/// How much longer than the client's own time limit a write may take: the current write is then complete, unless the
/// output has no reader.
const GRACE: Duration = Duration::from_millis(100);

/// Unbuffered standard output: one map is one write, so that several clients can share a pipe, a terminal or a file
/// without mixing within a line.
///
/// A thread of its own writes, because a write may block for ever: the reader may have stopped, or a terminal be
/// suspended. Whether a write will block cannot be predicted: poll(2) reports that there is some room, not how much,
/// and another process may fill it. Nor may the descriptor be set to non-blocking, because other processes share it,
/// for example the shell.
#[derive(Debug)]
pub(crate) struct Stdout {
    /// `None` after a write that hangs.
    work: Option<Sender<Vec<u8>>>,
    outcomes: Receiver<io::Result<()>>,
    /// Has a byte for each outcome; closed if the thread has panicked.
    ready: WakeReader,
    shutdown: Shutdown,
    deadline: Option<Instant>,
}

impl Stdout {
    /// Returns standard output. Its writes end with the stop or at `deadline`; `None` never comes.
    ///
    /// # Errors
    /// If standard output is closed, or the system has no descriptor or thread left.
    pub(crate) fn start(shutdown: &Shutdown, deadline: Option<Instant>) -> io::Result<Self> {
        Self::to(standard_output()?, shutdown, deadline)
    }

    fn to(mut out: impl Write + Send + 'static, shutdown: &Shutdown, deadline: Option<Instant>) -> io::Result<Self> {
        let (work, texts) = channel::<Vec<u8>>();
        let (outcome, outcomes) = channel();
        let (ready, mut signal) = wake_pair()?;
        let write = move || {
            for text in texts {
                // The receiver is gone only if no write is awaited any more.
                if outcome.send(out.write_all(&text)).is_err() || signal.write_all(&[0]).is_err() {
                    return;
                }
            }
        };
        // The thread ends with the process at the latest.
        thread::Builder::new().name("writer".to_owned()).spawn(write)?;
        Ok(Self { work: Some(work), outcomes, ready, shutdown: shutdown.clone(), deadline })
    }

    /// Writes `bytes` in the thread and waits for it. Returns [`Error::Stopped`] or [`Error::TimedOut`] if that takes
    /// too long; a part may have been written then, and later writes fail.
    fn write_in_thread(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let gone = || Error::Output(io::Error::other("the thread that writes has ended"));
        self.work.as_ref().ok_or_else(gone)?.send(bytes.to_vec()).map_err(|_| gone())?;
        let is_done = self.shutdown.wait_readable(&self.ready, self.deadline).map_err(Error::Output)?;
        let outcome = self.outcomes.recv_timeout(if is_done { Duration::ZERO } else { GRACE });
        if matches!(outcome, Err(RecvTimeoutError::Timeout)) {
            self.work = None;
            return Err(if self.shutdown.is_triggered() { Error::Stopped } else { Error::TimedOut });
        }
        self.ready.read_exact(&mut [0]).map_err(|_| gone())?;
        outcome.map_err(|_| gone())?.map_err(Error::Output)
    }
}

/// Each write is complete or an error; [`write_error`] returns its cause.
impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_in_thread(bytes).map(|()| bytes.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the cause of a failed write: a stop, a timeout, or an error of the output.
pub(crate) fn write_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(meant) => meant,
        Err(error) => Error::Output(error),
    }
}

/// Applies [`write_error`] to an output error; returns other errors as they are.
pub(crate) fn unwrap_write_error(error: Error) -> Error {
    match error {
        Error::Output(error) => write_error(error),
        error => error,
    }
}

/// Detects that standard output has no reader any more.
#[derive(Debug)]
pub(crate) struct CloseWatcher {
    closed: Arc<AtomicBool>,
}

impl CloseWatcher {
    /// Triggers `shutdown` as soon as standard output has no reader. A write alone would detect that only with the
    /// next map, and `mapcast-client | head -1` would wait until then.
    pub(crate) fn start(shutdown: &Shutdown) -> io::Result<Self> {
        let closed = Arc::new(AtomicBool::new(false));
        let (shutdown, ready) = (shutdown.clone(), Arc::clone(&closed));
        let watch = move || {
            if wait_output_closed(&shutdown) {
                ready.store(true, Ordering::SeqCst);
                shutdown.trigger();
            }
        };
        // The thread ends with the process at the latest.
        thread::Builder::new().name("stdout".to_owned()).spawn(watch)?;
        Ok(Self { closed })
    }

    /// True if and only if this watcher has triggered the stop.
    pub(crate) fn saw_close(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

/// Passes bytes on and remembers the last one.
#[derive(Debug)]
pub(crate) struct LastByteWriter<W> {
    out: W,
    last: Option<u8>,
}

impl<W: Write> LastByteWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, last: None }
    }

    /// Writes a line feed unless the output is empty or ends with one, so that the shell's prompt is on a line of its
    /// own.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        if self.last.is_some_and(|last| last != b'\n') {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl<W: Write> Write for LastByteWriter<W> {
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
    use std::fs::File;
    use std::io::PipeReader;
    use std::os::fd::OwnedFd;

    /// More than any pipe holds (pipe(7)).
    const TOO_MUCH: usize = 4 << 20;

    /// Returns an output into a pipe, the reading end, and the stop of its writes.
    fn pipe(deadline: Option<Instant>) -> (Stdout, PipeReader, Shutdown) {
        let ((reader, writer), shutdown) = (io::pipe().unwrap(), Shutdown::new().unwrap());
        let out = Stdout::to(File::from(OwnedFd::from(writer)), &shutdown, deadline).unwrap();
        (out, reader, shutdown)
    }

    #[test]
    fn writes_arrive_in_order() {
        let (mut out, mut reader, _shutdown) = pipe(None);
        let read = thread::Builder::new().spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        let wanted: Vec<u8> = (0..TOO_MUCH).map(|number| number.to_le_bytes()[1]).collect();
        for piece in wanted.chunks(TOO_MUCH / 3) {
            out.write_all(piece).unwrap();
        }
        drop(out);
        assert!(read.unwrap().join().unwrap().unwrap() == wanted);
    }

    #[test]
    fn a_stop_ends_a_write_without_a_reader() {
        let (mut out, _reader, shutdown) = pipe(None);
        thread::scope(|scope| {
            let writing = scope.spawn(move || out.write_all(&vec![0; TOO_MUCH]));
            shutdown.trigger();
            assert!(matches!(writing.join().unwrap().map_err(write_error), Err(Error::Stopped)));
        });
    }

    #[test]
    fn the_deadline_ends_a_write_without_a_reader() {
        let (mut out, _reader, _shutdown) = pipe(Some(Instant::now() + Duration::from_millis(20)));
        assert!(matches!(out.write_all(&vec![0; TOO_MUCH]).map_err(write_error), Err(Error::TimedOut)));
    }

    #[test]
    fn a_write_to_a_closed_output_is_a_broken_pipe() {
        let (mut out, reader, _shutdown) = pipe(None);
        drop(reader);
        // A child process of another test also holds the reading end until it has started.
        let error = loop {
            if let Err(error) = out.write_all(b"x") {
                break unwrap_write_error(Error::Output(error));
            }
        };
        assert!(matches!(error, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn a_line_feed_is_added_only_where_it_is_missing() {
        for (text, wanted) in [("", ""), ("Hola", "Hola\n"), ("Hola\n", "Hola\n")] {
            let mut out = LastByteWriter::new(Vec::new());
            out.write_all(text.as_bytes()).unwrap();
            out.end_line().unwrap();
            assert_eq!(out.out, wanted.as_bytes());
        }
    }
}
