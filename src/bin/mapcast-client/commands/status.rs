//! `status`: prints the server's status.

use std::time::Duration;

use anyhow::Context;
use mapcast::display::units;
use serde_json::Value;

use super::http::HttpClient;
use super::map_access::get;
use super::table::{Align, table};
use crate::hidden;

/// Returns the response of `/status` as it is.
pub(super) fn status_json(client: &HttpClient) -> anyhow::Result<Vec<u8>> {
    Ok(get(client, "/status")?.body)
}

/// Returns the status as a table of names and values.
pub(super) fn status_table(client: &HttpClient) -> anyhow::Result<String> {
    let status = serde_json::from_slice(&status_json(client)?).context("the server's status cannot be read")?;
    let rows: Vec<_> = rows(&status).into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    Ok(table(&[Align::Left, Align::Left], &rows))
}

/// Returns the lines of the table. A value that the server does not send is a dash.
fn rows(status: &Value) -> Vec<(&'static str, String)> {
    let of = |path: &str| Field(status.pointer(path));
    let mut rows = vec![
        ("server", format!("mapcast {}, pid {}, up {}", of("/program"), of("/pid"), of("/uptime_ms").duration())),
        ("map", describe_map(status)),
        ("format", format!("{}, every {}", of("/format"), of("/interval_ms").duration())),
        ("source", describe_source(status)),
    ];
    rows.push((
        "clients",
        format!(
            "{} of {}, {} slow, {} served, {} refused",
            of("/connections/active"),
            of("/connections/max"),
            of("/connections/slow"),
            of("/connections/served"),
            of("/connections/refused")
        ),
    ));
    rows.push((
        "sent",
        format!("{} frames, {} bytes, {} skipped", of("/sent/frames"), of("/sent/bytes"), of("/sent/skipped")),
    ));
    rows.push(("http", format!("{} of {}, {} requests", of("/http/active"), of("/http/max"), of("/http/requests"))));
    let faults = [
        ("/connections/timed_out", "write timeouts"),
        ("/connections/failed_accepts", "failed accepts"),
        ("/connections/failed_spawns", "failed thread starts"),
        ("/connections/panics", "panics"),
        ("/log/dropped_lines", "dropped log lines"),
    ];
    let faults = faults.into_iter().filter(|(path, _)| status.pointer(path).and_then(Value::as_u64) > Some(0));
    let faults: Vec<_> = faults.map(|(path, name)| format!("{} {name}", of(path))).collect();
    if !faults.is_empty() {
        rows.push(("faults", faults.join(", ")));
    }
    if status["stopping"] == true {
        rows.push(("stopping", "yes".to_owned()));
    }
    rows
}

fn describe_map(status: &Value) -> String {
    if status["map"].is_null() {
        return "none yet".to_owned();
    }
    let of = |path: &str| Field(status.pointer(path));
    let (version, entries, bytes) = (of("/map/version"), of("/map/entries"), of("/map/bytes"));
    format!("version {version}, {entries} entries, {bytes} bytes, changed {} ago", of("/map/age_ms").duration())
}

fn describe_source(status: &Value) -> String {
    if status["source"].is_null() {
        let changes = if status["writable"] == true { "changes over HTTP with a token" } else { "fixed" };
        return format!("none: {changes}");
    }
    let of = |path: &str| Field(status.pointer(path));
    let ago = |path: &str| {
        let since = status.pointer(path).and_then(Value::as_u64);
        let now = status["now_ms"].as_u64();
        let ago = since.zip(now).map(|(since, now)| Value::from(now.saturating_sub(since)));
        Field(ago.as_ref()).duration()
    };
    if status["source"]["up"] == true {
        return format!("{}: up, last map {} ago", of("/source/name"), ago("/source/last_success_ms"));
    }
    format!("{}: down for {}: {}", of("/source/name"), ago("/source/down_since_ms"), of("/source/problem"))
}

/// A part of a response, safe to print.
struct Field<'v>(Option<&'v Value>);

impl Field<'_> {
    /// Returns milliseconds as a duration, in seconds from 10 s on.
    fn duration(&self) -> String {
        let Some(millis) = self.0.and_then(Value::as_u64) else { return "-".to_owned() };
        let millis = if millis < 10_000 { millis } else { millis / 1000 * 1000 };
        units::format_duration(Duration::from_millis(millis))
    }
}

impl std::fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None | Some(Value::Null) => f.write_str("-"),
            Some(Value::String(text)) => f.write_str(&hidden::show(text)),
            Some(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str, name: &str) -> Option<String> {
        let status: Value = serde_json::from_str(json).unwrap();
        rows(&status).into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    #[test]
    fn missing_values_are_dashes() {
        assert_eq!(row("{}", "server").unwrap(), "mapcast -, pid -, up -");
        assert_eq!(row("{}", "map").unwrap(), "none yet");
        assert_eq!(row("{}", "faults"), None);
    }

    #[test]
    fn a_source_is_up_or_down_with_its_problem() {
        let up = r#"{"now_ms":5000,"source":{"name":"f.json","up":true,"last_success_ms":3000}}"#;
        assert_eq!(row(up, "source").unwrap(), "f.json: up, last map 2s ago");
        let down = r#"{"now_ms":65500,"source":{"name":"f","up":false,"down_since_ms":1000,"problem":"\u001b[2J"}}"#;
        assert_eq!(row(down, "source").unwrap(), "f: down for 1m 4s: \"\\u001b[2J\"");
        assert_eq!(
            row(r#"{"source":null,"writable":true}"#, "source").unwrap(),
            "none: changes over HTTP with a token"
        );
    }

    #[test]
    fn faults_are_named_only_if_there_are_any() {
        let json = r#"{"connections":{"timed_out":2,"panics":0},"log":{"dropped_lines":3}}"#;
        assert_eq!(row(json, "faults").unwrap(), "2 write timeouts, 3 dropped log lines");
    }
}
