//! Who keeps the last good map, so that no source waits for a disk.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use log::Level;

use crate::chain::Chain;
use crate::map::Map;
use crate::state::StateFile;

/// A thread that writes the newest map into the state. A source may have a hundred maps in the time of one fsync: those in
/// between are never written. Ends when it is dropped, when the last map is written.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Guards the map that is not written yet alone; held only to put it there and to take it.
    newest: Arc<Mutex<Option<Map>>>,
    /// One for each time that there was no map. Taken when the keeper is dropped.
    bell: Option<Sender<()>>,
    /// Taken when the keeper is dropped.
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives none.
    pub(super) fn start(state: StateFile) -> io::Result<Self> {
        let newest = Arc::new(Mutex::new(None));
        let (bell, rung) = mpsc::channel();
        let taken = Arc::clone(&newest);
        let keep = move || {
            let mut is_failing = false;
            while rung.recv().is_ok() {
                let map = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(map) = map {
                    is_failing = write(&state, &map, is_failing);
                }
            }
        };
        let thread = thread::Builder::new().name("state".to_owned()).spawn(keep)?;
        Ok(Self { newest, bell: Some(bell), thread: Some(thread) })
    }

    /// Has `map` written, unless a newer one comes first. Waits for nothing.
    pub(super) fn keep(&self, map: Map) {
        let before = self.newest.lock().unwrap_or_else(PoisonError::into_inner).replace(map);
        if before.is_none()
            && let Some(bell) = &self.bell
        {
            // Nobody listens only if the thread has panicked, which its end tells.
            let _ = bell.send(());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.bell = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that keeps the state panicked: the file has an older map");
        }
    }
}

/// Writes `map`. Returns true if and only if that failed. The first failure in a row is told, and that it is over.
fn write(state: &StateFile, map: &Map, was_failing: bool) -> bool {
    match state.save_exact(map) {
        Ok(()) => {
            if was_failing {
                log::info!("{}: the state is kept again", state.name());
            }
            false
        }
        Err(error) => {
            let level = if was_failing { Level::Debug } else { Level::Warn };
            log::log!(level, "{}; clients have the new map, a restart would begin with an older one", Chain(&error));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::builtin;

    fn numbered(number: i64) -> Map {
        Map::from([("n".into(), number.into())])
    }

    #[test]
    fn the_newest_map_is_kept_when_the_keeper_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path().join("state")).unwrap();
        let keeper = Keeper::start(state.clone()).unwrap();
        (0..1000).for_each(|number| keeper.keep(numbered(number)));
        drop(keeper);
        assert_eq!(state.load(1000).unwrap(), Some(numbered(999)));
    }

    #[test]
    fn a_state_that_cannot_be_written_for_a_while_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path().join("state")).unwrap();
        std::fs::create_dir_all(folder.path().join("state/in-the-way")).unwrap();
        assert!(write(&state, &builtin(), false));
        std::fs::remove_dir_all(folder.path().join("state")).unwrap();
        assert!(!write(&state, &builtin(), true));
        assert_eq!(state.load(1000).unwrap(), Some(builtin()));
    }
}
