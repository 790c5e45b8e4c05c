//! What to try next, for a server that was started without options on a terminal.

use std::net::SocketAddr;

use mapcast::Format;
use mapcast::http::MapPort;

/// Returns one line each for the client, the page and a program in another language, as far as they are served, and the system
/// has the program: Windows has no nc. Without options there is no TLS, and only JSON is readable.
pub(crate) fn lines(ports: &[MapPort], page: Option<SocketAddr>) -> Vec<String> {
    let client = ports.first().map(|port| (format!("mapcast-client {}", port.addr), "prints each map, also repeats"));
    let page = page.map(|addr| (format!("http://{addr}/"), "shows it in a browser"));
    let is_readable = |port: &&MapPort| port.format == Format::Json.name() && !port.tls && !cfg!(windows);
    let json = ports.iter().find(is_readable);
    let json =
        json.map(|port| (format!("nc {} {}", port.addr.ip(), port.addr.port()), "prints it as JSON, for any language"));
    let tries: Vec<_> = [client, page, json].into_iter().flatten().collect();
    let width = tries.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    tries.into_iter().map(|(what, why)| format!("try {what:width$}  {why}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(windows))]
    #[test]
    fn only_what_is_served_is_suggested() {
        let port =
            |port, format: Format| MapPort { addr: ([127, 0, 0, 1], port).into(), format: format.name(), tls: false };
        let ports = [port(8080, Format::Bincode), port(8082, Format::Json)];
        assert_eq!(
            lines(&ports, Some(([127, 0, 0, 1], 8081).into())),
            [
                "try mapcast-client 127.0.0.1:8080  prints each map, also repeats",
                "try http://127.0.0.1:8081/         shows it in a browser",
                "try nc 127.0.0.1 8082              prints it as JSON, for any language",
            ]
        );
        assert_eq!(lines(&ports[..1], None), ["try mapcast-client 127.0.0.1:8080  prints each map, also repeats"]);
        let encrypted = MapPort { tls: true, ..port(8082, Format::Json) };
        assert!(!lines(&[encrypted, port(8080, Format::Text)], None).concat().contains("nc "));
    }
}
