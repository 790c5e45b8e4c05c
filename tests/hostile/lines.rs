//! The source of JSON lines, with an input in memory, followed to its end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use log::{Level, LevelFilter, Log, Metadata, Record};
use mapcast::source::{Lines, Sink, Source};
use mapcast::{Feed, Format, Map, Shutdown, Value};

/// The largest frame: small, so that inputs contain maps below and above it.
const MAX_FRAME: usize = 200;

/// Bytes in memory, with a descriptor that is always readable, for the poll before each read.
struct Memory<'a> {
    rest: &'a [u8],
    /// The length of one read.
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

/// Checks every log line of the source.
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

/// Fails if a log line of a source or of HTTP has control characters or is too long.
pub fn check_line(record: &Record<'_>) {
    let is_of_http = record.target().starts_with("mapcast::http");
    if is_of_http || record.level() <= Level::Info && record.target().starts_with("mapcast::source") {
        super::assert_printable(&record.args().to_string());
    }
}

/// Checks every log line from now on.
pub(super) fn follow_log() {
    // Fails if the program already has a logger, which then checks the lines.
    if log::set_logger(&Reader).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

/// Created once, because each needs a descriptor.
fn surroundings() -> &'static (Shutdown, File) {
    static SURROUNDINGS: OnceLock<(Shutdown, File)> = OnceLock::new();
    SURROUNDINGS.get_or_init(|| {
        follow_log();
        (Shutdown::new().unwrap(), File::open("/dev/null").unwrap())
    })
}

/// For any input in any pieces, each line is parsed alone, changes are counted, and the last good map stays. The first byte is the
/// length of each read.
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

/// Returns the payloads of the lines that are valid maps and differ from the previous one.
fn line_by_line(text: &[u8]) -> Vec<Vec<u8>> {
    let read = |line| Format::Json.decode_map(line).ok().filter(|map| entries(map) == colons(line));
    let written = |map: Map| Format::Json.encode_map(&map).ok().filter(|payload| payload.len() <= MAX_FRAME);
    let mut payloads: Vec<_> = text.split(|byte| *byte == b'\n').filter_map(read).filter_map(written).collect();
    payloads.dedup();
    payloads
}

/// Returns the number of entries of a map and of all nested maps.
fn entries(map: &Map) -> usize {
    map.len() + map.values().map(entries_of_value).sum::<usize>()
}

fn entries_of_value(value: &Value) -> usize {
    match value {
        Value::Map(map) => entries(map),
        Value::List(items) => items.iter().map(entries_of_value).sum(),
        _ => 0,
    }
}

/// Returns the number of colons in `json` outside strings: the number of entries, including duplicate keys.
fn colons(json: &[u8]) -> usize {
    let (mut colons, mut is_text, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b':' if !is_text => colons += 1,
            _ => {}
        }
    }
    colons
}
