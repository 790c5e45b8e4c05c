//! A queue between the threads that log and the thread that writes to standard error.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::raw_output::RawOutput;

/// The most bytes in the queue: 1 MiB, some 9,000 lines of the usual length.
const MAX_BYTES: usize = 1 << 20;

/// The most lines in the queue: 16,384. Short lines cost more memory than their bytes.
const MAX_LINES: usize = 16_384;

/// The stack of the writer thread: 128 KiB, as for the server's other threads.
const STACK_SIZE: usize = 128 * 1024;

/// A bounded queue of lines and the thread that writes them. Clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct LogQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Guards the waiting lines; held to insert or to remove one, never during a write.
    state: Mutex<State>,
    /// Wakes the writer thread.
    filled: Condvar,
    /// Wakes the threads that flush.
    drained: Condvar,
    /// The number of lines that were dropped or could not be written.
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    /// The bytes of `lines`.
    bytes: usize,
    /// Dropped lines that are not reported yet. They are newer than all of `lines`.
    dropped: u64,
    /// True if and only if the writer thread has written everything and waits.
    is_idle: bool,
}

impl LogQueue {
    /// Starts the thread that writes to `out`; it ends with the process. `dropped` counts lost lines.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn start(out: impl RawOutput + Send + 'static, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let shared = Shared { state: Mutex::default(), filled: Condvar::new(), drained: Condvar::new(), dropped };
        let queue = Self { shared: Arc::new(shared) };
        let shared = Arc::clone(&queue.shared);
        thread::Builder::new().name("log".to_owned()).stack_size(STACK_SIZE).spawn(move || shared.write_lines(&out))?;
        Ok(queue)
    }

    /// Queues `line`, which includes its line feed, or drops it if the queue is full. Never blocks.
    pub(super) fn push(&self, line: &[u8]) {
        let line = Box::from(line);
        let mut state = self.shared.lock();
        // After a drop nothing is queued until the drop is reported, so that the report stands where lines are
        // missing.
        if state.dropped > 0 || !state.fits(&line) {
            state.dropped += 1;
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            state.push(line);
        }
        let was_idle = std::mem::take(&mut state.is_idle);
        drop(state);
        if was_idle {
            self.shared.filled.notify_one();
        }
    }

    /// Waits until every queued line is written, for at most `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let is_busy = |state: &mut State| !state.is_idle;
        // Lines that are still queued then are lost: standard error does not accept them.
        drop(self.shared.drained.wait_timeout_while(self.shared.lock(), timeout, is_busy));
    }
}

