//! One thread that watches every idle client, so that one that leaves is noticed at once.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::ClientOutlet;
use super::bell::{Belled, Cause};
use crate::platform::ReadinessSet;
use crate::threads::{ROUND, Thread, Threads, Worker};

/// How long the end waits for the thread: 1 s. It never waits longer than for its own set.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

/// Rings the bells of connections whose clients have sent something or have left.
///
/// A thread that is parked until the next repeat cannot see its socket; a `poll` on socket and a shared pipe can, but
/// was woken for each change at 2.8 times the cost of the send itself (measured), and has nothing to be woken by for
/// itself alone but a descriptor of its own. So one thread watches all sockets, and parking stays free.
#[derive(Debug)]
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    /// Taken when the watcher is dropped, which ends its thread first.
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Shared {
    set: ReadinessSet,
    /// Whom to ring for a connection's id. Held for one look-up or change, never while ringing.
    clients: Mutex<HashMap<u64, Weak<ClientOutlet>>>,
}

impl Watcher {
    /// Starts the thread, one of `threads`.
    pub(crate) fn start(threads: &Threads) -> io::Result<Self> {
        let shared = Arc::new(Shared { set: ReadinessSet::new()?, clients: Mutex::default() });
        let watching = Arc::clone(&shared);
        let worker = threads.register("watcher", "watching what clients send");
        let counted = Arc::clone(&worker);
        let run = move || counted.run(|limit| watching.set.has_ended_within(limit), || watching.watch(&counted));
        let thread = Thread::start("watcher", run).inspect_err(|_| worker.end())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has the client's bell rung for [`Cause::Input`] once, when its socket has something to read or has ended.
    pub(crate) fn watch(&self, id: u64, client: &Arc<ClientOutlet>) -> io::Result<()> {
        // First: its input may be reported before `add` returns.
        self.shared.lock_clients().insert(id, Arc::downgrade(client));
        let added = self.shared.set.add(client, id);
        if added.is_err() {
            self.forget(id);
        }
        added
    }

    /// Has the bell rung once more.
    pub(crate) fn watch_again(&self, id: u64, client: &Arc<ClientOutlet>) -> io::Result<()> {
        self.shared.set.rearm(client, id)
    }

    /// Forgets the connection; its socket leaves by being closed.
    pub(crate) fn forget(&self, id: u64) {
        self.shared.lock_clients().remove(&id);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.set.end();
        if let Some(thread) = self.thread.take() {
            thread.join(JOIN_LIMIT);
        }
    }
}

impl Shared {
    fn watch(&self, worker: &Worker) {
        let mut ready = Vec::new();
        let mut ringing: Vec<Arc<ClientOutlet>> = Vec::new();
        loop {
            worker.round();
            match self.set.wait(&mut ready, ROUND) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // epoll_wait fails only for a bad descriptor or a bad buffer: ours, and for ever.
                    log::error!("clients that leave are noticed at the next repeat only: watching failed: {error}");
                    return;
                }
            }
            let clients = self.lock_clients();
            ringing.extend(ready.iter().filter_map(|id| clients.get(id)?.upgrade()));
            drop(clients);
            ringing.drain(..).for_each(|client| client.bell().ring(Cause::Input));
        }
    }

    fn lock_clients(&self) -> MutexGuard<'_, HashMap<u64, Weak<ClientOutlet>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
