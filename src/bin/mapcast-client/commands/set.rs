//! `set`: changes entries over HTTP, all in one change.

use anyhow::bail;
use mapcast::{Map, Value};

use super::entry::Entry;
use super::http::HttpClient;
use super::map_access::{Summary, Written, patch, read_map, replace};
use crate::exit::UsageError;
use crate::hidden::show_key;

/// How often a change is repeated that another writer prevents each time.
pub(super) const MAX_ATTEMPTS: usize = 20;

/// Sets every entry in one change. Other entries keep what other writers give them.
pub(super) fn set(client: &HttpClient, entries: Vec<Entry>) -> anyhow::Result<Summary> {
    let mut wanted = Map::new();
    for Entry { key, value, note } in entries {
        if let Some(note) = note {
            log::warn!("{note}");
        }
        if wanted.insert(key.clone(), value).is_some() {
            bail!(UsageError(format!("{} is given twice; set it once", show_key(&key))));
        }
    }
    if wanted.values().all(is_exact_in_a_patch) {
        return done(patch(client, &wanted, None)?);
    }
    for _ in 0..MAX_ATTEMPTS {
        let mut seen = read_map(client)?;
        seen.map.extend(wanted.clone());
        let json = mapcast::Format::Json.encode_map(&seen.map)?;
        match replace(client, &json, &seen.etag)? {
            Written::Conflict => {}
            written => return done(written),
        }
    }
    bail!("other writers change the map too often: {MAX_ATTEMPTS} attempts met a newer one; try again")
}

/// True if and only if a patch (RFC 7396) sets exactly this value: it removes a null, and merges an object.
fn is_exact_in_a_patch(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Map(_))
}

/// Returns the summary of a change that was made.
pub(super) fn done(written: Written) -> anyhow::Result<Summary> {
    match written {
        Written::Done(summary) => Ok(summary),
        Written::Invalid(why) => bail!("400: {why}"),
        Written::Conflict | Written::NoEntry => bail!("the map has changed meanwhile; nothing is written: try again"),
    }
}
