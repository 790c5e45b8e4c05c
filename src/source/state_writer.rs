//! The thread that writes the last good map to the state file, so that no source waits for a disk.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use log::Level;

use crate::display::error_chain::ErrorChain;
use crate::map::Map;
use crate::state::StateFile;
use crate::sync::Mutex;
use crate::threads::{ROUND, Thread, Threads, Worker};

/// The first pause before a failed write is tried again.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest pause: the map is written at most half a minute after the disk has room again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long the end waits for the last write: 10 s. An fsync on a busy disk may take seconds; a file system that takes longer
/// hangs.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

/// A map and the time of its change.
type Changed = (Map, SystemTime);

/// A thread that writes the newest map to the state file. A source may publish a hundred maps during one fsync: the maps in
/// between are not written. A failed write is tried again after 1 s, doubling to 30 s, and at the next map. Dropping it ends
/// the thread after one last attempt.
#[derive(Debug)]
pub(super) struct StateWriter {
    /// Guards the map that is not written yet; held only to store or take it.
    newest: Arc<Mutex<Option<Changed>>>,
    /// Receives one message when `newest` becomes occupied. `None` after the state writer is dropped.
    notify: Option<Sender<()>>,
    /// `None` after the state writer is dropped.
    thread: Option<Thread>,
}

impl StateWriter {
    /// Starts the thread, one of `threads`.
    ///
    /// # Errors
    /// If the system refuses the thread.
    pub(super) fn start(state: StateFile, threads: &Threads) -> io::Result<Self> {
        let newest = Arc::new(Mutex::new(None));
        let (notify, notified) = mpsc::channel();
        let taken = Arc::clone(&newest);
        let worker = threads.register_io("state", &format!("writing {}", state.name()));
        let counted = Arc::clone(&worker);
        let keep = move || {
            let mut unwritten = None;
            let try_write = |newest: &Changed, was_failing| write(&state, newest, was_failing);
            // After a panic: a map that arrives during the pause is in `newest`, and is found afterwards.
            let pause = |pause| notified.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected);
            counted.run(pause, || write_newest(&counted, &taken, &mut unwritten, &notified, FIRST_WAIT, try_write));
            if unwritten.is_some() {
                log::warn!("{}: the last map is not in the state: a restart will load an older one", state.name());
            }
        };
        let thread = Thread::start("state", keep).inspect_err(|_| worker.end())?;
        Ok(Self { newest, notify: Some(notify), thread: Some(thread) })
    }

    /// Queues `map`, the current map, in place of an unwritten one. Does not block.
    pub(super) fn keep(&self, map: Map) {
        let newest = (map, SystemTime::now());
        let before = self.newest.lock().replace(newest);
        if before.is_none()
            && let Some(notify) = &self.notify
        {
            // Fails only if the thread has ended.
            let _ = notify.send(());
        }
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        self.notify = None;
        if let Some(thread) = self.thread.take() {
            thread.join(JOIN_LIMIT);
        }
    }
}

/// Writes the map in `newest` at each notification, and retries while that fails, until the sender of `notified` is dropped.
/// Leaves an unwritten map in `unwritten`. `try_write` gets whether the previous attempt failed, and returns true if and only
/// if the map is written.
fn write_newest<M>(
    worker: &Worker,
    newest: &Mutex<Option<M>>,
    unwritten: &mut Option<M>,
    notified: &Receiver<()>,
    first_wait: Duration,
    mut try_write: impl FnMut(&M, bool) -> bool,
) {
    let mut wait = first_wait;
    let mut due = Instant::now() + wait;
    loop {
        worker.round();
        let left = if unwritten.is_some() { due.saturating_duration_since(Instant::now()) } else { ROUND };
        let received = notified.recv_timeout(left.min(ROUND));
        let was_failing = unwritten.is_some();
        if received == Err(RecvTimeoutError::Timeout) && !(was_failing && due <= Instant::now()) {
            continue;
        }
        if let Some(newer) = newest.lock().take() {
            *unwritten = Some(newer);
        }
        if unwritten.as_ref().is_some_and(|map| try_write(map, was_failing)) {
            *unwritten = None;
        }
        if received == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        wait = if was_failing { next_wait(wait) } else { first_wait };
        due = Instant::now() + wait;
    }
}

fn next_wait(wait: Duration) -> Duration {
    wait.saturating_mul(2).min(LONGEST_WAIT)
}

