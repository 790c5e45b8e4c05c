//! The clients of the map's server, as JSON.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::unix_time::{millis, now_ms};
use crate::http::protocol::response::to_json;
use crate::http::protocol::response_body::SharedSlice;
use crate::platform::{self, Process};
use crate::service::{ClientRecord, ConnectionsSnapshot, ServerMonitor};
use crate::sync::Mutex;

/// The maximum number of listed clients.
pub(super) const MAX_CLIENTS: usize = 1000;

/// The maximum age of a snapshot: two snapshots a second serve a thousand requests.
const MAX_AGE: Duration = Duration::from_millis(500);

/// The clients at one moment.
#[derive(Debug)]
pub(super) struct ClientsSnapshot {
    taken: Instant,
    pub(super) connections: ConnectionsSnapshot,
    /// Written for the first request that needs it.
    list: OnceLock<ClientList>,
    /// Read for the first request that needs it: counting ten thousand descriptors takes milliseconds.
    process: OnceLock<Process>,
}

/// The newest snapshot.
#[derive(Debug, Default)]
pub(super) struct SnapshotCache {
    /// Held while a snapshot is taken: one thread takes it, the others wait for it. Only HTTP's threads lock it.
    newest: Mutex<Option<Arc<ClientsSnapshot>>>,
}

impl SnapshotCache {
    pub(super) fn latest(&self, monitor: &dyn ServerMonitor) -> Arc<ClientsSnapshot> {
        let mut newest = self.newest.lock();
        if let Some(snapshot) = newest.as_ref().filter(|snapshot| snapshot.taken.elapsed() < MAX_AGE) {
            return Arc::clone(snapshot);
        }
        let connections = monitor.snapshot(MAX_CLIENTS);
        let snapshot = Arc::new(ClientsSnapshot {
            taken: Instant::now(),
            connections,
            list: OnceLock::new(),
            process: OnceLock::new(),
        });
        *newest = Some(Arc::clone(&snapshot));
        snapshot
    }
}

impl ClientsSnapshot {
    /// Returns the resources that the process uses.
    pub(super) fn process(&self) -> &Process {
        self.process.get_or_init(platform::read_process)
    }

    /// Returns the newest `limit` clients as JSON with a line feed. All limits share one text.
    pub(super) fn clients(&self, limit: usize) -> SharedSlice {
        let ClientList { text, ends } = self.list.get_or_init(|| ClientList::new(&self.connections));
        let end = ends.get(limit).or(ends.last()).copied().unwrap_or_default();
        SharedSlice { text: Arc::clone(text) as _, range: 0..end, tail: "]}\n", payload: None }
    }
}

/// The list of clients as JSON, without its closing brackets.
#[derive(Debug)]
struct ClientList {
    text: Arc<String>,
    /// The end of the list with 0 clients, with 1, and so on.
    ends: Vec<usize>,
}

impl ClientList {
    fn new(connections: &ConnectionsSnapshot) -> Self {
        let mut text = format!("{{\"total\":{},\"clients\":[", connections.total);
        let mut ends = vec![text.len()];
        for (number, record) in connections.newest.iter().enumerate() {
            text += if number == 0 { "" } else { "," };
            text += &to_json(&ListedClient::from(record));
            ends.push(text.len());
        }
        Self { text: Arc::new(text), ends }
    }
}

#[derive(Debug, Serialize)]
struct ListedClient {
    id: u64,
    peer: String,
    since_ms: u64,
    age_ms: u64,
    frames: u64,
    bytes: u64,
    skipped: u64,
    slow: bool,
}

impl From<&ClientRecord> for ListedClient {
    fn from(record: &ClientRecord) -> Self {
        let ClientRecord { id, peer, since, frames, bytes, skipped, is_slow } = *record;
        // Both from one clock: a change of the system's time does not affect the age.
        let age_ms = millis(since.elapsed());
        let since_ms = now_ms().saturating_sub(age_ms);
        Self { id, peer: peer.to_string(), since_ms, age_ms, frames, bytes, skipped, slow: is_slow }
    }
}
