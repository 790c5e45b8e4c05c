//! The metrics, in the text format of Prometheus 0.0.4.
//!
//! Written without the crate `prometheus-client`: a collector needs the same line for each metric, and its histograms need
//! buckets that are not cumulated. Every value is read from another module's counter during the scrape. A peer controls no label.

use std::fmt::{self, Display, Write as _};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::rendering::Rendering;
use super::telemetry::Telemetry;
use crate::stats::health::Failure;
use crate::stats::histogram::Tally;

/// The text of the metrics that have been added.
#[derive(Debug, Default)]
struct Exposition(String);

impl Exposition {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.describe("gauge", name, help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.describe("counter", name, help);
        self.sample(name, "", value);
    }

    /// Adds a gauge whose one value has `label`.
    fn labelled_gauge(&mut self, name: &str, help: &str, (label, label_value): (&str, &str), value: u8) {
        self.describe("gauge", name, help);
        self.sample(name, &format!("{{{label}=\"{label_value}\"}}"), value);
    }

    /// Adds a counter for each value of `label`. All of them exist from the start: a query of an increase misses the first
    /// event of a series that begins with it.
    fn counters(&mut self, name: &str, help: &str, label: &str, values: impl Iterator<Item = (impl Display, u64)>) {
        self.describe("counter", name, help);
        for (label_value, value) in values {
            self.sample(name, &format!("{{{label}=\"{label_value}\"}}"), value);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, tally: &Tally) {
        self.describe("histogram", name, help);
        for (bound, cumulated) in &tally.cumulated {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
            self.sample(&format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), cumulated);
        }
        self.sample(&format!("{name}_sum"), "", tally.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), "", tally.count());
    }

    fn describe(&mut self, kind: &str, name: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        self.line(format_args!("{name}{labels} {value}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// Returns all metrics. `rendering` is the current map.
pub(super) fn metrics_text(telemetry: &Telemetry, rendering: Option<&Rendering>) -> String {
    let mut text = Exposition::default();
    add_connections(telemetry, &mut text);
    add_frames(telemetry, &mut text);
    add_map(telemetry, &mut text, rendering);
    add_source(telemetry, &mut text);
    add_http(telemetry, &mut text);
    add_process(telemetry, &mut text);
    text.0
}

fn add_connections(telemetry: &Telemetry, text: &mut Exposition) {
    let (stats, max) = (telemetry.monitor.stats(), telemetry.monitor.max_connections());
    text.gauge("mapcast_connections", "Connected clients.", stats.active());
    text.gauge("mapcast_connections_max", "Limit on connected clients.", max);
    text.counter("mapcast_connections_accepted_total", "Clients that the server has served.", stats.served());
    let help = "Clients that the server refused, by reason.";
    text.counters("mapcast_connections_rejected_total", help, "reason", stats.rejections());
    text.counters("mapcast_connections_closed_total", "Connections that ended, by reason.", "reason", stats.closed());
    let help = "Durations of ended connections.";
    text.histogram("mapcast_connection_duration_seconds", help, &stats.durations().tally());
    text.counters("mapcast_accept_errors_total", "Failures of accept(2), by errno.", "errno", stats.accept_errors());
    let help = "Clients that the server closed because the system refused a thread.";
    text.counter("mapcast_thread_spawn_failures_total", help, stats.failed_spawns());
    text.counter("mapcast_connection_panics_total", "Connections that a panic ended.", stats.panics());
}

fn add_frames(telemetry: &Telemetry, text: &mut Exposition) {
    let (snapshot, stats) = (telemetry.snapshot(), telemetry.monitor.stats());
    let sent = &snapshot.connections;
    let causes = [("connect", sent.firsts), ("interval", sent.repeats), ("change", sent.changes)];
    let help = "Frames that the server sent whole, by cause.";
    text.counters("mapcast_frames_sent_total", help, "cause", causes.into_iter());
    let mut writes = stats.waits().tally();
    // The histogram has the frames that waited for their client; one write sent each of the others.
    writes.add_instant(sent.prompt);
    let help = "Time from the first byte of a frame to its last byte; 0 if one write sent the whole frame.";
    text.histogram("mapcast_frame_write_seconds", help, &writes);
    let help = "Time from a change until the server had offered it to every client.";
    text.histogram("mapcast_fanout_seconds", help, &telemetry.feed.rounds().tally());
    let help = "Changes that a slow client skipped: it got a newer one.";
    text.counter("mapcast_frames_skipped_total", help, sent.skipped);
    text.counter("mapcast_sent_bytes_total", "Bytes sent to clients.", sent.bytes);
    let backlog = telemetry.feed.backlog();
    let help =
        "Bytes of maps that slow peers have not read yet, each map once, and of bodies that the server receives.";
    text.gauge("mapcast_backlog_bytes", help, backlog.bytes());
    text.gauge("mapcast_backlog_max_bytes", "Limit on mapcast_backlog_bytes.", backlog.limit());
    let help = "Connections, including HTTP, that the server cut because the backlog exceeded its limit.";
    text.counter("mapcast_backlog_evictions_total", help, backlog.evicted());
    let help = "Clients that have taken more than a second for a frame in flight.";
    text.gauge("mapcast_slow_clients", help, sent.slow);
    let help = "Clients that the server cut because they did not take a frame by its deadline.";
    text.counter("mapcast_write_timeouts_total", help, stats.timed_out());
}

fn add_map(telemetry: &Telemetry, text: &mut Exposition, rendering: Option<&Rendering>) {
    text.gauge("mapcast_map_revision", "Version of the map; 0 before the first map.", telemetry.feed.version());
    // Before the first map these are missing: 0 entries would be a map.
    if let Some(rendering) = rendering {
        let changed = SystemTime::now().checked_sub(rendering.age()).map_or(0.0, seconds);
        text.gauge("mapcast_map_entries", "Entries of the map.", rendering.map.len());
        text.gauge("mapcast_map_bytes", "Bytes of the encoded map, without the frame's header.", rendering.bytes);
        let help = "Time of the map's last change, in seconds since 1970.";
        text.gauge("mapcast_map_last_change_timestamp_seconds", help, changed);
    }
    let help = "Interval after which the server repeats the map.";
    text.gauge("mapcast_interval_seconds", help, telemetry.interval.as_secs_f64());
}

fn add_source(telemetry: &Telemetry, text: &mut Exposition) {
    let Some(source) = &telemetry.source else { return };
    let state = source.health.state();
    let help = "1 if the source's last data was a map, else 0.";
    text.labelled_gauge("mapcast_source_up", help, ("source", &label(&source.name)), u8::from(state.up));
    // Missing before the first map: 0 would be a success in 1970, and the age of the map half a century.
    if let Some(last) = state.last_success {
        let help = "Time of the source's last map, in seconds since 1970.";
        text.gauge("mapcast_source_last_success_timestamp_seconds", help, seconds(last));
    }
    let failures = Failure::ALL.into_iter().map(|kind| (kind.name(), state.failures(kind)));
    text.counters("mapcast_source_errors_total", "Failures of the source, by kind.", "kind", failures);
}

fn add_http(telemetry: &Telemetry, text: &mut Exposition) {
    let (stats, max) = (telemetry.own_monitor.stats(), telemetry.own_monitor.max_connections());
    text.gauge("mapcast_http_connections", "HTTP connections, including this one.", stats.active());
    text.gauge("mapcast_http_connections_max", "Limit on HTTP connections.", max);
    let help = "HTTP connections that the server refused, by reason.";
    text.counters("mapcast_http_connections_rejected_total", help, "reason", stats.rejections());
    let responses = telemetry.responses.by_code();
    text.counters("mapcast_http_requests_total", "HTTP responses, by status.", "code", responses);
}

fn add_process(telemetry: &Telemetry, text: &mut Exposition) {
    let version = ("version", env!("CARGO_PKG_VERSION"));
    text.labelled_gauge("mapcast_build_info", "Always 1; the label is the program's version.", version, 1);
    let started = seconds(telemetry.started_at);
    text.gauge("mapcast_start_time_seconds", "Start time of the server, in seconds since 1970.", started);
    if let Some(end) = telemetry.monitor.certificate_end() {
        let help = "Expiry time of the server's certificate, in seconds since 1970.";
        text.gauge("mapcast_tls_cert_not_after_timestamp_seconds", help, seconds(end));
    }
    if let Some(dropped) = &telemetry.dropped_log_lines {
        let help = "Log lines that are missing because standard error did not accept them.";
        text.counter("mapcast_log_lines_dropped_total", help, dropped.load(Ordering::Relaxed));
    }
    let threads = &telemetry.threads;
    let help = "Panics of the server's long-lived threads; the server restarted each thread.";
    text.counter("mapcast_thread_panics_total", help, threads.panics());
    let help = "Long-lived threads that are stuck, or that panicked and do not run again yet.";
    text.gauge("mapcast_threads_unhealthy", help, threads.problems().len());
    text.gauge("mapcast_draining", "1 while the server stops, else 0.", u8::from(telemetry.stop.is_triggered()));
    let snapshot = telemetry.snapshot();
    let process = snapshot.process();
    // These have the names and the units of Prometheus' own client libraries, so that common dashboards find them.
    text.gauge("process_start_time_seconds", "Start time of the process, in seconds since 1970.", started);
    // What the system does not report is left out: 0 would be a value.
    if let Some(cpu) = process.cpu {
        text.describe("counter", "process_cpu_seconds_total", "CPU time of the process in seconds, user and system.");
        text.sample("process_cpu_seconds_total", "", cpu.as_secs_f64());
    }
    let optional = [
        ("process_open_fds", "Open descriptors.", process.open_descriptors),
        ("process_max_fds", "Limit on open descriptors.", process.max_descriptors),
        ("process_resident_memory_bytes", "Resident memory in bytes.", process.resident_bytes),
        ("process_threads", "Threads.", process.threads),
    ];
    for (name, help, value) in optional {
        if let Some(value) = value {
            text.gauge(name, help, value);
        }
    }
}

/// Escapes `text` as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