/// Writes `map`. Returns true if and only if it is written. Logs the first of several failures, and the end of them.
fn write(state: &StateFile, (map, changed): &Changed, was_failing: bool) -> bool {
    match state.save_exact(map, *changed) {
        Ok(()) => {
            if was_failing {
                log::info!("{}: the state is written again", state.name());
            }
            true
        }
        Err(error) => {
            let level = if was_failing { Level::Debug } else { Level::Warn };
            let meanwhile = "clients have the new map, a restart would load an older one";
            log::log!(level, "{}; {meanwhile}; trying again", ErrorChain(&error));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::builtin;
    use std::thread;

    fn numbered(number: i64) -> Map {
        Map::from([("n".into(), number.into())])
    }

    #[test]
    fn dropping_the_writer_writes_the_newest_map() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateFile::open(directory.path().join("state")).unwrap();
        let state_writer = StateWriter::start(state.clone(), &Threads::default()).unwrap();
        (0..1000).for_each(|number| state_writer.keep(numbered(number)));
        drop(state_writer);
        assert_eq!(state.load(1000).unwrap(), Some(numbered(999)));
    }

    #[test]
    fn a_failed_write_is_retried_until_it_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateFile::open(directory.path().join("state")).unwrap();
        std::fs::create_dir_all(directory.path().join("state/in-the-way")).unwrap();
        let newest = (builtin(), SystemTime::now().checked_sub(Duration::from_mins(1)).unwrap());
        assert!(!write(&state, &newest, false));
        std::fs::remove_dir_all(directory.path().join("state")).unwrap();
        assert!(write(&state, &newest, true));
        assert_eq!(state.load(1000).unwrap(), Some(builtin()));
        assert!(state.age() >= Some(Duration::from_mins(1)), "counted from the change: {:?}", state.age());
    }

    /// Runs [`write_newest`] on the map `{n: 1}` while `watch` receives each attempt and decides whether it succeeds.
    fn attempts(first_wait: Duration, watch: impl FnOnce(&Mutex<Option<Map>>, Sender<()>, &Attempts)) -> bool {
        let newest = Mutex::new(Some(numbered(1)));
        let (notify, notified) = mpsc::channel();
        let (made, attempt) = mpsc::channel();
        let (answer, answered) = mpsc::channel();
        notify.send(()).unwrap();
        let worker = Threads::default().register_io("state", "writing");
        thread::scope(|scope| {
            let newest = &newest;
            let writer = scope.spawn(move || {
                let mut unwritten = None;
                write_newest(&worker, newest, &mut unwritten, &notified, first_wait, |map: &Map, was_failing| {
                    made.send((map.clone(), was_failing)).unwrap();
                    answered.recv().unwrap()
                });
                unwritten.is_none()
            });
            watch(newest, notify, &Attempts { attempt, answer });
            writer.join().unwrap()
        })
    }

    struct Attempts {
        attempt: Receiver<(Map, bool)>,
        answer: Sender<bool>,
    }

    impl Attempts {
        /// Waits for the next attempt, lets it succeed or fail, and returns its map and whether the previous one failed.
        fn end_next(&self, is_written: bool) -> (Map, bool) {
            let attempt = self.attempt.recv_timeout(Duration::from_mins(1)).expect("another attempt");
            self.answer.send(is_written).unwrap();
            attempt
        }
    }

    #[test]
    fn a_failed_write_is_retried_without_a_newer_map() {
        let all_written = attempts(Duration::from_millis(1), |newest, notify, attempts| {
            assert_eq!(attempts.end_next(false), (numbered(1), false));
            assert_eq!(attempts.end_next(false), (numbered(1), true));
            assert_eq!(attempts.end_next(true), (numbered(1), true));
            *newest.lock() = Some(numbered(2));
            notify.send(()).unwrap();
            assert_eq!(attempts.end_next(true), (numbered(2), false));
        });
        assert!(all_written);
    }

    #[test]
    fn a_newer_map_replaces_an_unwritten_one_at_once() {
        attempts(Duration::from_hours(1), |newest, notify, attempts| {
            assert_eq!(attempts.end_next(false), (numbered(1), false));
            *newest.lock() = Some(numbered(2));
            notify.send(()).unwrap();
            assert_eq!(attempts.end_next(true), (numbered(2), true));
        });
    }

    #[test]
    fn a_stop_makes_one_more_attempt_without_a_pause() {
        for is_written_at_last in [true, false] {
            let all_written = attempts(Duration::from_hours(1), |_, notify, attempts| {
                assert_eq!(attempts.end_next(false), (numbered(1), false));
                drop(notify);
                assert_eq!(attempts.end_next(is_written_at_last), (numbered(1), true));
            });
            assert_eq!(all_written, is_written_at_last);
        }
    }

    #[test]
    fn the_pause_between_attempts_doubles_to_30_s() {
        let waits: Vec<_> = std::iter::successors(Some(FIRST_WAIT), |wait| Some(next_wait(*wait))).take(7).collect();
        assert_eq!(waits.iter().map(Duration::as_secs).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 30, 30]);
    }
}
