//! The metrics: their values, and the checks of promtool.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use mapcast::Format;

use super::{Site, path};
use crate::support::program::{Program, SERVER, clean};
use crate::support::reader::Reader;
use crate::support::{eventually, free_port, has_command, skip};

/// Returns the value of a sample; `None` if it is missing.
fn value(metrics: &str, sample: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn the_metrics_have_the_right_values() {
    let site = Site::start(&["--interval", "60s", "--max-connections", "2"]);
    let mut readers: Vec<_> = (0..2).map(|_| Reader::connect(site.server.addr())).collect();
    for reader in &mut readers {
        reader.map(Format::Bincode);
    }
    drop(Reader::connect(site.server.addr()).end());
    drop(readers.pop());
    let mut metrics = String::new();
    eventually("one client, and the bytes of both", || {
        metrics = site.get("/metrics").body;
        value(&metrics, "mapcast_connections") == Some(1.0)
            && value(&metrics, "mapcast_sent_bytes_total") == Some(276.0)
    });
    for (sample, wanted) in [
        ("mapcast_connections_max", 2.0),
        ("mapcast_connections_accepted_total", 2.0),
        ("mapcast_connections_rejected_total{reason=\"limit\"}", 1.0),
        ("mapcast_connections_closed_total{reason=\"client_closed\"}", 1.0),
        ("mapcast_connection_duration_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("mapcast_connection_duration_seconds_count", 1.0),
        ("mapcast_frames_sent_total{cause=\"connect\"}", 2.0),
        ("mapcast_frames_sent_total{cause=\"change\"}", 0.0),
        ("mapcast_frames_sent_total{cause=\"interval\"}", 0.0),
        ("mapcast_frame_write_seconds_bucket{le=\"0.001\"}", 2.0),
        ("mapcast_frame_write_seconds_count", 2.0),
        ("mapcast_frame_write_seconds_sum", 0.0),
        ("mapcast_fanout_seconds_count", 0.0),
        ("mapcast_frames_skipped_total", 0.0),
        ("mapcast_sent_bytes_total", 276.0),
        ("mapcast_map_entries", 4.0),
        ("mapcast_map_bytes", 128.0),
        ("mapcast_map_revision", 1.0),
        ("mapcast_interval_seconds", 60.0),
        ("mapcast_draining", 0.0),
        ("mapcast_http_requests_total{code=\"404\"}", 0.0),
    ] {
        assert_eq!(value(&metrics, sample), Some(wanted), "{sample}\n{metrics}");
    }
    assert!(value(&metrics, "process_threads").is_some_and(|threads| threads > 3.0));
    site.get("/nothing");
    assert_eq!(value(&site.get("/metrics").body, "mapcast_http_requests_total{code=\"404\"}"), Some(1.0));
}

#[test]
fn frames_are_counted_by_cause_and_changes_by_duration() {
    const SUM: &str = "mapcast_fanout_seconds_sum";
    let mut site = Site::start(&["--source", "-", "--interval", "100ms"]);
    let mut stdin = site.server.stdin();
    writeln!(stdin, r#"{{"a":1}}"#).unwrap();
    let mut reader = Reader::connect(site.server.addr());
    let repeated = |site: &Site| value(&site.get("/metrics").body, "mapcast_frames_sent_total{cause=\"interval\"}");
    eventually("repeats", || {
        reader.map(Format::Bincode);
        repeated(&site) >= Some(2.0)
    });
    writeln!(stdin, r#"{{"a":2}}"#).unwrap();
    let mut metrics = String::new();
    eventually("the change", || {
        metrics = site.get("/metrics").body;
        let samples = ["mapcast_frames_sent_total{cause=\"change\"}", "mapcast_fanout_seconds_count"];
        samples.iter().all(|sample| value(&metrics, sample) == Some(1.0)) && value(&metrics, SUM) > Some(0.0)
    });
    assert_eq!(value(&metrics, "mapcast_frames_sent_total{cause=\"connect\"}"), Some(1.0));
    assert_eq!(value(&metrics, "mapcast_fanout_seconds_bucket{le=\"+Inf\"}"), Some(1.0));
    drop(reader);
}

#[test]
fn rejected_clients_are_counted_by_reason_and_in_total() {
    let site = Site::start(&["--max-connections-per-ip", "1"]);
    let mut reader = Reader::connect(site.server.addr());
    reader.map(Format::Bincode);
    drop(Reader::connect(site.server.addr()).end());
    let metrics = site.get("/metrics").body;
    assert_eq!(value(&metrics, "mapcast_connections_rejected_total{reason=\"per_ip\"}"), Some(1.0));
    assert_eq!(site.json("/status")["connections"]["refused"], 1);
}

#[test]
fn a_frame_that_waited_for_its_client_is_timed() {
    let mut map = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    write!(map, r#"{{"a":"{}"}}"#, "x".repeat(8 * 1024 * 1024)).unwrap();
    let limits = ["--max-frame", "16MiB", "--write-timeout", "10m", "--interval", "10m"];
    let site = Site::start(&[&["--source", path(&map)], &limits[..]].concat());
    let mut reader = Reader::connect(site.server.addr());
    // The frame is in flight until the client reads it.
    eventually("a frame in flight", || value(&site.get("/metrics").body, "mapcast_sent_bytes_total") > Some(0.0));
    let checked = Instant::now();
    assert_eq!(value(&site.get("/metrics").body, "mapcast_frame_write_seconds_count"), Some(0.0));
    let least = checked.elapsed().as_secs_f64();
    reader.map(Format::Bincode);
    let mut metrics = String::new();
    eventually("a counted frame with its time", || {
        metrics = site.get("/metrics").body;
        value(&metrics, "mapcast_frame_write_seconds_count") == Some(1.0)
            && value(&metrics, "mapcast_frame_write_seconds_sum") >= Some(least)
    });
    assert_eq!(value(&metrics, "mapcast_frame_write_seconds_bucket{le=\"0.001\"}"), Some(0.0));
}

#[test]
fn the_metrics_and_the_status_report_the_source() {
    // Connections to a free port are refused.
    let parent = format!("127.0.0.1:{}", free_port());
    let site = Site::start(&["--source", &format!("tcp://{parent}")]);
    let up = format!("mapcast_source_up{{source=\"tcp://{parent}\"}}");
    eventually("a source that is down", || site.json("/status")["source"]["errors"]["unreachable"] != 0);
    let source = &site.json("/status")["source"];
    assert_eq!((&source["up"], &source["last_success_ms"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(source["name"], format!("tcp://{parent}"));
    assert!(source["problem"].as_str().is_some_and(|problem| problem.contains("cannot connect")), "{source}");
    let metrics = site.get("/metrics").body;
    assert_eq!(value(&metrics, &up), Some(0.0));
    assert!(value(&metrics, "mapcast_source_errors_total{kind=\"unreachable\"}").is_some_and(|count| count > 0.0));
    assert_eq!(value(&metrics, "mapcast_source_errors_total{kind=\"denied\"}"), Some(0.0));
    assert!(!metrics.contains("mapcast_source_last_success"), "{metrics}");

    let mut command = clean(SERVER);
    command.args(["--listen", &parent]);
    let _root = Program::start(command);
    eventually("a source that is up", || site.json("/status")["source"]["up"] == true);
    let source = &site.json("/status")["source"];
    assert!(source["problem"].is_null() && source["last_success_ms"].as_u64().is_some_and(|ms| ms > 0), "{source}");
    let metrics = site.get("/metrics").body;
    assert_eq!(value(&metrics, &up), Some(1.0));
    assert!(value(&metrics, "mapcast_source_last_success_timestamp_seconds").is_some_and(|at| at > 1e9));
    assert!(Site::start(&[]).json("/status")["source"].is_null());
}

#[test]
fn every_metric_has_one_help_line() {
    let site = Site::start(&["--source", "-"]);
    let metrics = site.get("/metrics").body;
    let described: Vec<_> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for name in &described {
        assert_eq!(metrics.matches(&format!("# HELP {name} ")).count(), 1, "{name}");
        assert!(name.starts_with("mapcast_") || name.starts_with("process_"), "{name}");
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(described.contains(&family) || described.contains(&name), "{line}");
    }
}

#[test]
fn promtool_accepts_the_metrics() {
    if !has_command("promtool") {
        return skip("no promtool (Debian's package prometheus)");
    }
    let site = Site::start(&["--source", "-"]);
    let metrics = site.get("/metrics").body;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool.stdin.take().expect("a pipe").write_all(metrics.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{metrics}", String::from_utf8_lossy(&said));
}

/// Returns the names of metrics in `text`.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    // Not the names of packages: `mapcast_*.deb`.
    words
        .filter(|word| word.starts_with("mapcast_") || word.starts_with("process_"))
        .filter(|word| !word.ends_with('_'))
        .collect()
}

#[test]
fn the_docs_and_the_dashboard_name_existing_metrics() {
    let source = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(source.path(), "{}").unwrap();
    let site = Site::start(&["--source", path(&source)]);
    let metrics = site.get("/metrics").body;
    let mut there = named(&metrics);
    // Only with TLS.
    there.insert("mapcast_tls_cert_not_after_timestamp_seconds");
    let docs = |name: &str| std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for page in ["http.md", "server.md", "deployment.md", "recipes.md", "grafana.json"] {
        let text = docs(page);
        let missing: Vec<_> = named(&text).into_iter().filter(|name| !there.contains(name)).collect();
        assert!(missing.is_empty(), "docs/{page}: {missing:?}");
    }
    let page = docs("http.md");
    let families = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let untold: Vec<_> = families.filter(|name| !named(&page).contains(name)).collect();
    assert!(untold.is_empty(), "docs/http.md: {untold:?}");
    let dashboard: serde_json::Value = serde_json::from_str(&docs("grafana.json")).unwrap();
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}

#[test]
fn promtool_accepts_the_alerts() {
    if !has_command("promtool") {
        return skip("no promtool (Debian's package prometheus)");
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/server.md")).unwrap();
    let rules = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("rules");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    let output = Command::new("promtool").args(["check", "rules"]).arg(file.path()).output().expect("promtool");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}
