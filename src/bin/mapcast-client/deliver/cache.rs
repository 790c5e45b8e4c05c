//! `--cache`: the last map, in a file from which the next client starts if the server is unreachable.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use clap::Args;
use log::{info, warn};
use mapcast::files::atomic_file::{AtomicFile, Replaced};
use mapcast::frame::{Frame, FrameReader};
use mapcast::{Format, Map};

use super::log_once::LogOnce;
use super::replace::{directory, mount_point};
use crate::platform::{is_writable_by_others, open_without_waiting};

/// The mode of the file. It decides what runs, so only its owner may access it.
const MODE: u32 = 0o600;

/// The largest file to read, in bytes: larger than any map that a client accepts (--max-frame is 1 MiB by default).
const LARGEST: u64 = 256 << 20;

/// How often the file's modification time is updated while the server sends the same map.
const CONFIRM: Duration = Duration::from_mins(1);

/// The option of the cache.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// Store the last map in this file, and start from it if the server cannot be reached
    #[arg(long, value_name = "FILE", env = "MAPCAST_CACHE")]
    pub(crate) cache: Option<PathBuf>,
}

/// The file with the last map: one frame, a header and bincode, which represents every map exactly. Its modification
/// time is when the server last sent this map, to a minute.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    /// The map in the file, as far as this process knows.
    kept: Option<Map>,
    confirmed: Instant,
    failure: LogOnce,
}

/// A map from the cache.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) map: Map,
    /// How long ago the server sent it; `None` if the clock was set back since.
    pub(super) age: Option<Duration>,
}

impl Cache {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, kept: None, confirmed: Instant::now(), failure: LogOnce::default() }
    }

    /// Returns the map in the file. If there is none, or it cannot be used, logs the reason.
    pub(super) fn load(&mut self) -> Option<Cached> {
        match read(&self.path) {
            Ok(Some(cached)) => {
                self.kept = Some(cached.map.clone());
                Some(cached)
            }
            Ok(None) => {
                info!("{}: the cache does not contain a map yet", self.path.display());
                None
            }
            Err(error) => {
                warn!("{}: the cache cannot be used: {error:#}", self.path.display());
                None
            }
        }
    }

    /// Stores a map that the server has sent and that was delivered. A failure is logged once and retried with the
    /// next map.
    pub(super) fn keep(&mut self, map: &Map) {
        let is_same = self.kept.as_ref() == Some(map);
        if is_same && self.confirmed.elapsed() < CONFIRM {
            return;
        }
        self.confirmed = Instant::now();
        // A file that was removed or replaced is written again.
        let is_kept = is_same && confirm(&self.path);
        if is_kept {
            return;
        }
        match write(&self.path, map) {
            Ok(()) => {
                self.kept = Some(map.clone());
                if self.failure.clear() {
                    info!("{}: the map is cached again", self.path.display());
                }
            }
            Err(error) => {
                self.kept = None;
                self.failure.warn(format!("{}: the map is not cached: {error:#}", self.path.display()));
            }
        }
    }
}

/// Sets the modification time to now. Returns false if and only if that failed.
fn confirm(path: &Path) -> bool {
    open_without_waiting(path).and_then(|file| file.set_modified(SystemTime::now())).is_ok()
}

fn read(path: &Path) -> anyhow::Result<Option<Cached>> {
    let file = match open_without_waiting(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("it cannot be read"),
    };
    let found = file.metadata()?;
    ensure!(found.is_file(), "it is not a regular file");
    // Who can write the file decides what this client runs.
    ensure!(
        !is_writable_by_others(&found),
        "other users can write to it; remove it, or make it private with chmod 600"
    );
    ensure!(found.len() <= LARGEST, "it is larger than {LARGEST} bytes");
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).context("it cannot be read")?;
    let mut frames = FrameReader::new(bytes.as_slice(), bytes.len());
    let Ok(Some(payload)) = frames.read_frame() else { bail!("it does not contain a map; remove it") };
    let map = Format::Bincode.decode_map(&payload).ok().context("it does not contain a map; remove it")?;
    Ok(Some(Cached { map, age: found.modified().ok().and_then(|at| at.elapsed().ok()) }))
}

fn write(path: &Path, map: &Map) -> anyhow::Result<()> {
    let payload = Format::Bincode.encode_map(map)?;
    let frame = Frame::new(&payload, usize::MAX)?;
    let new = AtomicFile::begin(path, MODE)
        .with_context(|| format!("cannot create a file in {}", directory(path).display()))?;
    new.file().write_all(frame.as_bytes())?;
    match new.finish() {
        // After a power failure the file is either the old one or the new one; both contain a map.
        Ok(Replaced::Synced | Replaced::Unsynced(_)) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(mount_point(path)),
        Err(error) => Err(error).context("it cannot be replaced"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapcast::{Key, Value};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_map_is_read_back_exactly_from_a_private_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let map = Map::from([(Key::Int(1), Value::Bytes(vec![0, 255])), ("1".into(), Value::Float(f64::INFINITY))]);
        Cache::new(path.clone()).keep(&map);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let cached = Cache::new(path).load().unwrap();
        assert_eq!(cached.map, map);
        assert!(cached.age.unwrap() < Duration::from_mins(10));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn a_file_without_a_map_or_writable_by_others_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        assert!(read(&path).unwrap().is_none());
        write(&path, &Map::new()).unwrap();
        let good = fs::read(&path).unwrap();
        for bytes in [&b""[..], b"garbage", b"12345     x", &good[..good.len() - 1]] {
            fs::write(&path, bytes).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains("does not contain a map"));
        }
        fs::write(&path, good).unwrap();
        assert!(read(&path).unwrap().is_some());
        fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("chmod 600"));
        assert!(read(directory.path()).unwrap_err().to_string().contains("not a regular file"));
    }

    #[test]
    fn a_removed_cache_is_created_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let mut cache = Cache::new(path.clone());
        cache.keep(&Map::new());
        fs::remove_file(&path).unwrap();
        cache.keep(&Map::new());
        assert!(!path.exists());
        cache.confirmed = Instant::now().checked_sub(CONFIRM).unwrap();
        cache.keep(&Map::new());
        assert!(path.exists());
    }
}
