//! The source of JSON lines, followed to its end from memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use log::{Level, LevelFilter, Log, Metadata, Record};
use mapcast::source::{Lines, Sink, Source};
use mapcast::{Feed, Format, Map, Shutdown};

/// The largest frame: small, so that inputs are on both sides of it.
const MAX_FRAME: usize = 200;

/// Bytes in memory with a descriptor that can always be read, for the poll before each read.
struct Memory<'a> {
    rest: &'a [u8],
    /// Bytes of one read.
    step: usize,
    descriptor: &'a File,
}

impl Read for Memory<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.step.min(into.len()).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        into[..len].copy_from_slice(taken);
        self.rest = rest;
        Ok(len)
    }
}

impl AsFd for Memory<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Looks at every line of the source's log.
struct Reader;

impl Log for Reader {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        check_line(record);
    }

    fn flush(&self) {}
}

/// Fails if a source's line would be obeyed by a terminal, or is endless.
pub fn check_line(record: &Record<'_>) {
    if record.level() <= Level::Info && record.target().starts_with("mapcast::source") {
        super::assert_printable(&record.args().to_string());
    }
}

/// What is made once: each takes a descriptor.
fn surroundings() -> &'static (Shutdown, File) {
    static SURROUNDINGS: OnceLock<(Shutdown, File)> = OnceLock::new();
    SURROUNDINGS.get_or_init(|| {
        // Refused if the program has a log already, which then checks the lines.
        if log::set_logger(&Reader).is_ok() {
            log::set_max_level(LevelFilter::Info);
        }
        (Shutdown::new().unwrap(), File::open("/dev/null").unwrap())
    })
}

/// Whatever comes, in whatever pieces: each line is judged alone, the changes are counted, and the last good map stays.
/// The first byte is the length of a read.
pub(super) fn check(bytes: &[u8]) {
    let Some((piece, text)) = bytes.split_first() else { return };
    let (stop, descriptor) = surroundings();
    let sink = Sink::new(Arc::new(Feed::new(Format::Json, MAX_FRAME)), vec![]);
    let input = Memory { rest: text, step: usize::from(*piece).max(1), descriptor };
    Lines::new(input, "memory").follow(&sink, stop);
    let changes = line_by_line(text);
    assert_eq!(sink.feed().version(), changes.len() as u64);
    let latest = sink.feed().latest();
    assert_eq!(latest.as_ref().map(|latest| latest.frame.payload()), changes.last().map(Vec::as_slice));
}

/// Returns the payloads of the lines that are maps and can be sent, without those that equal the one before.
fn line_by_line(text: &[u8]) -> Vec<Vec<u8>> {
    let read = |line| Format::Json.decode_map(line).ok();
    let written = |map: Map| Format::Json.encode_map(&map).ok().filter(|payload| payload.len() <= MAX_FRAME);
    let mut payloads: Vec<_> = text.split(|byte| *byte == b'\n').filter_map(read).filter_map(written).collect();
    payloads.dedup();
    payloads
}
