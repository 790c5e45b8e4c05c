//! `clients`: lists the server's clients.

use std::time::Duration;

use anyhow::Context;
use mapcast::display::units;
use serde::Deserialize;

use super::http::HttpClient;
use super::map_access::get;
use super::table::{Align, table};
use crate::hidden;

/// The response of `/clients`.
#[derive(Debug, Deserialize)]
struct Clients {
    total: u64,
    clients: Vec<ListedClient>,
}

#[derive(Debug, Deserialize)]
struct ListedClient {
    id: u64,
    peer: String,
    age_ms: u64,
    frames: u64,
    bytes: u64,
    skipped: u64,
    slow: bool,
}

/// The table, and how many clients it lacks.
#[derive(Debug)]
pub(super) struct ClientTable {
    pub(super) text: String,
    pub(super) left_out: u64,
}

/// Returns the response of `/clients` as it is, with the newest `limit` clients.
pub(super) fn clients_json(client: &HttpClient, limit: u64) -> anyhow::Result<Vec<u8>> {
    Ok(get(client, &format!("/clients?limit={limit}"))?.body)
}

/// Returns the newest `limit` clients as a table with a head.
pub(super) fn clients_table(client: &HttpClient, limit: u64) -> anyhow::Result<ClientTable> {
    let json = clients_json(client, limit)?;
    let clients = serde_json::from_slice(&json).context("the server's list of clients cannot be read")?;
    Ok(draw(&clients))
}

fn draw(clients: &Clients) -> ClientTable {
    const COLUMNS: [(&str, Align); 7] = [
        ("ID", Align::Right),
        ("PEER", Align::Left),
        ("CONNECTED", Align::Right),
        ("FRAMES", Align::Right),
        ("BYTES", Align::Right),
        ("SKIPPED", Align::Right),
        ("SLOW", Align::Left),
    ];
    let head = COLUMNS.map(|(name, _)| name.to_owned()).to_vec();
    let row = |client: &ListedClient| {
        // Whole seconds are enough for a connection.
        let age = units::format_duration(Duration::from_secs(client.age_ms / 1000));
        let slow = if client.slow { "yes" } else { "no" };
        let numbers = [client.frames, client.bytes, client.skipped].map(|number| number.to_string());
        [&[client.id.to_string(), hidden::show(&client.peer), age][..], &numbers, &[slow.to_owned()]].concat()
    };
    let rows: Vec<_> = [head].into_iter().chain(clients.clients.iter().map(row)).collect();
    let listed = u64::try_from(clients.clients.len()).unwrap_or(u64::MAX);
    ClientTable { text: table(&COLUMNS.map(|(_, align)| align), &rows), left_out: clients.total.saturating_sub(listed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_a_row_and_missing_ones_are_counted() {
        let json = r#"{"total":3,"clients":[{"id":12,"peer":"127.0.0.1:41234","since_ms":1,"age_ms":61999,"frames":2,
                      "bytes":276,"skipped":0,"slow":true}]}"#;
        let ClientTable { text, left_out } = draw(&serde_json::from_str(json).unwrap());
        let wanted = "ID  PEER             CONNECTED  FRAMES  BYTES  SKIPPED  SLOW\n\
                      12  127.0.0.1:41234      1m 1s       2    276        0  yes\n";
        assert_eq!((text.as_str(), left_out), (wanted, 2));
    }
}
