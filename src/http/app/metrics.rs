//! The metrics, in the text format of Prometheus 0.0.4.
//!
//! Written without the crate `prometheus-client`: a collector needs the same line for each metric, and its histograms need
//! buckets that are not cumulated. Every value is read from another module's counter during the scrape. A peer controls no label.

use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::rendering::Rendering;
use super::telemetry::Telemetry;
use crate::stats::health::Failure;
use crate::stats::histogram::Tally;

/// The text of the metrics that have been added.
#[derive(Debug, Default)]
struct Exposition(String);

/// The type of a metric.
#[derive(Clone, Copy)]
enum Type {
    Counter,
    Gauge,
    Histogram,
}

impl Exposition {
    /// Adds a metric with one value and without labels.
    fn add(&mut self, kind: Type, name: &str, help: &str, value: impl Display) {
        self.describe(kind, name, help);
        self.sample(name, "", value);
    }

    /// Adds a metric with one value for each value of `label`.
    fn add_each<V: Display>(
        &mut self,
        (kind, name, help): (Type, &str, &str),
        label: &str,
        values: impl Iterator<Item = (impl Display, V)>,
    ) {
        self.describe(kind, name, help);
        for (label_value, value) in values {
            self.sample(name, &format!("{{{label}=\"{label_value}\"}}"), value);
        }
    }