/// Each write is one line. It never fails.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn fits(&self, line: &[u8]) -> bool {
        self.lines.len() < MAX_LINES && self.bytes + line.len() <= MAX_BYTES
    }

    fn push(&mut self, line: Box<[u8]>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// Takes the oldest line. After a drop, half of the queue must be free before the drop is reported and lines are
    /// accepted again: otherwise a slow reader would get a report with every line.
    fn pop(&mut self) -> Option<Box<[u8]>> {
        if self.dropped > 0 && self.lines.len() <= MAX_LINES / 2 && self.bytes <= MAX_BYTES / 2 {
            let dropped = std::mem::take(&mut self.dropped);
            self.push(report(dropped, &"standard error was not read; read it, or log less with -q"));
        }
        let line = self.lines.pop_front()?;
        self.bytes -= line.len();
        Some(line)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_line(&self) -> Box<[u8]> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.pop() {
                return line;
            }
            state.is_idle = true;
            self.drained.notify_all();
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes lines for ever. After a line that cannot be written, the next successful write begins with a report.
    fn write_lines(&self, out: &impl RawOutput) {
        let (mut lost, mut is_torn, mut why) = (0, false, io::Error::from(io::ErrorKind::Other));
        loop {
            let line = self.next_line();
            let written = if lost == 0 {
                Ok(())
            } else {
                let mut report = report(lost, &format_args!("standard error failed: {why}")).into_vec();
                if is_torn {
                    report.insert(0, b'\n');
                }
                write_all(out, &report).map(|()| (lost, is_torn) = (0, false))
            };
            if let Err(error) = written.and_then(|()| write_all(out, &line)) {
                lost += 1;
                is_torn |= error.is_torn;
                why = error.source;
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A write that failed.
struct WriteError {
    source: io::Error,
    /// True if and only if a part was written.
    is_torn: bool,
}

/// Writes all of `bytes`, in one call unless `out` accepts only a part.
fn write_all(out: &impl RawOutput, mut bytes: &[u8]) -> Result<(), WriteError> {
    let mut is_torn = false;
    while !bytes.is_empty() {
        match out.write_some(bytes) {
            Ok(0) => return Err(WriteError { source: io::ErrorKind::WriteZero.into(), is_torn }),
            Ok(written) => (bytes, is_torn) = (&bytes[written..], true),
            Err(source) => return Err(WriteError { source, is_torn }),
        }
    }
    Ok(())
}

/// Returns the line that replaces `dropped` lines, formatted as a log line. It is written at every level.
fn report(dropped: u64, why: &dyn Display) -> Box<[u8]> {
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    let lines = if dropped == 1 { "line" } else { "lines" };
    format!("[{now} WARN ] dropped {dropped} log {lines}: {why}\n").into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read};
    use std::os::fd::OwnedFd;
    use std::sync::mpsc;
    use std::time::Instant;

    /// More than any test needs.
    const PATIENCE: Duration = Duration::from_mins(1);

    /// Returns a queue that writes into a pipe, the reading end, and the count of lost lines.
    fn pipe() -> (LogQueue, PipeReader, Arc<AtomicU64>) {
        let ((reader, writer), dropped) = (io::pipe().unwrap(), Arc::<AtomicU64>::default());
        let queue = LogQueue::start(OwnedFd::from(writer), Arc::clone(&dropped)).unwrap();
        (queue, reader, dropped)
    }

    /// Writes to `writer` until it accepts nothing more, and leaves it non-blocking. Returns the number of bytes.
    fn fill(writer: &PipeWriter) -> usize {
        rustix::fs::fcntl_setfl(writer, rustix::fs::OFlags::NONBLOCK).unwrap();
        let mut filled = 0;
        while let Ok(written) = rustix::io::write(writer, &[b'x'; 512]) {
            filled += written;
        }
        filled
    }

    fn read_lines(reader: PipeReader, mut take: impl FnMut(String) -> bool) {
        for line in BufReader::new(reader).lines() {
            if !take(line.unwrap()) {
                return;
            }
        }
    }

    #[test]
    fn lines_are_written_in_order_and_at_once() {
        let (queue, mut reader, dropped) = pipe();
        queue.push(b"first\n");
        queue.flush(PATIENCE);
        let mut line = [0; 6];
        reader.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"first\n");
        (0..1000).for_each(|number| queue.push(format!("{number}\n").as_bytes()));
        let mut next = 0;
        read_lines(reader, |line| {
            assert_eq!(line, next.to_string());
            next += 1;
            next < 1000
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_unread_pipe_blocks_no_push_and_gaps_are_reported() {
        let (queue, reader, dropped) = pipe();
        let line = |number: u64| format!("{number:>9} {}\n", "x".repeat(90));
        let (mut pushed, mut reported) = (0, 0);
        while dropped.load(Ordering::Relaxed) < 1000 {
            queue.push(line(pushed).as_bytes());
            pushed += 1;
        }
        assert!(pushed * 101 < 3 * MAX_BYTES as u64, "{pushed} lines");
        // Another thread pushes while the pipe is read, so that there may be further gaps.
        let (more, end) = (queue.clone(), pushed + 50_000);
        let other = thread::Builder::new().spawn(move || {
            (pushed..end).for_each(|number| more.push(line(number).as_bytes()));
            more.flush(PATIENCE);
            more.push(b"end\n");
        });
        let mut next = 0;
        read_lines(reader, |line| {
            if let Some((_, rest)) = line.split_once("WARN ] dropped ") {
                let count: u64 = rest.split(' ').next().unwrap().parse().unwrap();
                (next, reported) = (next + count, reported + count);
            } else if line != "end" {
                assert_eq!(line.split_whitespace().next().unwrap(), next.to_string(), "out of order, or not counted");
                next += 1;
            }
            line != "end"
        });
        other.unwrap().join().unwrap();
        assert_eq!((next, reported), (end, dropped.load(Ordering::Relaxed)));
    }

    #[test]
    fn bytes_and_lines_are_bounded() {
        for (line, in_bytes, in_lines) in [(vec![b'x'; 100_000], 10, 10), (b"\n".to_vec(), MAX_LINES, MAX_LINES)] {
            let ((_reader, writer), dropped) = (io::pipe().unwrap(), Arc::<AtomicU64>::default());
            fill(&writer);
            let queue = LogQueue::start(OwnedFd::from(writer), Arc::clone(&dropped)).unwrap();
            // The writer thread takes this line and waits: from then on nothing leaves the queue.
            queue.push(b"\n");
            while !queue.shared.lock().lines.is_empty() {
                thread::yield_now();
            }
            while dropped.load(Ordering::Relaxed) == 0 {
                queue.push(&line);
            }
            let state = queue.shared.lock();
            assert_eq!((state.lines.len(), state.bytes), (in_lines, in_bytes * line.len()));
        }
    }

    #[test]
    fn a_line_above_the_bound_is_reported_without_another_line() {
        let (queue, reader, _) = pipe();
        queue.push(&vec![b'x'; MAX_BYTES + 1]);
        read_lines(reader, |line| {
            assert!(line.contains("dropped 1 log line: "), "{line}");
            false
        });
    }

    #[test]
    fn a_flush_of_an_unread_pipe_ends_by_its_timeout() {
        let (queue, reader, _) = pipe();
        (0..10).for_each(|_| queue.push(&vec![b'x'; 100_000]));
        let began = Instant::now();
        queue.flush(Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20) && !queue.shared.lock().is_idle);
        drop(reader);
        queue.flush(PATIENCE);
        assert!(queue.shared.lock().is_idle, "EPIPE ends the wait");
    }

    #[test]
    fn a_non_blocking_pipe_gets_every_line_whole() {
        let (mut reader, writer) = io::pipe().unwrap();
        let filled = fill(&writer);
        let queue = LogQueue::start(OwnedFd::from(writer), Arc::default()).unwrap();
        let line = [&[b'y'; 9_999][..], b"\n"].concat();
        (0..20).for_each(|_| queue.push(&line));
        let (sender, read) = mpsc::channel();
        let mut all = vec![0; filled + 20 * line.len()];
        let reading = thread::Builder::new().spawn(move || sender.send(reader.read_exact(&mut all).map(|()| all)));
        let all = read.recv_timeout(PATIENCE).expect("no line is lost").unwrap();
        assert!(all[filled..] == line.repeat(20));
        reading.unwrap().join().unwrap().unwrap();
    }

    #[test]
    fn lines_lost_to_a_full_disk_are_counted() {
        let dropped = Arc::<AtomicU64>::default();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let queue = LogQueue::start(full, Arc::clone(&dropped)).unwrap();
        (0..3).for_each(|_| queue.push(b"lost\n"));
        queue.flush(PATIENCE);
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn the_first_line_after_a_failure_reports_it() {
        // A pipe without a reader fails; with a reader again it does not.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let reader = open();
        let writer = File::options().write(true).open(&path).unwrap();
        drop(reader);
        let queue = LogQueue::start(writer, Arc::default()).unwrap();
        queue.push(b"lost\n");
        queue.flush(PATIENCE);
        let mut lines = BufReader::new(open()).lines();
        queue.push(b"kept\n");
        let report = lines.next().unwrap().unwrap();
        assert!(report.contains("WARN ] dropped 1 log line: standard error failed: "), "{report}");
        assert_eq!(lines.next().unwrap().unwrap(), "kept");
    }
}
