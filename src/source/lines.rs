//! One JSON object a line, from standard input or anything else that can be polled.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use log::Level;

use super::Source;
use super::error::Error;
use super::report::Notice;
use super::sink::{Published, Sink};
use super::syntax::Syntax;

use crate::display::throttle::Throttle;
use crate::shutdown::Shutdown;

/// Bytes that are read at once: what a pipe holds on Linux.
const CHUNK: usize = 64 * 1024;

/// How much longer than the largest frame a line may be: room for escapes, and for what bincode says in fewer bytes.
const MAX_LINE_FRAMES: usize = 4;

/// The least limit for a line, however small the frames: 1 MiB.
const MIN_MAX_LINE: usize = 1024 * 1024;

/// How often bad lines are told.
const COMPLAINT_PERIOD: Duration = Duration::from_secs(1);

/// Lines, each of them one JSON object and the new map. They may end in LF or CR LF, the last one in nothing; blank ones
/// are skipped.
///
/// `R` must read what it is polled for: no buffer of its own may keep a line back while the descriptor is silent.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    name: &'static str,
    /// The line that is being read, as far as it has come. Never longer than the limit.
    line: Vec<u8>,
    /// Its number, from 1.
    number: u64,
    /// True if it is above the limit: the rest of it is thrown away.
    is_overlong: bool,
    complaints: Throttle,
}

/// Why no more lines are read.
enum Ending {
    Stop,
    EndOfInput,
}

impl Lines<fs::File> {
    /// Returns the source that reads standard input, by a descriptor of its own: the buffer of [`io::stdin`] is not used.
    ///
    /// # Errors
    /// `Unreadable` if the system has no descriptor left.
    pub fn standard_input() -> Result<Self, Error> {
        let name = "standard input";
        let duplicate = io::stdin().as_fd().try_clone_to_owned();
        let input = duplicate.map_err(|source| Error::Unreadable { name: name.to_owned(), source })?;
        Ok(Self::new(input.into(), name))
    }
}

impl<R: Read + AsFd + Send> Lines<R> {
    /// Returns the source that reads `input`, called `name` in the log.
    pub fn new(input: R, name: &'static str) -> Self {
        let complaints = Throttle::new(COMPLAINT_PERIOD);
        Self { input, name, line: Vec::new(), number: 1, is_overlong: false, complaints }
    }

    /// Takes what was read, publishes each line that it ends, and returns what is news. Each byte is looked at once as
    /// it comes, and once more when its line is whole.
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
        // Told now and not at its end: such a line may have none.
        self.is_overlong = true;
        self.line = Vec::new();
        let error = Error::TooLong { name: self.line_name(), max: max as u64 };
        self.complain(&sink.fail(&error))
    }

    fn end_line(&mut self, sink: &Sink) -> Option<Notice> {
        let is_map = !self.is_overlong && !self.line.trim_ascii().is_empty();
        let news = if is_map { self.judge_line(sink) } else { None };
        self.line.clear();
        self.is_overlong = false;
        self.number += 1;
        news
    }

    /// Publishes the line and returns what is news: a bad line and the first map. Each later one is for who debugs, as
    /// there may be thousands a second.
    fn judge_line(&mut self, sink: &Sink) -> Option<Notice> {
        let published = match self.publish_line(sink) {
            Ok(published) => published,
            Err(error) => return self.complain(&sink.fail(&error)),
        };
        let text = format!("{}: {published}", self.name);
        if published.changed && published.version == 1 {
            return Some(Notice::new(Level::Info, text));
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

    fn complain(&mut self, problem: &str) -> Option<Notice> {
        let held = match self.complaints.pass()? {
            0 => String::new(),
            held => format!(" ({held} more held back)"),
        };
        Some(Notice::new(Level::Warn, format!("{problem}; the last good map stays{held}")))
    }

    /// Returns a notice of the bad lines that were held back, if their second is over or no other line follows: `is_end`.
    fn held_back(&mut self, is_end: bool) -> Option<Notice> {
        let held = self.complaints.release(is_end)?;
        let lines = if held == 1 { "line" } else { "lines" };
        Some(Notice::new(Level::Warn, format!("{}: {held} more bad {lines}; the last good map stays", self.name)))
    }

    /// Reads until the stop is requested or the input has ended, and returns why it has.
    fn read_all(&mut self, sink: &Sink, stop: &Shutdown) -> io::Result<Ending> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let is_ready = stop.wait_readable(&self.input, self.complaints.due()).unwrap_or_else(|source| {
                // It has taken a moment, and may be granted the next time.
                let error = Error::Unreadable { name: self.name.to_owned(), source };
                self.complain(&sink.fail(&error)).iter().for_each(Notice::log);
                false
            });
            if stop.is_triggered() {
                return Ok(Ending::Stop);
            }
            self.held_back(false).iter().for_each(Notice::log);
            if !is_ready {
                continue;
            }
            match self.input.read(&mut chunk) {
                Ok(0) => return Ok(Ending::EndOfInput),
                Ok(read) => self.take(&chunk[..read], sink).iter().for_each(Notice::log),
                // Somebody else has set it so, or has read what was announced.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read + AsFd + Send> Source for Lines<R> {
    /// Returns at once: there is no map before the first line.
    fn load(&mut self, _sink: &Sink, _stop: &Shutdown) -> Result<(), Error> {
        Ok(())
    }

    fn follow(&mut self, sink: &Sink, stop: &Shutdown) {
        match self.read_all(sink, stop) {
            Ok(Ending::Stop) => self.held_back(true).iter().for_each(Notice::log),
            Ok(Ending::EndOfInput) => {
                // The last line may have no end of its own.
                self.end_line(sink).iter().for_each(Notice::log);
                self.held_back(true).iter().for_each(Notice::log);
                log::info!("{} ended: the last map stays", self.name);
            }
            Err(source) => {
                self.held_back(true).iter().for_each(Notice::log);
                let error = Error::Unreadable { name: self.name.to_owned(), source };
                log::warn!("{}; the last good map stays, and no other will come", sink.fail(&error));
            }
        }
    }
}

fn max_line(sink: &Sink) -> usize {
    MIN_MAX_LINE.max(MAX_LINE_FRAMES.saturating_mul(sink.feed().max_frame()))
}

#[cfg(test)]
mod tests;
