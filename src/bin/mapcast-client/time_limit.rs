//! Work that may hang while the client exits.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long cleaning up may take at exit: a terminal that accepts no more output must not delay it.
const EXIT_TIME_LIMIT: Duration = Duration::from_millis(500);

/// Runs `work` in a thread and waits 500 ms at most for it. Without a thread, runs it in this one.
pub(crate) fn with_time_limit(work: impl FnOnce() + Clone + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let again = work.clone();
    let run = move || {
        work();
        // The receiver is gone only if the time limit has passed.
        let _ = done.send(());
    };
    match thread::Builder::new().name("leaving".to_owned()).spawn(run) {
        Ok(_) => drop(finished.recv_timeout(EXIT_TIME_LIMIT)),
        Err(_) => again(),
    }
}
