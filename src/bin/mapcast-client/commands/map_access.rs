//! Reads and changes of the map over HTTP.

use anyhow::{Context, anyhow};
use mapcast::{Format, Map};

use super::http::{HttpClient, Request, Response};

/// The map, and the ETag that names its version.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) map: Map,
    pub(super) etag: String,
}

/// What the server did with a change.
#[derive(Debug)]
pub(super) enum Written {
    /// The change is made. The server's summary: the version and the number of entries.
    Done(Summary),
    /// The map has changed since it was read: nothing is written.
    Conflict,
    /// The entry does not exist: nothing is written.
    NoEntry,
    /// The body is not what a map can contain: nothing is written. The server says why.
    Invalid(String),
}

/// The map after a change.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Summary {
    pub(super) version: u64,
    pub(super) entries: u64,
    /// False if the map already was so.
    pub(super) changed: bool,
}

/// Returns the map, with the text of every key.
pub(super) fn read_map(client: &HttpClient) -> anyhow::Result<Seen> {
    let response = get(client, "/map")?;
    let etag = response.etag.ok_or_else(|| anyhow!("the server sends no ETag: is it a mapcast server?"))?;
    let map = Format::Json.decode_map(&response.body).context("the server's map cannot be read")?;
    Ok(Seen { map, etag })
}

/// Returns the response to a GET that succeeds.
pub(super) fn get(client: &HttpClient, path: &str) -> anyhow::Result<Response> {
    let response = client.send(Request { method: "GET", path, if_match: None, body: None })?;
    Ok(client.accept(response)?)
}

/// Merges `patch` into the map (RFC 7396); with `etag` only into this version.
pub(super) fn patch(client: &HttpClient, patch: &Map, etag: Option<&str>) -> anyhow::Result<Written> {
    let body = Format::Json.encode_map(patch)?;
    write(client, Request { method: "PATCH", path: "/map", if_match: etag, body: Some(&body) })
}

/// Replaces the version `etag` of the map with `json`.
pub(super) fn replace(client: &HttpClient, json: &[u8], etag: &str) -> anyhow::Result<Written> {
    write(client, Request { method: "PUT", path: "/map", if_match: Some(etag), body: Some(json) })
}

/// Sends a change and returns its result.
///
/// # Errors
/// For any status that has no variant in [`Written`].
pub(super) fn write(client: &HttpClient, request: Request<'_>) -> anyhow::Result<Written> {
    let response = client.send(request)?;
    let is_entry = request.path != "/map";
    match response.code {
        412 => Ok(Written::Conflict),
        404 if is_entry => Ok(Written::NoEntry),
        400 => Ok(Written::Invalid(String::from_utf8_lossy(&response.body).trim_end().to_owned())),
        _ => {
            let response = client.accept(response)?;
            let summary = serde_json::from_slice(&response.body);
            Ok(Written::Done(summary.context("the change is made, but the server's response cannot be read")?))
        }
    }
}
