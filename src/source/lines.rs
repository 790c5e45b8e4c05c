//! The line source: one JSON object a line, from standard input or any other descriptor that can be polled.

use std::io::{self, ErrorKind, Read};
use std::time::Duration;

use super::Source;
use super::error::Error;
use super::sink::{Published, Sink};
use super::syntax::Syntax;
use crate::display::notice::Notice;
use crate::display::throttle::Throttle;
use crate::platform::{self, PollableFile};
use crate::shutdown::{Pollable, Shutdown};

/// The bytes of one read: the capacity of a pipe on Linux.
const CHUNK: usize = 64 * 1024;

/// The longest line, as a multiple of the largest frame: escapes take room, and bincode is shorter than JSON.
const MAX_LINE_FRAMES: usize = 4;

/// The least limit for a line, however small the frames: 1 MiB.
const MIN_MAX_LINE: usize = 1024 * 1024;

/// How often invalid lines are logged.
const LOG_PERIOD: Duration = Duration::from_secs(1);

/// Lines with one JSON object each, the new map. A line ends in LF or CR LF, the last one optionally; blank lines are skipped.
///
/// `R` must not buffer: a buffered line would wait while the descriptor is not readable.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    name: &'static str,
    /// The received part of the current line. Never longer than the limit.
    line: Vec<u8>,
    /// The number of the current line, from 1.
    number: u64,
    /// True if the current line is above the limit: the rest of it is discarded.
    is_overlong: bool,
    throttle: Throttle,
}

/// Why reading has ended.
enum ReadEnd {
    Shutdown,
    EndOfInput,
}

impl Lines<PollableFile> {
    /// Returns the source that reads standard input through its own descriptor, without the buffer of [`io::stdin`].
    ///
    /// # Errors
    /// `Unreadable` if the system has no descriptor left.
    pub fn standard_input() -> Result<Self, Error> {
        let name = "standard input";
        let input = platform::standard_input().and_then(platform::pollable);
        let input = input.map_err(|source| Error::Unreadable { name: name.to_owned(), source })?;
        Ok(Self::new(input, name))
    }
}

impl<R: Read + Pollable + Send> Lines<R> {
    /// Returns the source that reads `input`, called `name` in the log.
    pub fn new(input: R, name: &'static str) -> Self {
        let throttle = Throttle::new(LOG_PERIOD);
        Self { input, name, line: Vec::new(), number: 1, is_overlong: false, throttle }
    }

