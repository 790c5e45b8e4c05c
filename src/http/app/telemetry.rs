//! The values that `/status`, `/clients`, `/metrics` and the health checks report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::clients::{ClientsSnapshot, SnapshotCache};
use super::config::{MapPort, ShownSource};
use crate::feed::Feed;
use crate::http::protocol::response::Code;
use crate::service::{SendMode, ServerMonitor};
use crate::shutdown::Shutdown;
use crate::threads::Threads;

/// Read access to the feed, both servers and the process. Shared by the handler and the streams.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) feed: Arc<Feed>,
    /// The map's server.
    pub(super) monitor: Arc<dyn ServerMonitor>,
    /// This service's own server.
    pub(super) own_monitor: Arc<dyn ServerMonitor>,
    /// The ports of the map.
    pub(super) interval: Duration,
    pub(super) send: Option<SendMode>,
    pub(super) source: Option<ShownSource>,
    pub(super) map_ports: Vec<MapPort>,
    pub(super) dropped_log_lines: Option<Arc<AtomicU64>>,
    pub(super) threads: Threads,
    /// The stop of the map's server.
    pub(super) stop: Shutdown,
    pub(super) started: Instant,
    pub(super) started_at: SystemTime,
    pub(super) snapshots: SnapshotCache,
    pub(super) responses: ResponseCounts,
}

/// The number of responses with each status code.
#[derive(Debug, Default)]
pub(super) struct ResponseCounts([AtomicU64; Code::ALL.len()]);

impl Telemetry {
    /// Returns the clients of the map's server, at most half a second old.
    pub(super) fn snapshot(&self) -> Arc<ClientsSnapshot> {
        self.snapshots.latest(&*self.monitor)
    }
}

impl ResponseCounts {
    pub(super) fn count(&self, code: Code) {
        self.0[code as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of all responses.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Returns each status code with its number of responses.
    pub(super) fn by_code(&self) -> impl Iterator<Item = (u16, u64)> {
        Code::ALL.into_iter().map(Code::number).zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
