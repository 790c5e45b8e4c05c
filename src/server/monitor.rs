//! The server's monitor: combines the registry and the counters into snapshots.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::Config;
use super::registry::{Registered, Registry};
use crate::connection::SendCounts;
use crate::service::{ClientRecord, ConnectionsSnapshot, ServerMonitor};
use crate::stats::Stats;
use crate::tls::Acceptor;

/// A client is slow while a frame has been in flight to it for longer than this: 1 s.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The monitor of one server; it outlives the server.
#[derive(Debug)]
pub(super) struct Monitor {
    stats: Arc<Stats>,
    registry: Arc<Registry>,
    max_connections: u64,
    tls: Option<Arc<Acceptor>>,
    /// The totals of the last snapshots, in the order of [`snapshot`](Self::snapshot): they never decrease.
    reported: [AtomicU64; 7],
}

impl Monitor {
    pub(super) fn new(stats: Arc<Stats>, registry: Arc<Registry>, config: &Config) -> Self {
        let (max_connections, tls) = (config.max_connections, config.tls.clone());
        Self { stats, registry, max_connections, tls, reported: Default::default() }
    }
}

impl ServerMonitor for Monitor {
    fn stats(&self) -> &Stats {
        &self.stats
    }

    fn max_connections(&self) -> u64 {
        self.max_connections
    }

    fn certificate_end(&self) -> Option<SystemTime> {
        self.tls.as_ref().and_then(|tls| tls.not_after())
    }

    fn snapshot(&self, newest: usize) -> ConnectionsSnapshot {
        let (gone, registered) = self.registry.list();
        let mut snapshot = ConnectionsSnapshot { total: registered.len() as u64, ..ConnectionsSnapshot::default() };
        let mut sum = gone;
        let now = Instant::now();
        for Registered { id, peer, sender } in registered.into_iter().rev() {
            let sender = sender.upgrade();
            let (sent, started_at) = sender.as_ref().map(|sender| sender.progress()).unwrap_or_default();
            sum += sent;
            let is_slow = started_at.is_some_and(|started_at| now.saturating_duration_since(started_at) > SLOW_AFTER);
            snapshot.slow += u64::from(is_slow);
            if snapshot.newest.len() < newest {
                let SendCounts { frames, bytes, skipped, .. } = sent;
                // A connection without a sender is being opened.
                let since = sender.as_ref().map_or(now, |sender| sender.since());
                snapshot.newest.push(ClientRecord {
                    frames,
                    bytes,
                    skipped,
                    is_slow,
                    ..ClientRecord::new(id, peer, since)
                });
            }
        }
        // A client that disconnects between the list and the sum is missing from this sum, and counted in the next one.
        let changes = sum.frames.saturating_sub(sum.firsts + sum.repeats);
        let prompt = sum.frames.saturating_sub(self.stats.waits().tally().count());
        let sums = [sum.frames, sum.firsts, sum.repeats, changes, prompt, sum.bytes, sum.skipped];
        let reported = |at: usize| self.reported[at].fetch_max(sums[at], Ordering::Relaxed).max(sums[at]);
        let [frames, firsts, repeats, changes, prompt, bytes, skipped] = array::from_fn(reported);
        ConnectionsSnapshot { frames, firsts, repeats, changes, prompt, bytes, skipped, ..snapshot }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::FrameSender;
    use crate::frame::Frame;
    use crate::stream::Stream;
    use crate::threads::Notifier;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    #[test]
    fn a_snapshot_lists_the_newest_first_and_sums_closed_clients() {
        let (stats, registry) = (Arc::new(Stats::default()), Arc::new(Registry::default()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let senders: Vec<_> = (1..=3)
            .map(|id| {
                let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let sender = Arc::new(FrameSender::new(Stream::Plain(socket), Notifier::for_current_thread()));
                registry.enter(id, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
                registry.keep_client(id, &sender);
                sender.try_send_frame(&Frame::new(b"one", 10).unwrap(), 1, None, Instant::now());
                sender
            })
            .collect();
        let monitor = Monitor::new(stats, Arc::clone(&registry), &Config::default());
        let snapshot = monitor.snapshot(2);
        assert_eq!((snapshot.frames, snapshot.bytes, snapshot.total), (3, 39, 3));
        assert_eq!(
            snapshot.newest.iter().map(|client| (client.id, client.frames)).collect::<Vec<_>>(),
            [(3, 1), (2, 1)]
        );
        registry.leave(3, senders[2].sent());
        let snapshot = monitor.snapshot(0);
        assert_eq!((snapshot.frames, snapshot.bytes, snapshot.total, snapshot.newest.len()), (3, 39, 2, 0));
    }
}