    fn add_histogram(&mut self, name: &str, help: &str, tally: &Tally) {
        self.describe(Type::Histogram, name, help);
        for (bound, cumulated) in &tally.cumulated {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
            self.sample(&format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), cumulated);
        }
        self.sample(&format!("{name}_sum"), "", tally.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), "", tally.count());
    }

    fn describe(&mut self, kind: Type, name: &str, help: &str) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        self.line(format_args!("{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
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
    use Type::{Counter, Gauge};
    let stats = telemetry.monitor.stats();
    text.add(Gauge, "mapcast_connections", "Clients connected.", stats.active());
    text.add(Gauge, "mapcast_connections_max", "The most clients at once.", telemetry.monitor.max_connections());
    text.add(Counter, "mapcast_connections_accepted_total", "Clients that were served.", stats.served());
    let rejected = (Counter, "mapcast_connections_rejected_total", "Clients that were refused, by why.");
    text.add_each(rejected, "reason", stats.rejections());
    let closed = (Counter, "mapcast_connections_closed_total", "Connections that have ended, by how.");
    text.add_each(closed, "reason", stats.closed());
    text.add_histogram(
        "mapcast_connection_duration_seconds",
        "How long connections that have ended lasted.",
        &stats.durations().tally(),
    );
    let errors = (Counter, "mapcast_accept_errors_total", "Failures to accept a client, by errno.");
    text.add_each(errors, "errno", stats.accept_errors());
    text.add(
        Counter,
        "mapcast_thread_spawn_failures_total",
        "Clients closed because the system gave no thread.",
        stats.failed_spawns(),
    );
    text.add(Counter, "mapcast_connection_panics_total", "Connections ended by a panic.", stats.panics());
}

fn add_frames(telemetry: &Telemetry, text: &mut Exposition) {
    use Type::{Counter, Gauge};
    let snapshot = telemetry.snapshot();
    let causes = [
        ("connect", snapshot.connections.firsts),
        ("interval", snapshot.connections.repeats),
        ("change", snapshot.connections.changes),
    ];
    let sent = (Counter, "mapcast_frames_sent_total", "Frames sent whole, by why.");
    text.add_each(sent, "cause", causes.into_iter());
    let mut writes = telemetry.monitor.stats().waits().tally();
    writes.add_instant(snapshot.connections.prompt);
    text.add_histogram(
        "mapcast_frame_write_seconds",
        "How long frames took from their begin to their end; 0 for those that went whole at once.",
        &writes,
    );
    text.add_histogram(
        "mapcast_fanout_seconds",
        "How long changes took until they had been offered to every client.",
        &telemetry.feed.rounds().tally(),
    );
    text.add(
        Counter,
        "mapcast_frames_skipped_total",
        "Changes that a client did not get because it was slow and got a newer one.",
        snapshot.connections.skipped,
    );
    text.add(Counter, "mapcast_sent_bytes_total", "Bytes sent to clients.", snapshot.connections.bytes);
    let backlog = telemetry.feed.backlog();
    text.add(
        Gauge,
        "mapcast_backlog_bytes",
        "Bytes of maps that slow peers have not taken yet, each once, and of bodies that are being received.",
        backlog.bytes(),
    );
    text.add(Gauge, "mapcast_backlog_max_bytes", "The most of them at once.", backlog.limit());
    text.add(
        Counter,
        "mapcast_backlog_evictions_total",
        "Connections, HTTP's too, cut because slow peers held more than that.",
        backlog.evicted(),
    );
    text.add(
        Gauge,
        "mapcast_slow_clients",
        "Clients with a frame under way for over a second.",
        snapshot.connections.slow,
    );
    text.add(
        Counter,
        "mapcast_write_timeouts_total",
        "Clients cut because they did not take a frame by its deadline.",
        telemetry.monitor.stats().timed_out(),
    );
}

fn add_map(telemetry: &Telemetry, text: &mut Exposition, rendering: Option<&Rendering>) {
    use Type::Gauge;
    text.add(Gauge, "mapcast_map_revision", "The map's version; 0 before the first.", telemetry.feed.version());
    if let Some(rendering) = rendering {
        let changed = SystemTime::now().checked_sub(rendering.age());
        text.add(Gauge, "mapcast_map_entries", "Entries of the map.", rendering.map.len());
        text.add(Gauge, "mapcast_map_bytes", "Bytes of the map as it is sent, without its header.", rendering.bytes);
        text.add(
            Gauge,
            "mapcast_map_last_change_timestamp_seconds",
            "When the map changed, in seconds since 1970.",
            changed.map_or(0.0, seconds),
        );
    }
    let interval = telemetry.interval.as_secs_f64();
    text.add(Gauge, "mapcast_interval_seconds", "How often the map is repeated at least.", interval);
}

fn add_source(telemetry: &Telemetry, text: &mut Exposition) {
    use Type::{Counter, Gauge};
    let Some(source) = &telemetry.source else { return };
    let state = source.health.state();
    let up = (Gauge, "mapcast_source_up", "1 if the last from the source is a map, else 0.");
    text.add_each(up, "source", [(label(&source.name), u8::from(state.up))].into_iter());
    if let Some(last) = state.last_success {
        text.add(
            Gauge,
            "mapcast_source_last_success_timestamp_seconds",
            "When the source last gave a map, in seconds since 1970.",
            seconds(last),
        );
    }
    let errors = (Counter, "mapcast_source_errors_total", "Failures of the source, by kind.");
    text.add_each(errors, "kind", Failure::ALL.into_iter().map(|kind| (kind.name(), state.failures(kind))));
}

fn add_http(telemetry: &Telemetry, text: &mut Exposition) {
    use Type::{Counter, Gauge};
    let stats = telemetry.own_monitor.stats();
    text.add(Gauge, "mapcast_http_connections", "HTTP connections, this one among them.", stats.active());
    text.add(
        Gauge,
        "mapcast_http_connections_max",
        "The most of them at once.",
        telemetry.own_monitor.max_connections(),
    );
    let rejected = (Counter, "mapcast_http_connections_rejected_total", "Those that were refused, by why.");
    text.add_each(rejected, "reason", stats.rejections());
    let requests = (Counter, "mapcast_http_requests_total", "HTTP requests answered, by status.");
    text.add_each(requests, "code", telemetry.responses.by_code());
}

fn add_process(telemetry: &Telemetry, text: &mut Exposition) {
    use Type::{Counter, Gauge};
    let build = (Gauge, "mapcast_build_info", "Always 1; the label says which program it is.");
    text.add_each(build, "version", [(env!("CARGO_PKG_VERSION"), 1)].into_iter());
    let started = seconds(telemetry.started_at);
    text.add(Gauge, "mapcast_start_time_seconds", "When the server began, in seconds since 1970.", started);
    if let Some(end) = telemetry.monitor.certificate_end() {
        let help = "When the certificate that clients are shown runs out, in seconds since 1970.";
        text.add(Gauge, "mapcast_tls_cert_not_after_timestamp_seconds", help, seconds(end));
    }
    if let Some(dropped) = &telemetry.dropped_log_lines {
        let help = "Lines missing from the log because standard error did not accept them.";
        text.add(Counter, "mapcast_log_lines_dropped_total", help, dropped.load(Ordering::Relaxed));
    }
    let threads = &telemetry.threads;
    let panics = "Panics of the server's long-lived threads, each of which was restarted.";
    text.add(Counter, "mapcast_thread_panics_total", panics, threads.panics());
    let stuck = "Long-lived threads that are stuck, or have panicked and are not back.";
    text.add(Gauge, "mapcast_threads_unhealthy", stuck, threads.problems().len());
    text.add(Gauge, "mapcast_draining", "1 while the server stops, 0 before.", u8::from(telemetry.stop.is_triggered()));
    let snapshot = telemetry.snapshot();
    let process = snapshot.process();
    text.add(Gauge, "process_start_time_seconds", "When the process began, in seconds since 1970.", started);
    text.add(Counter, "process_cpu_seconds_total", "CPU time, user and system.", process.cpu.as_secs_f64());
    let optional = [
        ("process_open_fds", "Descriptors that are open.", process.open_descriptors),
        ("process_max_fds", "Descriptors that may be open.", process.max_descriptors),
        ("process_resident_memory_bytes", "Resident memory.", process.resident_bytes),
        ("process_threads", "Threads.", process.threads),
    ];
    for (name, help, value) in optional {
        if let Some(value) = value {
            text.add(Gauge, name, help, value);
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
