//! The thread that watches the sockets of idle clients, so that a disconnect is noticed at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::ClientSender;
use crate::platform::ReadinessSet;
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
    set: Arc<ReadinessSet<ClientSender>>,
    /// `None` after the drop has taken it to join it.
    thread: Option<Thread>,
}

impl Watcher {
    /// Starts the thread and registers it in `threads`.
    pub(crate) fn start(threads: &Threads) -> io::Result<Self> {
        Self::watching(ReadinessSet::new()?, threads)
    }

    fn watching(set: ReadinessSet<ClientSender>, threads: &Threads) -> io::Result<Self> {
        let set = Arc::new(set);
        let watched = Arc::clone(&set);
        let worker = threads.register("watcher", "watching what clients send");
        let counted = Arc::clone(&worker);
        let run = move || counted.run_fallible(|limit| watched.has_ended_within(limit), || watch(&watched, &counted));
        let thread = Thread::start("watcher", run).inspect_err(|_| worker.end())?;
        Ok(Self { set, thread: Some(thread) })
    }

    /// Notifies the client's thread with [`WakeReason::Input`] once, when its socket is readable or closed. Call
    /// [`forget`](Self::forget) to let the socket be closed.
    pub(crate) fn watch(&self, id: u64, client: &Arc<ClientSender>) -> io::Result<()> {
        self.set.add(id, client)
    }

    /// Arms the watch again after a notification.
    pub(crate) fn watch_again(&self, id: u64, client: &Arc<ClientSender>) -> io::Result<()> {
        self.set.rearm(id, client)
    }

    /// Removes the connection.
    pub(crate) fn forget(&self, id: u64) {
        self.set.remove(id);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.set.end();
        if let Some(thread) = self.thread.take() {
            thread.join(JOIN_LIMIT);
        }
    }
}

/// Watches until the set is ended.
///
/// # Errors
/// If the system refuses to wait. A disconnect is then noticed at the next repeat only.
fn watch(set: &ReadinessSet<ClientSender>, worker: &Worker) -> io::Result<()> {
    let mut ready: Vec<Arc<ClientSender>> = Vec::new();
    // Counts a round after a successful wait only: a thread whose waits all fail is stuck.
    while set.wait(&mut ready, ROUND)? {
        worker.round();
        ready.drain(..).for_each(|client| client.notifier().notify(WakeReason::Input));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::STUCK_AFTER;
    use std::time::Instant;

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
