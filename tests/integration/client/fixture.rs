//! A directory, and a server whose maps clients write there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::eventually;
use crate::support::program::Program;
use crate::support::server::{MapServer, numbered};

pub struct Fixture {
    pub directory: TempDir,
    pub server: MapServer,
}

impl Fixture {
    /// Returns a directory, and a server with the map `n = 0`, repeated every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), server: MapServer::start(interval) }
    }

    /// Starts a client of the server in the directory. Its temporary files are there too, so that a test can check
    /// their removal.
    #[track_caller]
    pub fn client(&self, args: &[&str]) -> Program {
        let address = self.server.running.addr.to_string();
        let args = [&["-f", "json", &address], args].concat();
        Program::client_with(&args, |client| client.current_dir(&self.directory).env("TMPDIR", self.directory.path()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the content of a file; empty if it does not exist.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    #[track_caller]
    pub fn wait_text(&self, name: &str, text: &str) {
        eventually(&format!("{text:?} in {name}"), || self.text(name) == text);
    }

    pub fn publish(&self, number: i64) {
        self.server.feed.publish(&numbered(number)).unwrap();
    }

    /// Returns the number of remaining directories of `MAPCAST_FILE`.
    pub fn directories(&self) -> usize {
        let entries = fs::read_dir(&self.directory).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("mapcast-")).count()
    }
}
