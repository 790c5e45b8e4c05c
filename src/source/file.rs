//! A JSON or TOML file that is read again when it changes.
//!
//! It is looked at once a second, not watched: watches get lost on renames over the file, on symlinks that are swapped
//! and on network file systems, which are the ways that such files change.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Source;
use super::error::Error;
use super::report::{Notice, SourceLog};
use super::sink::{Published, Sink};
use super::syntax::Syntax;
use crate::display::escape::escape;
use crate::files;
use crate::format;
use crate::shutdown::Shutdown;

/// How often the file is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// How long a file must have been left alone before it is read. File systems stamp a change with the kernel's tick, 10 ms
/// apart at HZ=100: a second write within the tick of the first leaves no trace in the stamp.
const QUIET: Duration = Duration::from_millis(20);

/// How often one look waits for the file to be left alone.
const TRIES: usize = 5;

/// Below this age a file is read again at the next look though its stamp is the same: some file systems count in seconds
/// (FAT in two), and a second write of the same length may hide behind the first. What git calls racy.
const RACY: Duration = Duration::from_secs(2);

/// How long the stamp is trusted: 10 s. Who changes a file through a mapping of it (mmap(2)) may leave no trace in its stamp,
/// as on tmpfs, or one of the first write alone.
const TRUST: Duration = Duration::from_secs(10);

/// A JSON or TOML file, read again within a second of each change, and every 10 s in any case.
///
/// The file may be rewritten by any means: replaced by a rename, through a symlink or in place. It is taken only when
/// it was left alone for 20 ms around the reading; a writer in place that pauses longer in the middle of its work is
/// seen half-way, which for JSON is no object, and told so.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    syntax: Syntax,
    period: Duration,
    /// How long an unchanged stamp is taken for an unchanged content.
    trust: Duration,
    /// The stamp of the last reading, and when that was; `None` if the next look must read, whatever the stamp.
    seen: Option<(Stamp, Instant)>,
    /// The hash of the content that was judged last, good or bad.
    judged: Option<u64>,
    hasher: RandomState,
    report: SourceLog,
}

/// What the system says about a file: two that are equal are the same content, but for what [`RACY`] says. The change
/// time is there because the modification time can be set back (`cp -p`, `rsync -t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
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
        let (period, hasher) = (LOOK_PERIOD, RandomState::new());
        Self { path, syntax, period, trust: TRUST, seen: None, judged: None, hasher, report }
    }

    /// Looks at the file, and publishes what it holds if that is new. Returns `None` if and only if it is not.
    fn look(&mut self, sink: &Sink, stop: &Shutdown) -> Result<Option<Published>, Error> {
        let max = format::most_text_len(sink.feed().max_frame());
        let content = match self.read_changed(max, stop) {
            Ok(Some(content)) => content,
            Ok(None) => return Ok(None),
            Err(error) => {
                // When this is over, what was judged before counts as news.
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

    /// Returns the whole content if and only if the file may have changed since it was last read, and the stop did not
    /// come first.
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
            // Before the reading, not after it: a write that begins from here on falls into a later tick, and shows.
            let age = before.age();
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

    /// Returns the content if and only if two readings agree and the stamp after them is still the one `before` them. A
    /// writer may be halted between its stamp and its bytes for longer than the quiet: what it is in the middle of then
    /// differs from one reading to the next.
    fn read_whole(&self, file: &mut fs::File, before: Stamp) -> Result<Option<Vec<u8>>, Error> {
        let (first, second) = (self.read_once(file, before.len)?, self.read_once(file, before.len)?);
        Ok((first == second && self.stamp(file)? == before).then_some(second))
    }

    /// A file that grows meanwhile ends at its old length, and shows in the stamp.
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

    /// Looks at the file and returns what is news about it.
    fn look_for_news(&mut self, sink: &Sink, stop: &Shutdown) -> Option<Notice> {
        match self.look(sink, stop) {
            Ok(published) => self.report.recovered(published?),
            Err(error) => self.report.failed(sink.fail(&error), self.judged),
        }
    }
}

impl Source for File {
    fn load(&mut self, sink: &Sink, stop: &Shutdown) -> Result<(), Error> {
        if let Some(published) = self.look(sink, stop)?
            && let Some(notice) = self.report.recovered(published)
        {
            notice.log();
        }
        Ok(())
    }

    fn follow(&mut self, sink: &Sink, stop: &Shutdown) {
        while !stop.wait(self.period) {
            if let Some(notice) = self.look_for_news(sink, stop) {
                notice.log();
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How long ago the file was changed; `None` if its clock is ahead of ours.
    fn age(&self) -> Option<Duration> {
        let (seconds, nanos) = self.changed;
        let since = Duration::new(seconds.try_into().ok()?, nanos.try_into().ok()?);
        SystemTime::now().duration_since(UNIX_EPOCH.checked_add(since)?).ok()
    }
}

#[cfg(test)]
mod tests;
