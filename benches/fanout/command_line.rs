//! The command line of each server.

use std::net::SocketAddr;

use crate::kind::Kind;
use crate::peer::{mosquitto, nats, redis};
use crate::scenario::Scenario;
use crate::secure;

/// The measured program.
const MAPCAST: &str = env!("CARGO_BIN_EXE_mapcast-server");

/// Connections that a server must hold in addition to the clients.
const SPARE_CONNECTIONS: usize = 16;

/// Returns the program and the arguments of a server at `addr`; nothing for the floor, which is a role of the bench. `page` is the
/// address of its HTTP server, `upstream` that of the server that it follows.
pub fn command_line(
    kind: Kind,
    addr: SocketAddr,
    page: Option<SocketAddr>,
    upstream: Option<SocketAddr>,
    scenario: &Scenario,
) -> Vec<String> {
    let most = scenario.clients + SPARE_CONNECTIONS;
    let interval = format!("{}ms", scenario.interval.as_millis());
    let source = match (kind, upstream) {
        (Kind::Relay, Some(parent)) => format!("tcp://{parent}?format=json"),
        (Kind::Hash, Some(server)) => format!("redis://{server}/0?key={}", redis::HASH),
        _ => "-".to_owned(),
    };
    match kind {
        Kind::Floor => vec![],
        Kind::Mapcast | Kind::Relay | Kind::Hash => [
            MAPCAST,
            "-q",
            "--source",
            &source,
            "--format",
            "json",
            "--interval",
            &interval,
            "--listen",
            &addr.to_string(),
            "--max-connections",
            &most.to_string(),
        ]
        .into_iter()
        .map(str::to_owned)
        .chain(page.map(|page| format!("--http={page}")))
        .collect(),
        Kind::MapcastPlain | Kind::MapcastThread => {
            let mode = if kind == Kind::MapcastPlain { "--send=plain" } else { "--send=thread" };
            [command_line(Kind::Mapcast, addr, page, None, scenario), vec![mode.to_owned()]].concat()
        }
        Kind::MapcastTls => [command_line(Kind::Mapcast, addr, page, None, scenario), secure::arguments()].concat(),
        Kind::Redis => redis::command(addr, most),
        Kind::Nats => nats::command(addr),
        Kind::Mosquitto => mosquitto::command(),
    }
}
