//! The status of the server, as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::config::{ShownPort, ShownSource};
use super::rendering::Rendering;
use super::telemetry::Telemetry;
use super::unix_time::{millis, now_ms, since_epoch};
use crate::http::protocol::response::to_json;
use crate::stats::health::Failure;

#[derive(Debug, Serialize)]
struct Status<'a> {
    program: &'static str,
    pid: u32,
    now_ms: u64,
    started_ms: u64,
    uptime_ms: u64,
    stopping: bool,
    format: &'static str,
    ports: Vec<PortStatus>,
    interval_ms: u64,
    writable: bool,
    source: Option<SourceStatus<'a>>,
    map: Option<MapStatus<'a>>,
    connections: ConnectionTotals,
    sent: SentTotals,
    http: HttpTotals,
    log: Option<LogStatus>,
}

#[derive(Debug, Serialize)]
struct PortStatus {
    address: SocketAddr,
    format: &'static str,
}

impl From<&ShownPort> for PortStatus {
    fn from(port: &ShownPort) -> Self {
        Self { address: port.addr, format: port.format.name() }
    }
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
struct ConnectionTotals {
    active: u64,
    max: u64,
    slow: u64,
    served: u64,
    /// For any reason; the metrics distinguish the reasons.
    refused: u64,
    timed_out: u64,
    failed_accepts: u64,
    failed_spawns: u64,
    panics: u64,
}

#[derive(Debug, Serialize)]
struct SentTotals {
    frames: u64,
    bytes: u64,
    skipped: u64,
}

#[derive(Debug, Serialize)]
struct HttpTotals {
    active: u64,
    max: u64,
    requests: u64,
}

#[derive(Debug, Serialize)]
struct LogStatus {
    dropped_lines: u64,
}

/// Returns the status as one JSON object on one line. `rendering` is the current map.
pub(super) fn status_json(telemetry: &Telemetry, rendering: Option<&Rendering>) -> String {
    let (snapshot, stats) = (telemetry.snapshot(), telemetry.monitor.stats());
    let connections = &snapshot.connections;
    let uptime_ms = millis(telemetry.started.elapsed());
    let now_ms = now_ms();
    to_json(&Status {
        program: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        now_ms,
        started_ms: since_epoch(telemetry.started_at),
        uptime_ms,
        stopping: telemetry.stop.is_triggered(),
        format: telemetry.feed.format().name(),
        ports: telemetry.ports.iter().map(PortStatus::from).collect(),
        interval_ms: millis(telemetry.interval),
        writable: telemetry.is_writable,
        source: telemetry.source.as_ref().map(SourceStatus::from),
        map: rendering.map(|rendering| MapStatus {
            version: rendering.version,
            age_ms: millis(rendering.age()),
            entries: rendering.map.len(),
            bytes: rendering.bytes,
            etag: &rendering.etag,
        }),
        connections: ConnectionTotals {
            active: stats.active(),
            max: telemetry.monitor.max_connections(),
            slow: connections.slow,
            served: stats.served(),
            refused: stats.rejections().map(|(_, count)| count).sum(),
            timed_out: stats.timed_out(),
            failed_accepts: stats.failed_accepts(),
            failed_spawns: stats.failed_spawns(),
            panics: stats.panics(),
        },
        sent: SentTotals { frames: connections.frames, bytes: connections.bytes, skipped: connections.skipped },
        http: HttpTotals {
            active: telemetry.own_monitor.stats().active(),
            max: telemetry.own_monitor.max_connections(),
            requests: telemetry.responses.total(),
        },
        log: telemetry
            .dropped_log_lines
            .as_ref()
            .map(|dropped| LogStatus { dropped_lines: dropped.load(Ordering::Relaxed) }),
    })
}

/// Returns the start of the data of the page's event `map`. The map's entries and a closing brace follow it.
pub(super) fn map_event_start(rendering: &Rendering) -> String {
    let Rendering { version, bytes, .. } = rendering;
    // An ETag contains its own quotes, and nothing else that JSON escapes.
    let (age_ms, etag) = (millis(rendering.age()), rendering.etag.trim_matches('"'));
    format!(r#"{{"version":{version},"age_ms":{age_ms},"bytes":{bytes},"etag":"\"{etag}\"","entries":"#)
}

/// Returns the data of the page's event `history`: the number of clients, one count every `period`.
pub(super) fn history_json(period: Duration, active: &[u64]) -> String {
    #[derive(Serialize)]
    struct History<'a> {
        period_ms: u64,
        active: &'a [u64],
    }
    to_json(&History { period_ms: millis(period), active })
}