    /// Publishes each line that `chunk` completes, and returns what to log. Each byte is scanned once when it is received, and
    /// parsed once when its line is complete.
    fn take(&mut self, chunk: &[u8], sink: &Sink) -> Vec<Notice> {
        let mut news = Vec::new();
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            let ended = part.strip_suffix(b"\n");
            news.extend(self.append(ended.unwrap_or(part), sink));
            if ended.is_some() {
                news.extend(self.end_line(sink));
            }
        }
        news
    }

    fn append(&mut self, text: &[u8], sink: &Sink) -> Option<Notice> {
        let max = max_line(sink);
        if self.is_overlong {
            return None;
        }
        if self.line.len() + text.len() <= max {
            self.line.extend_from_slice(text);
            return None;
        }
        // Logged now and not at the end of the line: it may have none.
        self.is_overlong = true;
        self.line = Vec::new();
        let error = Error::TooLong { name: self.line_name(), max: max as u64 };
        sink.fail(&error, |problem| self.report(problem))
    }

    fn end_line(&mut self, sink: &Sink) -> Option<Notice> {
        let is_map = !self.is_overlong && !self.line.trim_ascii().is_empty();
        let news = if is_map { self.publish_or_report(sink) } else { None };
        self.line.clear();
        self.is_overlong = false;
        self.number += 1;
        news
    }

    /// Publishes the line and returns what to log: an invalid line, and the first map. Each later map is logged at level
    /// debug, as there may be thousands a second.
    fn publish_or_report(&mut self, sink: &Sink) -> Option<Notice> {
        let published = match self.publish_line(sink) {
            Ok(published) => published,
            Err(error) => return sink.fail(&error, |problem| self.report(problem)),
        };
        let text = format!("{}: {published}", self.name);
        if published.changed && published.version == 1 {
            return Some(Notice::info(text));
        }
        log::debug!("{text}");
        None
    }

    fn publish_line(&self, sink: &Sink) -> Result<Published, Error> {
        let map = Syntax::Json.parse(&self.line).map_err(|fault| Error::Invalid {
            name: self.name.to_owned(),
            whole: Syntax::Json.whole(),
            source: fault.in_line(self.number),
        })?;
        sink.publish(map).map_err(|source| Error::Refused { name: self.line_name(), source })
    }

    fn line_name(&self) -> String {
        format!("{}, line {}", self.name, self.number)
    }

    fn report(&mut self, problem: &str) -> Option<Notice> {
        let held = match self.throttle.pass()? {
            0 => String::new(),
            held => format!(" ({held} more held back)"),
        };
        Some(Notice::warning(format!("{problem}; the last good map stays{held}")))
    }

    /// Returns a notice of the invalid lines that were not logged, if their second has passed, or at the end: `is_end`.
    fn suppressed(&mut self, is_end: bool) -> Option<Notice> {
        let held = self.throttle.release(is_end)?;
        let lines = if held == 1 { "line" } else { "lines" };
        Some(Notice::warning(format!("{}: {held} more bad {lines}; the last good map stays", self.name)))
    }

    /// Reads until the shutdown or the end of the input, and returns which it was.
    fn read_all(&mut self, sink: &Sink, stop: &Shutdown) -> io::Result<ReadEnd> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let is_ready = stop.wait_readable(&self.input, self.throttle.due()).unwrap_or_else(|source| {
                // The failed wait took a moment, and the next one may succeed.
                let error = Error::Unreadable { name: self.name.to_owned(), source };
                sink.fail(&error, |problem| self.report(problem)).iter().for_each(Notice::log);
                false
            });
            if stop.is_triggered() {
                return Ok(ReadEnd::Shutdown);
            }
            self.suppressed(false).iter().for_each(Notice::log);
            if !is_ready {
                continue;
            }
            match self.input.read(&mut chunk) {
                Ok(0) => return Ok(ReadEnd::EndOfInput),
                Ok(read) => self.take(&chunk[..read], sink).iter().for_each(Notice::log),
                // Another process has made the descriptor non-blocking, or has read the data.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read + Pollable + Send> Source for Lines<R> {
    /// Does nothing: there is no map before the first line.
    fn load(&mut self, _sink: &Sink, _stop: &Shutdown) -> Result<(), Error> {
        Ok(())
    }

    fn follow(&mut self, sink: &Sink, stop: &Shutdown) {
        match self.read_all(sink, stop) {
            Ok(ReadEnd::Shutdown) => self.suppressed(true).iter().for_each(Notice::log),
            Ok(ReadEnd::EndOfInput) => {
                // The last line may have no line end.
                self.end_line(sink).iter().for_each(Notice::log);
                self.suppressed(true).iter().for_each(Notice::log);
                log::info!("{} ended: the last map stays", self.name);
            }
            Err(source) => {
                self.suppressed(true).iter().for_each(Notice::log);
                let error = Error::Unreadable { name: self.name.to_owned(), source };
                let last = "the last good map stays, and no other will come";
                let notice = sink.fail(&error, |problem| Some(Notice::warning(format!("{problem}; {last}"))));
                notice.iter().for_each(Notice::log);
            }
        }
    }
}

fn max_line(sink: &Sink) -> usize {
    MIN_MAX_LINE.max(MAX_LINE_FRAMES.saturating_mul(sink.feed().max_frame()))
}

#[cfg(test)]
mod tests;
