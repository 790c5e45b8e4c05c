//! The count of active connections while connections start, end and panic.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use crate::stats::{ConnectionGuard, Counter, Stats};

/// The accept loop's limit on simultaneous connections.
const LIMIT: u64 = 2;

/// How a connection ends.
#[derive(Clone, Copy)]
enum End {
    /// The client leaves.
    Leave,
    /// The service panics; the connection's thread catches the panic.
    Panic,
    /// The thread panics outside the service: only the guard's drop removes the connection from the count.
    PanicOutside,
}

/// The clients, in the order in which they connect.
const CLIENTS: [End; 4] = [End::Leave, End::PanicOutside, End::Panic, End::Leave];

/// However connections end, the count is never below the true number and never above the limit. A connection that leaves gets
/// the count without itself. At the end the count is 0.
pub(crate) fn come_and_go() {
    let stats = Arc::new(Stats::default());
    // The true number of open connections.
    let open = Arc::new(Mutex::new(0));
    let mut threads = Vec::new();
    let mut refused = 0;
    for end in CLIENTS {
        // Like the accept loop: no other thread adds to the count.
        if stats.active() >= LIMIT {
            stats.count(Counter::Refused);
            refused += 1;
            continue;
        }
        let guard = stats.connect();
        assert!((1..=LIMIT).contains(&guard.active_then()));
        *open.lock().unwrap() += 1;
        let (stats, open) = (Arc::clone(&stats), Arc::clone(&open));
        threads.push(thread::spawn(move || {
            // Caught, because shuttle would report the panic; a thread of the server would end.
            let outside = catch_unwind(AssertUnwindSafe(|| serve(guard, &stats, &open, end)));
            assert_eq!(outside.is_err(), matches!(end, End::PanicOutside));
        }));
    }
    let served = threads.len() as u64;
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!((stats.active(), stats.served(), stats.refused()), (0, served, refused));
}

/// Does what a connection's thread does.
fn serve(guard: ConnectionGuard, stats: &Stats, open: &Mutex<u64>, end: End) {
    guard.serve();
    let served = catch_unwind(|| {
        // `resume_unwind` does not call the panic hook: shuttle's would report a failed model.
        if matches!(end, End::Panic) {
            resume_unwind(Box::new("a panic of the service"));
        }
    });
    assert_eq!(served.is_err(), matches!(end, End::Panic));
    let mut open = open.lock().unwrap();
    assert!((*open..=LIMIT).contains(&stats.active()), "the count is {}, and {open} are open", stats.active());
    *open -= 1;
    drop(open);
    if matches!(end, End::PanicOutside) {
        resume_unwind(Box::new("a panic outside the service"));
    }
    assert!(guard.leave() < LIMIT, "the count includes this connection, or a later one");
}
