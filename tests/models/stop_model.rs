//! The registry and the thread slots of `server/`, with a minimal accept loop, connection threads and stop.

use std::net::{Ipv4Addr, SocketAddr};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::client::{ClientSender, Pipe};
use crate::frame_sender::SendCounts;
use crate::registry::Registry;
use crate::slots::{Class, ThreadSlots};
use crate::stats::Stats;
use crate::threads::{Notifier, WakeReason};

/// The reaper's round. Any value: the waits of these models do not time out.
const ROUND: std::time::Duration = std::time::Duration::ZERO;

/// The connections of each model.
const CLIENTS: u64 = 3;

/// What the accept loop and the connections share.
struct Server {
    stats: Arc<Stats>,
    registry: Registry,
    slots: ThreadSlots,
    /// The number of joined threads.
    joined: Mutex<u64>,
}

/// What ends a connection.
#[derive(Clone, Copy)]
enum Ending {
    /// The client leaves.
    Client,
    Stop,
    Cut,
}

impl Default for Server {
    fn default() -> Self {
        let (stats, registry, joined) = Default::default();
        Self { stats, registry, slots: ThreadSlots::new(CLIENTS, 0), joined }
    }
}

impl Server {
    /// Starts a connection like the accept loop, which in some schedules sends a first frame and registers the client before its thread exists.
    fn start(self: &Arc<Self>, id: u64, ending: Ending) {
        assert!(self.slots.take(Class::Ordinary));
        let guard = self.stats.connect();
        self.registry.enter(id, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        let open = move |server: &Self, notifier| {
            let client = Arc::new(ClientSender::new(Pipe::with_room(0), notifier));
            server.registry.keep_client(id, &client);
            client
        };
        let started = thread_rng().gen_bool(0.5).then(|| open(self, Notifier::without_owner()));
        let server = Arc::clone(self);
        let thread = thread::spawn(move || {
            let client = started.unwrap_or_else(|| open(&server, Notifier::for_current_thread()));
            client.notifier().adopt();
            match ending {
                Ending::Client => {}
                Ending::Stop => while !client.notifier().wait(None).contains(WakeReason::Stop) {},
                Ending::Cut => while !client.notifier().wait(None).contains(WakeReason::Cut) {},
            }
            guard.leave();
            if let Some(thread) = server.registry.leave(id, SendCounts::default()) {
                server.slots.retire(thread, Class::Ordinary);
            }
        });
        if let Some(thread) = self.registry.keep_thread(id, thread) {
            self.slots.retire(thread, Class::Ordinary);
        }
    }

    fn join(&self, thread: JoinHandle<()>) {
        thread.join().unwrap();
        *self.joined.lock().unwrap() += 1;
    }

    /// Does what the server does from the drain to its end. A connection that was not notified never ends, which shuttle reports
    /// as a deadlock.
    fn end(self: &Arc<Self>) {
        assert!(self.registry.wait_empty(None));
        assert_eq!(self.stats.active(), 0, "the drain is over, and the count is not 0");
        let reaper = {
            let server = Arc::clone(self);
            thread::spawn(move || server.slots.reap(ROUND, || (), |thread| server.join(thread), || ()))
        };
        assert_eq!(self.slots.wait_all_free(None), 0);
        self.slots.close();
        reaper.join().unwrap();
        assert_eq!(*self.joined.lock().unwrap(), CLIENTS);
    }
}

/// A connection whose thread registers before, during or after the notification of the stop is notified, waited for and joined.
pub(crate) fn register_against_stop() {
    let server = Arc::new(Server::default());
    (0..CLIENTS).for_each(|id| server.start(id, Ending::Stop));
    server.registry.notify_stop();
    server.end();
}

/// The same holds for a connection while the clients of the others leave at the same time.
pub(crate) fn leave_against_stop() {
    let server = Arc::new(Server::default());
    server.start(0, Ending::Client);
    server.start(1, Ending::Stop);
    server.start(2, Ending::Client);
    server.registry.notify_stop();
    server.end();
}

/// A connection that does not end at the stop ends at the cut, whether its thread registers before, during or after the cut of
/// the others.
pub(crate) fn register_against_cut() {
    let server = Arc::new(Server::default());
    (0..CLIENTS).for_each(|id| server.start(id, if id == 0 { Ending::Client } else { Ending::Cut }));
    server.registry.notify_stop();
    assert!(server.registry.cut() >= 2, "two connections wait for the cut");
    server.end();
}
