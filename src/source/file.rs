//! The file source: publishes a JSON or TOML file, and reads it again when it changes.
//!
//! It polls the file once a second. File watches are lost when the file is replaced by a rename, when a symlink is swapped, and
//! on network file systems, and such files change in these ways.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Source;
use super::error::Error;
use super::report::SourceLog;
use super::sink::{Published, Sink};
use super::syntax::Syntax;
use crate::display::escape::escape;
use crate::display::notice::Notice;
use crate::files;
use crate::format;
use crate::platform::{FileId, FileTimes};
use crate::shutdown::Shutdown;

/// How often the file is polled.
const POLL_PERIOD: Duration = Duration::from_secs(1);

/// How long a file must be unchanged before it is read. File systems stamp a change with the kernel's tick, every 10 ms at
/// HZ=100: a second write in the same tick does not change the stamp.
const QUIET: Duration = Duration::from_millis(20);

/// How often one poll waits for the file to be unchanged.
const TRIES: usize = 5;

/// Below this age a file is read again at the next poll although its stamp is the same: some file systems count in seconds
/// (FAT in two), so a second write of the same length may have the same stamp. git calls such a file racy.
const RACY: Duration = Duration::from_secs(2);

/// How long the stamp is trusted: 10 s. A write through a memory mapping (mmap(2)) may not change the stamp, as on tmpfs, or
/// only at the first write.
const TRUST: Duration = Duration::from_secs(10);

/// A JSON or TOML file, read again within a second of each change, and every 10 s in any case.
///
/// The file may be replaced by a rename, through a symlink, or written in place. It is used only if it was unchanged for 20 ms
/// around the reading. A writer in place that pauses for longer may be read half-way: for JSON that is not an object, and is
/// logged.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    syntax: Syntax,
    period: Duration,
    /// How long an unchanged stamp means unchanged content.
    trust: Duration,
    /// The stamp and the time of the last reading; `None` if the next poll must read the file.
    seen: Option<(Stamp, Instant)>,
    /// The hash of the content that was parsed last, valid or not.
    judged: Option<u64>,
    hasher: RandomState,
    report: SourceLog,
}

/// The metadata of a file. Equal stamps mean equal content, except as [`RACY`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    id: FileId,
    len: u64,
    times: FileTimes,
}

impl File {
    /// Returns the source that reads the JSON object in `path`. Opens nothing yet.
    pub fn json(path: impl Into<PathBuf>) -> Self {
        Self::new(path.into(), Syntax::Json)
    }

    /// Returns the source that reads the TOML table in `path`. Opens nothing yet.
    pub fn toml(path: impl Into<PathBuf>) -> Self {
        Self::new(path.into(), Syntax::Toml)
    }

    fn new(path: PathBuf, syntax: Syntax) -> Self {
        let report = SourceLog::new(escape(&path.to_string_lossy()));
        let (period, hasher) = (POLL_PERIOD, RandomState::new());
        Self { path, syntax, period, trust: TRUST, seen: None, judged: None, hasher, report }
    }

    /// Reads the file if it may have changed, and publishes its map if the content is new. Returns `None` if it is not.
    fn poll(&mut self, sink: &Sink, stop: &Shutdown) -> Result<Option<Published>, Error> {
        let max = format::most_text_len(sink.feed().max_frame());
        let content = match self.read_changed(max, stop) {
            Ok(Some(content)) => content,
            Ok(None) => return Ok(None),
            Err(error) => {
                // After the error, the same content is published and logged again.
                (self.seen, self.judged) = (None, None);
                return Err(error);
            }
        };
        let hash = Some(self.hasher.hash_one(&content));
        if self.judged == hash {
            return Ok(None);
        }
        self.judged = hash;
        let invalid = |source| Error::Invalid { name: self.name(), whole: self.syntax.whole(), source };
        let map = self.syntax.parse(&content).map_err(invalid)?;
        let published = sink.publish(map).map_err(|source| Error::Refused { name: self.name(), source })?;
        Ok(Some(published))
    }

    /// Returns the content; `None` if the file has not changed since it was last read, or the program shuts down.
    fn read_changed(&mut self, max: u64, stop: &Shutdown) -> Result<Option<Vec<u8>>, Error> {
        let mut file = self.open()?;
        for _ in 0..TRIES {
            let before = self.stamp(&file)?;
            if self.seen.is_some_and(|(stamp, read)| stamp == before && read.elapsed() < self.trust) {
                return Ok(None);
            }
            if before.len > max {
                return Err(Error::TooLong { name: self.name(), max });
            }
            // Before the reading: a write that begins after this point has a later tick, and changes the stamp.
            let age = before.times.age();
            if let Some(left) = age.and_then(|age| QUIET.checked_sub(age)) {
                if stop.wait(left) {
                    return Ok(None);
                }
                continue;
            }
            if let Some(content) = self.read_whole(&mut file, before)? {
                self.seen = age.filter(|age| *age >= RACY).map(|_| (before, Instant::now()));
                return Ok(Some(content));
            }
        }
        Err(Error::Unsettled { name: self.name() })
    }

    /// Returns the content if and only if two readings agree and the stamp is still `before`. A writer may be stopped between
    /// its stamp and its bytes for longer than [`QUIET`]: its data differs between two readings then.
    fn read_whole(&self, file: &mut fs::File, before: Stamp) -> Result<Option<Vec<u8>>, Error> {
        let (first, second) = (self.read_once(file, before.len)?, self.read_once(file, before.len)?);
        Ok((first == second && self.stamp(file)? == before).then_some(second))
    }

    /// Reads `len` bytes. A file that grows meanwhile has another stamp afterwards.
    fn read_once(&self, file: &mut fs::File, len: u64) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        file.rewind().map_err(|source| self.unreadable(source))?;
        file.take(len).read_to_end(&mut content).map_err(|source| self.unreadable(source))?;
        Ok(content)
    }

    fn open(&self) -> Result<fs::File, Error> {
        files::open(&self.path).map_err(|source| self.unreadable(source))
    }

    fn stamp(&self, file: &fs::File) -> Result<Stamp, Error> {
        file.metadata().map(|metadata| Stamp::of(&metadata)).map_err(|source| self.unreadable(source))
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Unreadable { name: self.name(), source }
    }

    fn name(&self) -> String {
        self.report.name().to_owned()
    }

    /// Polls the file and returns what to log.
    fn poll_and_report(&mut self, sink: &Sink, stop: &Shutdown) -> Option<Notice> {
        match self.poll(sink, stop) {
            Ok(published) => self.report.recovered(published?),
            Err(error) => sink.fail(&error, |text| self.report.failed(text.to_owned(), self.judged)),
        }
    }
}

impl Source for File {
    fn load(&mut self, sink: &Sink, stop: &Shutdown) -> Result<(), Error> {
        if let Some(published) = self.poll(sink, stop)?
            && let Some(notice) = self.report.recovered(published)
        {
            notice.log();
        }
        Ok(())
    }

    fn follow(&mut self, sink: &Sink, stop: &Shutdown) {
        while !stop.wait(self.period) {
            if let Some(notice) = self.poll_and_report(sink, stop) {
                notice.log();
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { id: FileId::of(metadata), len: metadata.len(), times: FileTimes::of(metadata) }
    }
}

#[cfg(test)]
mod tests;
