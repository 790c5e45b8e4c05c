//! `--check-config`: describes what the server would do, without doing it.

use mapcast::display::units::{format_duration, format_size};
use mapcast::source::Location;
use mapcast::state::StateFile;
use mapcast::threads::Threads;
use mapcast::{Backlog, ServerConfig, Shutdown};

use crate::args::{ServiceTask, Task};
use crate::followed_source::{LastMap, first_map};
use crate::http::page_url;
use crate::ports::Ports;

/// Checks everything except listening, writing and contacting a remote source. Returns a description, one line per
/// setting; of rarely changed settings only those that differ from the default. It is safe to run this next to a
/// server with the same state.
pub(crate) fn describe(task: Task) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let join = |ports: &Ports| ports.addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let listen = task.listen.iter().map(join).collect::<Vec<_>>().join(", ");
    let config = &task.config;
    match task.service {
        ServiceTask::Map(map) => {
            let interval = format_duration(map.interval);
            let last = map.state.as_ref().map(|state| StateFile::inspect(state, map.max_frame)).transpose()?.flatten();
            let (feed, _) = first_map(&map, LastMap::Read(last), &Threads::default(), &Shutdown::new()?)?;
            for ports in &task.listen {
                let (listen, format) = (join(ports), ports.format.unwrap_or(map.format));
                lines.push(format!("listen on {listen}: the map as {format} every {interval}"));
            }
            let name = map.source.as_ref().map_or_else(|| "no source".to_owned(), ToString::to_string);
            let len = feed.latest().map_or(0, |first| first.frame.payload().len());
            lines.push(match &map.source {
                None | Some(Location::Json(_) | Location::Toml(_)) => format!("the map: from {name}, {len} bytes now"),
                Some(_) if len > 0 => format!("the map: from {name}, not contacted; its last good map has {len} bytes"),
                Some(_) => format!("the map: from {name}, not contacted"),
            });
            if let Some(state) = &map.state {
                lines.push(format!("kept in {}", state.display().to_string().escape_debug()));
            }
            lines.push(format!("frames of at most {}", format_size(map.max_frame)));
            if map.max_backlog != Backlog::default_limit(map.max_frame) {
                lines.push(format!("at most {} of older maps for slow connections", format_size(map.max_backlog)));
            }
            if let Some(http) = map.http {
                let listen = http.listen.iter().map(|&addr| page_url(config, addr)).collect::<Vec<_>>().join(", ");
                let writing = if http.config.token.is_some() { "writable with the token" } else { "read-only" };
                lines.push(format!("web page on {listen}: {writing}, {} connections", http.max_connections));
                if !http.named.is_empty() {
                    lines.push(format!("web page also for {}", http.named.join(", ")));
                }
                if let Some(origin) = &http.config.allow_origin {
                    lines.push(format!("web page may be read by pages of {origin}"));
                }
            }
        }
        ServiceTask::Echo => lines.push(format!("listen on {listen}: an echo")),
        ServiceTask::Greet(text) => lines.push(format!("listen on {listen}: a greeting of {} bytes", text.len())),
    }
    let per_ip = config.max_connections_per_ip.map_or_else(String::new, |most| format!(", {most} per address"));
    lines.push(format!("at most {} clients{per_ip}", config.max_connections));
    if !config.allow.is_empty() {
        let networks = config.allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        lines.push(format!("only from {networks}"));
    }
    if config.keepalive != ServerConfig::default().keepalive {
        lines.push(format!("keepalive {}", config.keepalive.map_or_else(|| "off".to_owned(), format_duration)));
    }
    if config.reuse_port {
        lines.push("other servers of this user may listen there too".to_owned());
    }
    lines.push(if config.tls.is_some() { "with TLS" } else { "without TLS" }.to_owned());
    lines.push(format!("write timeout {}", format_duration(config.write_timeout)));
    lines.push(format!("drain timeout {}", format_duration(config.drain_timeout)));
    Ok(lines)
}
