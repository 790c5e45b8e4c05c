//! The file that `MAPCAST_FILE` names: the map as JSON, for the command or program that was started.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use log::{debug, warn};
use rustix::fs::{Mode, OFlags};

use super::object::Object;
use super::replace::replace;

/// The directories that exist now. Guards the list alone: a client that leaves at once must not leave them behind.
static DIRECTORIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Variables of ours that would make a client among the command's own do it all again, and for ever, or share a file.
const REMOVED_VARIABLES: [&str; 6] =
    ["MAPCAST_CACHE", "MAPCAST_CHECK", "MAPCAST_EXEC", "MAPCAST_RUN", "MAPCAST_WATCH", "MAPCAST_WRITE"];

/// The mode of the directory.
const MODE: u32 = 0o700;

/// The bits of a mode that are for other users.
const OTHERS: u32 = 0o077;

/// A file in a directory of its own that only this user can read; removed when dropped. The directory is made again if it
/// is removed meanwhile.
#[derive(Debug)]
pub(super) struct MapFile {
    directory: PathBuf,
    path: PathBuf,
    /// A shared lock on the directory, where the file system has locks: systemd-tmpfiles leaves what is locked alone.
    lock: Option<File>,
}

impl MapFile {
    /// Makes the directory; the file comes with the first map.
    ///
    /// # Errors
    /// If it can be made neither in `RUNTIME_DIRECTORY`, nor in `XDG_RUNTIME_DIR`, nor in `TMPDIR` or else /tmp.
    pub(super) fn new() -> anyhow::Result<Self> {
        let directory = make_directory()?;
        let (path, lock) = (directory.join("map.json"), lock(&directory));
        Ok(Self { directory, path, lock })
    }

    /// Puts the map into the file, by a rename: a process that has the old one open still reads the old one. If the
    /// directory is gone it is made again, elsewhere if it cannot be in its place.
    ///
    /// # Errors
    /// If it cannot be made or the file cannot be written; the old file stays.
    pub(super) fn write(&mut self, object: &Object) -> anyhow::Result<()> {
        if !is_private(&self.directory) && !make_private(&self.directory) {
            self.recreate()?;
        }
        let mut json = serde_json::to_vec(object)?;
        json.push(b'\n');
        replace(&self.path, &json, Some(0o600), |_| Ok(()))?;
        Ok(())
    }

    fn recreate(&mut self) -> anyhow::Result<()> {
        let lost = self.directory.display().to_string();
        // A running program knows this path.
        if DirBuilder::new().mode(MODE).create(&self.directory).is_err() {
            let directory = make_directory()?;
            registered().retain(|known| *known != self.directory);
            self.path = directory.join("map.json");
            self.directory = directory;
        }
        self.lock = lock(&self.directory);
        warn!("{lost}, the directory of MAPCAST_FILE, was removed: made again as {}", self.directory.display());
        Ok(())
    }

    /// The file's path; another one after the directory was removed together with its parent.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file as it is now, to be a command's standard input.
    pub(super) fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Lets `command` find it.
    pub(super) fn set_env(&self, command: &mut Command) {
        for name in REMOVED_VARIABLES {
            command.env_remove(name);
        }
        command.env("MAPCAST_FILE", &self.path);
    }
}

impl Drop for MapFile {
    fn drop(&mut self) {
        // Before it is forgotten: a client that leaves at once in between would leave it behind.
        remove(&self.directory);
        registered().retain(|directory| *directory != self.directory);
    }
}

/// Makes a directory that only this user may look into, in the first of the candidate_directories for it that allows one.
fn make_directory() -> anyhow::Result<PathBuf> {
    let candidate_directories = candidate_directories();
    let mut refusal = None;
    for place in &candidate_directories {
        match tempfile::Builder::new().prefix("mapcast-").permissions(Permissions::from_mode(MODE)).tempdir_in(place) {
            Ok(directory) => {
                let directory = directory.keep();
                registered().push(directory.clone());
                return Ok(directory);
            }
            // What the system says, without the crate's own words.
            Err(error) => refusal = Some(error.raw_os_error().map_or(error, io::Error::from_raw_os_error)),
        }
    }
    let candidate_directories: Vec<String> =
        candidate_directories.iter().map(|place| place.display().to_string()).collect();
    let refusal = refusal.unwrap_or_else(|| io::ErrorKind::NotFound.into());
    Err(refusal)
        .with_context(|| format!("cannot make a directory for MAPCAST_FILE in {}", candidate_directories.join(" or ")))
}

/// Where the directory may be, the best place first: systemd's `RuntimeDirectory=` (of several, the first) and the user's own
/// are on a file system in memory and nothing cleans them up.
fn candidate_directories() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    let runtime = variable("RUNTIME_DIRECTORY");
    let candidate_directories = std::env::split_paths(&runtime).take(1).chain([variable("XDG_RUNTIME_DIR").into()]);
    let mut candidate_directories: Vec<PathBuf> =
        candidate_directories.filter(|place: &PathBuf| place.is_absolute()).collect();
    // One that is empty would be the current directory.
    let temporary = std::env::temp_dir();
    candidate_directories.push(if temporary.as_os_str().is_empty() { "/tmp".into() } else { temporary });
    candidate_directories
}

/// True if and only if `directory` is there, this user's, and nobody else's to write to: a name in /tmp may be taken by
/// another user as soon as it is free.
fn is_private(directory: &Path) -> bool {
    let found = fs::symlink_metadata(directory);
    found.is_ok_and(|found| {
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & OTHERS == 0
    })
}

/// Takes the rights of other users to `directory` away, if that is a directory of this user's. Returns true if and only if it
/// has. What others have put there is not read: the map's file is replaced whole, and the rest removed with the directory.
fn make_private(directory: &Path) -> bool {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(opened) = rustix::fs::open(directory, flags, Mode::empty()).map(File::from) else { return false };
    let is_own = opened.metadata().is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw());
    let is_private = is_own && opened.set_permissions(Permissions::from_mode(MODE)).is_ok();
    if is_private {
        warn!("{}, the directory of MAPCAST_FILE, was open to other users: made private again", directory.display());
    }
    is_private
}

fn lock(directory: &Path) -> Option<File> {
    let locked = File::open(directory).and_then(|file| Ok(file.try_lock_shared().map(|()| file)?));
    locked.inspect_err(|error| debug!("{} cannot be locked: {error}", directory.display())).ok()
}

/// Removes what there is: the client leaves at once.
pub(crate) fn remove_all() {
    let directories = std::mem::take(&mut *registered());
    for directory in &directories {
        remove(directory);
    }
}

fn registered() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(directory: &Path) {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!("{}, the directory of MAPCAST_FILE, cannot be removed: {error}; remove it", directory.display());
        }
        _ => {}
    }
}
