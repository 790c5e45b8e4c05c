//! The file in `MAPCAST_FILE`: the map as JSON, for the started command or program.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use log::{debug, warn};

use super::object::Object;
use super::replace::replace;
use crate::platform::{create_private_directory, directory_lock, is_private, make_private, private_directories};

/// The existing directories, for [`remove_all`]. Guards the list alone.
static DIRECTORIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Variables that are not inherited: a client started by the command would repeat its own start without end, or share
/// a file.
const REMOVED_VARIABLES: [&str; 6] =
    ["MAPCAST_CACHE", "MAPCAST_CHECK", "MAPCAST_EXEC", "MAPCAST_RUN", "MAPCAST_WATCH", "MAPCAST_WRITE"];

/// A file in a directory of its own that only this user can read; removed on drop. If the directory disappears, it is
/// created again.
#[derive(Debug)]
pub(super) struct MapFile {
    directory: PathBuf,
    path: PathBuf,
    /// A shared lock on the directory, where the file system supports locks: systemd-tmpfiles does not remove locked
    /// directories.
    lock: Option<File>,
}

impl MapFile {
    /// Creates the directory; the file is created with the first map.
    ///
    /// # Errors
    /// If the directory can be created neither in `RUNTIME_DIRECTORY`, nor in `XDG_RUNTIME_DIR`, nor in `TMPDIR` or
    /// else /tmp.
    pub(super) fn new() -> anyhow::Result<Self> {
        let directory = make_directory()?;
        let (path, lock) = (directory.join("map.json"), lock(&directory));
        Ok(Self { directory, path, lock })
    }

    /// Replaces the file by renaming a new one: a process that has the old one open still reads the old one. Creates a
    /// missing directory again, in another place if necessary.
    ///
    /// # Errors
    /// If the directory cannot be created or the file cannot be written; the old file stays.
    pub(super) fn write(&mut self, object: &Object) -> anyhow::Result<()> {
        if !is_private(&self.directory) && !self.make_private() {
            self.recreate()?;
        }
        let mut json = serde_json::to_vec(object)?;
        json.push(b'\n');
        replace(&self.path, &json, Some(0o600), |_| Ok(()))?;
        Ok(())
    }

    /// Closes the directory to other users, if it is one of this user. Returns true if and only if that succeeded. Files
    /// that others have put there are not read: the map's file is replaced whole, and the rest is removed with the
    /// directory.
    fn make_private(&self) -> bool {
        let is_private = make_private(&self.directory);
        if is_private {
            warn!(
                "{}, the directory of MAPCAST_FILE, was accessible to other users; made private again",
                self.directory.display()
            );
        }
        is_private
    }

    fn recreate(&mut self) -> anyhow::Result<()> {
        let lost = self.directory.display().to_string();
        // The running program has this path in its environment.
        if create_private_directory(&self.directory).is_err() {
            let directory = make_directory()?;
            registered().retain(|known| *known != self.directory);
            self.path = directory.join("map.json");
            self.directory = directory;
        }
        self.lock = lock(&self.directory);
        warn!("{lost}, the directory of MAPCAST_FILE, was removed; created again as {}", self.directory.display());
        Ok(())
    }

    /// The file's path. It changes if the directory was removed together with its parent.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file as it is now, for a command's standard input.
    pub(super) fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Sets `MAPCAST_FILE` for `command`, and removes the variables that are not inherited.
    pub(super) fn set_env(&self, command: &mut Command) {
        for name in REMOVED_VARIABLES {
            command.env_remove(name);
        }
        command.env("MAPCAST_FILE", &self.path);
    }
}

impl Drop for MapFile {
    fn drop(&mut self) {
        // First remove, then unregister: an immediate exit in between still removes it.
        remove(&self.directory);
        registered().retain(|directory| *directory != self.directory);
    }
}

/// Creates a directory with mode 0700 in the first candidate that allows it.
fn make_directory() -> anyhow::Result<PathBuf> {
    let candidate_directories = candidate_directories();
    let mut refusal = None;
    for place in &candidate_directories {
        match private_directories(tempfile::Builder::new().prefix("mapcast-")).tempdir_in(place) {
            Ok(directory) => {
                let directory = directory.keep();
                registered().push(directory.clone());
                return Ok(directory);
            }
            // The system's error, without the crate's own text.
            Err(error) => refusal = Some(error.raw_os_error().map_or(error, io::Error::from_raw_os_error)),
        }
    }
    let candidate_directories: Vec<String> =
        candidate_directories.iter().map(|place| place.display().to_string()).collect();
    let refusal = refusal.unwrap_or_else(|| io::ErrorKind::NotFound.into());
    Err(refusal).with_context(|| {
        format!("cannot create a directory for MAPCAST_FILE in {}", candidate_directories.join(" or "))
    })
}

/// Where the directory may be, best candidate first: systemd's `RuntimeDirectory=` (the first of several) and
/// `XDG_RUNTIME_DIR` are in memory and are not cleaned up while in use.
fn candidate_directories() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    let runtime = variable("RUNTIME_DIRECTORY");
    let candidate_directories = std::env::split_paths(&runtime).take(1).chain([variable("XDG_RUNTIME_DIR").into()]);
    let mut candidate_directories: Vec<PathBuf> =
        candidate_directories.filter(|place: &PathBuf| place.is_absolute()).collect();
    // An empty path would be the current directory.
    let temporary = std::env::temp_dir();
    candidate_directories.push(if temporary.as_os_str().is_empty() { "/tmp".into() } else { temporary });
    candidate_directories
}

fn lock(directory: &Path) -> Option<File> {
    directory_lock(directory).inspect_err(|error| debug!("{} cannot be locked: {error}", directory.display())).ok()
}

/// Removes all directories, for an immediate exit.
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
