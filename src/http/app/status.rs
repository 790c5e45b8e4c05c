//! What is shown of the server: its status, and its clients, as JSON.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::rendering::Rendering;
use crate::http::protocol::body::Part;
use crate::http::{Http, ShownSource};
use crate::platform::Process;
use crate::service::{ClientRecord, ConnectionsSnapshot, ServerMonitor};
use crate::stats::health::Failure;

/// The most clients that are listed.
pub(crate) const MAX_CLIENTS: usize = 1000;

/// How old a look at the clients may be: a thousand requests a second are answered from two looks.
const FRESH: Duration = Duration::from_millis(500);

/// A look at the clients, kept for a moment.
#[derive(Debug)]
pub(crate) struct View {
    at: Instant,
    pub(crate) snapshot: ConnectionsSnapshot,
    /// All that were looked at; made when somebody asks.
    clients: OnceLock<Clients>,
    /// What the process took; asked when somebody asks. Counting ten thousand descriptors takes milliseconds.
    process: OnceLock<Process>,
}

/// The newest look at the clients.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// Held while looking, so that one looks and the others wait for it; by HTTP's own threads alone.
    newest: Mutex<Option<Arc<View>>>,
}

impl Views {
    pub(crate) fn latest(&self, monitor: &dyn ServerMonitor) -> Arc<View> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = newest.as_ref().filter(|view| view.at.elapsed() < FRESH) {
            return Arc::clone(view);
        }
        let snapshot = monitor.snapshot(MAX_CLIENTS);
        let view = Arc::new(View { at: Instant::now(), snapshot, clients: OnceLock::new(), process: OnceLock::new() });
        *newest = Some(Arc::clone(&view));
        view
    }
}

impl View {
    /// What the process takes.
    pub(crate) fn process(&self) -> &Process {
        self.process.get_or_init(Process::now)
    }

    /// The newest `limit` clients as JSON, and a line feed: a part of one text, whoever asks for how many.
    pub(crate) fn clients(&self, limit: usize) -> Part {
        let Clients { text, ends } = self.clients.get_or_init(|| Clients::new(&self.snapshot));
        let end = ends.get(limit).or(ends.last()).copied().unwrap_or_default();
        Part { text: Arc::clone(text) as _, range: 0..end, tail: "]}\n", payload: None }
    }
}

/// The list of clients as JSON, without its end.
#[derive(Debug)]
struct Clients {
    text: Arc<String>,
    /// Where the list of so many clients ends, from none on.
    ends: Vec<usize>,
}

impl Clients {
    fn new(snapshot: &ConnectionsSnapshot) -> Self {
        let mut text = format!("{{\"total\":{},\"clients\":[", snapshot.total);
        let mut ends = vec![text.len()];
        for (number, record) in snapshot.newest.iter().enumerate() {
            text += if number == 0 { "" } else { "," };
            text += &to_json(&Client::from(record));
            ends.push(text.len());
        }
        Self { text: Arc::new(text), ends }
    }
}

#[derive(Debug, Serialize)]
struct Client {
    id: u64,
    peer: String,
    since_ms: u64,
    age_ms: u64,
    frames: u64,
    bytes: u64,
    skipped: u64,
    slow: bool,
}

impl From<&ClientRecord> for Client {
    fn from(record: &ClientRecord) -> Self {
        let ClientRecord { id, peer, since, frames, bytes, skipped, is_slow } = *record;
        let age_ms = millis(since.elapsed());
        let since_ms = now_ms().saturating_sub(age_ms);
        Self { id, peer: peer.to_string(), since_ms, age_ms, frames, bytes, skipped, slow: is_slow }
    }
}

#[derive(Debug, Serialize)]
struct Status<'a> {
    program: &'static str,
    pid: u32,
    now_ms: u64,
    started_ms: u64,
    uptime_ms: u64,
    stopping: bool,
    format: &'static str,
    interval_ms: u64,
    writable: bool,
    source: Option<SourceStatus<'a>>,
    map: Option<MapStatus<'a>>,
    connections: Connections,
    sent: Sent,
    http: OwnConnections,
    log: Option<LogStatus>,
}

