//! The file that `MAPCAST_FILE` names: the map as JSON, for the command or program that was started.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use tempfile::TempDir;

use super::object::Object;
use super::replace::replace;

/// The folders that exist now. Guards the list alone: whoever leaves at once must not leave them behind.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Variables of ours that would have a client among the command's own do it all again, and for ever.
const NOT_PASSED_ON: [&str; 4] = ["MAPCAST_EXEC", "MAPCAST_RUN", "MAPCAST_WATCH", "MAPCAST_WRITE"];

/// A file in a folder of its own that only this user can read; removed when dropped.
#[derive(Debug)]
pub(super) struct MapFile {
    folder: TempDir,
    path: PathBuf,
}

impl MapFile {
    /// Makes the folder; the file comes with the first map.
    ///
    /// # Errors
    /// If there can be none in `TMPDIR`, or else /tmp.
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mapcast-").tempdir();
        let folder = folder.context("cannot make a folder for MAPCAST_FILE")?;
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(folder.path().to_owned());
        let path = folder.path().join("map.json");
        Ok(Self { folder, path })
    }

    /// Puts the map into the file, by a rename: whoever has the old one open still reads the old one.
    pub(super) fn write(&self, object: &Object) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec(object)?;
        json.push(b'\n');
        replace(&self.path, &json, Some(0o600))?;
        Ok(())
    }

    /// Opens the file as it is now, to be a command's standard input.
    pub(super) fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Has `command` find it.
    pub(super) fn tell(&self, command: &mut Command) {
        for name in NOT_PASSED_ON {
            command.env_remove(name);
        }
        command.env("MAPCAST_FILE", &self.path);
    }
}

impl Drop for MapFile {
    fn drop(&mut self) {
        let ours = self.folder.path();
        // Before it is forgotten: who leaves at once in between would leave it behind.
        remove(ours);
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).retain(|folder| folder != ours);
    }
}

/// Removes what there is: the client leaves at once.
pub(crate) fn remove_all() {
    let folders = std::mem::take(&mut *FOLDERS.lock().unwrap_or_else(PoisonError::into_inner));
    for folder in folders {
        remove(&folder);
    }
}

fn remove(folder: &Path) {
    // Nobody is left to be told.
    let _ = fs::remove_dir_all(folder);
}
