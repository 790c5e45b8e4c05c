//! Thread slots, which limit how many threads exist, while threads start and end.

use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

use crate::slots::{Class, ThreadSlots};

/// The reaper's round. Any value: the waits of this model do not time out.
const ROUND: std::time::Duration = std::time::Duration::ZERO;

/// The most threads that may exist at once.
const CAPACITY: u64 = 2;

/// The threads that the accept loop starts, one after the other.
const THREADS: u64 = 5;

/// What the accept loop, the threads and the reaper share.
struct Server {
    slots: ThreadSlots,
    /// The number of threads that exist: from before their start until they are joined.
    existing: Mutex<u64>,
    /// True if a slot was freed since the accept loop last waited.
    has_freed: Mutex<bool>,
    /// Notified when `has_freed` becomes true.
    freed: Condvar,
}

impl Server {
    /// Takes a slot like the accept loop: waits until one is free.
    fn take(&self, class: Class) {
        while !self.slots.take(class) {
            let has_freed = self.has_freed.lock().unwrap();
            *self.freed.wait_while(has_freed, |has_freed| !*has_freed).unwrap() = false;
        }
    }

    /// Joins threads like the reaper, until the slots are closed.
    fn reap(&self) {
        let join = |thread: thread::JoinHandle<()>| {
            thread.join().unwrap();
            *self.existing.lock().unwrap() -= 1;
        };
        self.slots.reap(
            ROUND,
            || (),
            join,
            || {
                *self.has_freed.lock().unwrap() = true;
                self.freed.notify_all();
            },
        );
    }
}

/// In whatever order threads start, end and are joined, no more exist than there are slots, an accept loop that waits for a
/// slot gets one, and all threads are joined at the end.
pub(crate) fn leave_reap_and_admit() {
    let server = Arc::new(Server {
        slots: ThreadSlots::new(CAPACITY - 1, 1),
        existing: Mutex::new(0),
        has_freed: Mutex::new(false),
        freed: Condvar::new(),
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
        let mut existing = server.existing.lock().unwrap();
        *existing += 1;
        assert!(*existing <= CAPACITY, "{} threads", *existing);
        drop(existing);
        // The thread's handle, and whether the thread has ended. The later of thread and accept loop retires the handle.
        let entry = Arc::new(Mutex::new((None, false)));
        let thread = {
            let (server, entry) = (Arc::clone(&server), Arc::clone(&entry));
            thread::spawn(move || {
                let mut entry = entry.lock().unwrap();
                entry.1 = true;
                let own = entry.0.take();
                drop(entry);
                if let Some(own) = own {
                    server.slots.retire(own, class);
                }
            })
        };
        let mut entry = entry.lock().unwrap();
        if entry.1 {
            drop(entry);
            server.slots.retire(thread, class);
        } else {
            entry.0 = Some(thread);
        }
    }
    assert_eq!(server.slots.wait_all_free(None), 0);
    server.slots.close();
    reaper.join().unwrap();
    assert_eq!(*server.existing.lock().unwrap(), 0);
}