#[derive(Debug, Serialize)]
struct SourceStatus<'a> {
    name: &'a str,
    up: bool,
    last_success_ms: Option<u64>,
    problem: Option<String>,
    down_since_ms: Option<u64>,
    errors: BTreeMap<&'static str, u64>,
}

impl<'a> From<&'a ShownSource> for SourceStatus<'a> {
    fn from(source: &'a ShownSource) -> Self {
        let state = source.health.state();
        Self {
            name: &source.name,
            up: state.up,
            last_success_ms: state.last_success.map(since_epoch),
            errors: Failure::ALL.into_iter().map(|kind| (kind.name(), state.failures(kind))).collect(),
            problem: state.problem,
            down_since_ms: state.down_since.map(since_epoch),
        }
    }
}

#[derive(Debug, Serialize)]
struct MapStatus<'a> {
    version: u64,
    age_ms: u64,
    entries: usize,
    bytes: usize,
    etag: &'a str,
}

#[derive(Debug, Serialize)]
struct Connections {
    active: u64,
    max: u64,
    slow: u64,
    served: u64,
    /// For whatever reason; the metrics tell them apart.
    refused: u64,
    timed_out: u64,
    failed_accepts: u64,
    failed_spawns: u64,
    panics: u64,
}

#[derive(Debug, Serialize)]
struct Sent {
    frames: u64,
    bytes: u64,
    skipped: u64,
}

#[derive(Debug, Serialize)]
struct OwnConnections {
    active: u64,
    max: u64,
    requests: u64,
}

#[derive(Debug, Serialize)]
struct LogStatus {
    dropped_lines: u64,
}

impl Http {
    /// The status as one JSON object on one line.
    pub(crate) fn status(&self, rendering: Option<&Rendering>) -> String {
        let (view, stats) = (self.view(), self.monitor.stats());
        let uptime_ms = millis(self.started.elapsed());
        let now_ms = now_ms();
        to_json(&Status {
            program: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            now_ms,
            started_ms: since_epoch(self.started_at),
            uptime_ms,
            stopping: self.stop.is_triggered(),
            format: self.feed.format().name(),
            interval_ms: millis(self.config.interval),
            writable: self.writer.is_some(),
            source: self.config.source.as_ref().map(SourceStatus::from),
            map: rendering.map(|rendering| MapStatus {
                version: rendering.version,
                age_ms: millis(rendering.age()),
                entries: rendering.map.len(),
                bytes: rendering.bytes,
                etag: &rendering.etag,
            }),
            connections: Connections {
                active: stats.active(),
                max: self.monitor.max_connections(),
                slow: view.snapshot.slow,
                served: stats.served(),
                refused: stats.rejections().map(|(_, count)| count).sum(),
                timed_out: stats.timed_out(),
                failed_accepts: stats.failed_accepts(),
                failed_spawns: stats.failed_spawns(),
                panics: stats.panics(),
            },
            sent: Sent { frames: view.snapshot.frames, bytes: view.snapshot.bytes, skipped: view.snapshot.skipped },
            http: OwnConnections {
                active: self.own.stats().active(),
                max: self.own.max_connections(),
                requests: self.requests(),
            },
            log: self
                .config
                .dropped_log_lines
                .as_ref()
                .map(|dropped| LogStatus { dropped_lines: dropped.load(Ordering::Relaxed) }),
        })
    }
}

/// What the event `map` of the page's stream has before the map's entries; behind them it has a brace.
pub(crate) fn map_event_head(rendering: &Rendering) -> String {
    let Rendering { version, bytes, .. } = rendering;
    // A validator has quotes of its own, and nothing else that JSON would escape.
    let (age_ms, etag) = (millis(rendering.age()), rendering.etag.trim_matches('"'));
    format!(r#"{{"version":{version},"age_ms":{age_ms},"bytes":{bytes},"etag":"\"{etag}\"","entries":"#)
}

/// The event `history`.
pub(crate) fn history_event(period: Duration, active: &[u64]) -> String {
    #[derive(Serialize)]
    struct History<'a> {
        period_ms: u64,
        active: &'a [u64],
    }
    to_json(&History { period_ms: millis(period), active })
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    // Numbers, texts and lists of them all have a form.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn now_ms() -> u64 {
    since_epoch(SystemTime::now())
}

fn since_epoch(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
