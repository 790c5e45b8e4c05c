//! The slots that bound how many threads exist, while threads come and go.

use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

use crate::slots::{Class, ThreadSlots};

/// No wait of a model ever times out.
const ROUND: std::time::Duration = std::time::Duration::ZERO;

/// Threads that may exist at once.
const CAPACITY: u64 = 2;

/// Threads that are started, one after the other.
const THREADS: u64 = 5;

/// What the accept loop, the threads and the reaper share.
struct Server {
    slots: ThreadSlots,
    /// Threads that exist: from before their start until they have been joined.
    live: Mutex<u64>,
    /// True once a slot has been freed since the accept loop checked; in place of its wakeup.
    freed: Mutex<bool>,
    on_free: Condvar,
}

impl Server {
    /// As the accept loop does: takes a slot, or waits until one is freed.
    fn take(&self, class: Class) {
        while !self.slots.take(class) {
            let mut freed = self.freed.lock().unwrap();
            while !*freed {
                freed = self.on_free.wait(freed).unwrap();
            }
            *freed = false;
        }
    }

    fn reap(&self) {
        let join = |thread: thread::JoinHandle<()>| {
            thread.join().unwrap();
            *self.live.lock().unwrap() -= 1;
        };
        self.slots.reap(
            ROUND,
            || (),
            join,
            || {
                *self.freed.lock().unwrap() = true;
                self.on_free.notify_all();
            },
        );
    }
}

/// In whatever order threads end, are joined and are started: no more exist than there are slots, an accept loop that waits
/// for a slot gets one, and all are joined in the end.
pub(crate) fn leave_reap_and_admit() {
    let server = Arc::new(Server {
        slots: ThreadSlots::new(CAPACITY - 1, 1),
        live: Mutex::new(0),
        freed: Mutex::new(false),
        on_free: Condvar::new(),
    });
    let reaper = {
        let server = Arc::clone(&server);
        thread::spawn(move || server.reap())
    };
    for number in 0..THREADS {
        let class = if number % 3 == 0 { Class::Reserved } else { Class::Ordinary };
        server.take(class);
        if number == 1 {
            // The system refuses the thread.
            server.slots.give_back(class);
            continue;
        }
        let mut live = server.live.lock().unwrap();
        *live += 1;
        assert!(*live <= CAPACITY, "{} threads", *live);
        drop(live);
        // The thread's handle, and whether the thread is done: the thread or the accept loop retires it, whichever is later.
        let handle = Arc::new(Mutex::new((None, false)));
        let thread = {
            let (server, handle) = (Arc::clone(&server), Arc::clone(&handle));
            thread::spawn(move || {
                let mut half = handle.lock().unwrap();
                half.1 = true;
                let own = half.0.take();
                drop(half);
                if let Some(own) = own {
                    server.slots.retire(own, class);
                }
            })
        };
        let mut half = handle.lock().unwrap();
        if half.1 {
            drop(half);
            server.slots.retire(thread, class);
        } else {
            half.0 = Some(thread);
        }
    }
    assert_eq!(server.slots.wait_all_free(None), 0);
    server.slots.close();
    reaper.join().unwrap();
    assert_eq!(*server.live.lock().unwrap(), 0);
}
