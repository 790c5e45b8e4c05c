//! The thread that watches the sockets of idle clients, so that a disconnect is noticed at once.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::ClientSender;
use crate::platform::ReadinessSet;
use crate::sync::{Mutex, MutexGuard};
use crate::threads::WakeReason;
use crate::threads::{ROUND, Thread, Threads, Worker};

/// How long the drop of a watcher waits for its thread: 1 s. The thread blocks only on its own readiness set.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

/// Notifies the threads of connections whose clients have sent data or disconnected.
///
/// A parked thread cannot see its socket. A thread in a `poll` of its socket and a shared pipe can, but waking it for each
/// change cost 2.8 times the send itself (measured), and waking one thread alone takes one more descriptor. So one thread
/// watches all sockets, and parking costs no descriptor.
#[derive(Debug)]
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    /// `None` after the drop has taken it to join it.
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Shared {
    set: ReadinessSet,
    /// The client to notify, by connection id. Held for one lookup or change; never while notifying.
    clients: Mutex<HashMap<u64, Weak<ClientSender>>>,
}

impl Watcher {
    /// Starts the thread and registers it in `threads`.
    pub(crate) fn start(threads: &Threads) -> io::Result<Self> {
        Self::watching(ReadinessSet::new()?, threads)
    }

    fn watching(set: ReadinessSet, threads: &Threads) -> io::Result<Self> {
        let shared = Arc::new(Shared { set, clients: Mutex::default() });
        let watching = Arc::clone(&shared);
        let worker = threads.register("watcher", "watching what clients send");
        let counted = Arc::clone(&worker);
        let run =
            move || counted.run_fallible(|limit| watching.set.has_ended_within(limit), || watching.watch(&counted));
        let thread = Thread::start("watcher", run).inspect_err(|_| worker.end())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Notifies the client's thread with [`WakeReason::Input`] once, when its socket is readable or closed.
    pub(crate) fn watch(&self, id: u64, client: &Arc<ClientSender>) -> io::Result<()> {
        // Inserted first: input may be reported before `add` returns.
        self.shared.lock_clients().insert(id, Arc::downgrade(client));
        let added = self.shared.set.add(client, id);
        if added.is_err() {
            self.forget(id);
        }
        added
    }

    /// Arms the watch again after a notification.
    pub(crate) fn watch_again(&self, id: u64, client: &Arc<ClientSender>) -> io::Result<()> {
        self.shared.set.rearm(client, id)
    }

    /// Removes the connection. Closing its socket removes it from the readiness set.
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
    /// Watches until the set is ended.
    ///
    /// # Errors
    /// If the system refuses to wait. A disconnect is then noticed at the next repeat only.
    fn watch(&self, worker: &Worker) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut notifying: Vec<Arc<ClientSender>> = Vec::new();
        // Counts a round after a successful wait only: a thread whose waits all fail is stuck.
        while self.set.wait(&mut ready, ROUND)? {
            worker.round();
            let clients = self.lock_clients();
            notifying.extend(ready.iter().filter_map(|id| clients.get(id)?.upgrade()));
            drop(clients);
            notifying.drain(..).for_each(|client| client.notifier().notify(WakeReason::Input));
        }
        Ok(())
    }

    fn lock_clients(&self) -> MutexGuard<'_, HashMap<u64, Weak<ClientSender>>> {
        self.clients.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::STUCK_AFTER;
    use std::time::Instant;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_watcher_whose_waits_fail_is_a_problem_and_then_fatal() {
        let threads = Threads::default();
        let watcher = Watcher::watching(ReadinessSet::refused(), &threads).unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while threads.problems().is_empty() {
            assert!(Instant::now() < deadline, "the failure is not reported");
            std::thread::yield_now();
        }
        let [problem] = &threads.problems()[..] else { panic!("one problem") };
        assert_eq!(problem.text, "thread watcher: failed while watching what clients send, and is being restarted");
        threads.check_after(STUCK_AFTER);
        assert!(threads.fatal_problem().is_some());
        drop(watcher);
        assert!(threads.unfinished().is_empty());
    }
}
