//! The last good map, in a file that outlives the server.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::escape::escape;
use crate::format::{self, Format};
use crate::frame::{Frame, FrameReader};
use crate::map::{self, Map};

/// Why a map could not be kept, or taken up again. The text is safe to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system does not let the file be read.
    #[error("{name}: the state cannot be read")]
    Unreadable {
        /// The path, escaped.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file has no map in it.
    #[error("{name}: the state is no map; mend it, or move it away to begin without one")]
    Invalid {
        /// The path, escaped.
        name: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is longer than any map is.
    #[error("{name}: the state is above the limit of {max} bytes; raise --max-frame if this is meant")]
    TooLong {
        /// The path, escaped.
        name: String,
        /// The limit in bytes.
        max: u64,
    },
    /// The map has no form that can be kept.
    #[error("{name}: the map cannot be kept")]
    Unwritable {
        /// The path, escaped.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system does not let the file be written: the old one stays.
    #[error("{name}: the state cannot be written")]
    Unkept {
        /// The path, escaped.
        name: String,
        /// What the system says.
        source: io::Error,
    },
}

/// A file with the last map. Written beside itself and renamed, so that it is whole at every moment.
///
/// A map that is written over HTTP is kept as JSON, which a person may mend. A source's is kept as one frame, a header and
/// bincode: JSON has neither numbers for keys nor bytes nor NaN, and the map that clients get while the source is away
/// must be the one that they had. Either is read, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Returns the state at `path`, which need not be there yet.
    ///
    /// # Errors
    /// `Unkept` if nothing can be written beside it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let state = Self { path: path.into() };
        if state.path.is_dir() {
            return Err(state.unkept(io::ErrorKind::IsADirectory.into()));
        }
        // Better now than at the first write.
        let tried = state.create().and_then(|_| fs::remove_file(state.beside()));
        tried.map_err(|source| state.unkept(source))?;
        Ok(state)
    }

    /// Returns the map that was kept; `None` if and only if there is no such file. In JSON, keys that spell a number are
    /// numbers, as when they were written over HTTP.
    ///
    /// # Errors
    /// If the file is there and has no map of at most 16 times `max_frame` bytes.
    pub fn load(&self, max_frame: usize) -> Result<Option<Map>, Error> {
        let unreadable = |source| Error::Unreadable { name: self.name(), source };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let max = format::most_text_len(max_frame);
        let mut content = Vec::new();
        file.take(max + 1).read_to_end(&mut content).map_err(unreadable)?;
        if content.len() as u64 > max {
            return Err(Error::TooLong { name: self.name(), max });
        }
        let map = decode(&content).map_err(|source| Error::Invalid { name: self.name(), source })?;
        Ok(Some(map))
    }

    /// Keeps `map` as JSON: when this returns, it is there after a loss of power too.
    ///
    /// # Errors
    /// `Unwritable`, `Unkept`; the file is as it was.
    pub(crate) fn save(&self, map: &Map) -> Result<(), Error> {
        let json = format::pretty(map).map_err(|source| self.unwritable(source))?;
        self.replace((json + "\n").as_bytes()).map_err(|source| self.unkept(source))
    }

    /// As [`save`](Self::save), as a frame, from which the very same map is read.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub(crate) fn save_exact(&self, map: &Map) -> Result<(), Error> {
        let payload = Format::Bincode.encode_map(map).map_err(|source| self.unwritable(source))?;
        let frame = Frame::new(&payload, usize::MAX).map_err(|source| self.unwritable(source))?;
        self.replace(frame.as_bytes()).map_err(|source| self.unkept(source))
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let mut file = self.create()?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(self.beside(), &self.path)?;
        // The new name is in the directory, and that is what has to reach the disk now (fsync(2)).
        File::open(self.directory())?.sync_all()
    }

    /// Begins the file that will take the place of this one.
    fn create(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.beside())
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        self.path.with_file_name(name)
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }

    fn unwritable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Unwritable { name: self.name(), source: source.into() }
    }

    fn unkept(&self, source: io::Error) -> Error {
        Error::Unkept { name: self.name(), source }
    }

    /// The path, escaped.
    pub fn name(&self) -> String {
        escape(&self.path.to_string_lossy())
    }
}

/// Reads a frame, which begins with a digit, or else JSON, which begins with a brace.
fn decode(content: &[u8]) -> Result<Map, Box<dyn std::error::Error + Send + Sync>> {
    if !content.first().is_some_and(u8::is_ascii_digit) {
        return Ok(map::number_keys(Format::Json.decode_map(content)?));
    }
    let mut frames = FrameReader::new(content, content.len());
    let payload = frames.read_frame()?.unwrap_or_default();
    if !frames.inner().is_empty() {
        return Err("there is more than one frame".into());
    }
    Ok(Format::Bincode.decode_map(&payload)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Key, Value, builtin};

    #[test]
    fn what_is_kept_is_taken_up_again_with_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path().join("state.json")).unwrap();
        assert_eq!(state.load(100).unwrap(), None);
        state.save(&builtin()).unwrap();
        assert_eq!(state.load(100).unwrap(), Some(builtin()));
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["state.json"]);
    }

    #[test]
    fn an_exact_state_is_the_very_same_map() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path().join("state")).unwrap();
        let entries = [
            (Key::Int(1), Value::from("a number")),
            (Key::from("1"), "a text".into()),
            ("bytes".into(), Value::Bytes(vec![0, 255])),
            ("infinite".into(), Value::Float(f64::INFINITY)),
            ("nothing".into(), Value::Null),
        ];
        for map in [Map::from(entries), builtin(), Map::new()] {
            state.save_exact(&map).unwrap();
            assert_eq!(state.load(100).unwrap(), Some(map));
        }
    }

    #[test]
    fn what_is_no_map_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let frames = ["0         ", "9         abc", "1", "4         Hola", "8         \0\0\0\0\0\0\0\0x"];
        for text in ["", "[]", "{\"a\":1", "{\"a\":\"\x1b\"}"].into_iter().chain(frames) {
            fs::write(&path, text).unwrap();
            let error = StateFile::open(&path).unwrap().load(100).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains("state.json"), "{error}");
        }
        fs::write(&path, vec![b' '; 1 << 21]).unwrap();
        assert!(matches!(StateFile::open(&path).unwrap().load(100), Err(Error::TooLong { max: 1_048_576, .. })));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_at_once() {
        assert!(matches!(StateFile::open("/nowhere/state.json"), Err(Error::Unkept { .. })));
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(StateFile::open(folder.path()), Err(Error::Unkept { .. })));
    }
}
