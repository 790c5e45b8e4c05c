//! `del`: removes entries over HTTP, all in one change.

use anyhow::bail;
use mapcast::{Key, Map, Value};

use super::http::HttpClient;
use super::map_access::{Summary, Written, patch, read_map};
use super::set::{MAX_ATTEMPTS, done};
use crate::address::warn_of_address;
use crate::exit::Exit;
use crate::hidden::show_key;
use crate::selection::MissingKey;

/// Removes every entry in one change.
///
/// # Errors
/// [`MissingKey`] if the map lacks one of them; then none is removed.
pub(super) fn del(client: &HttpClient, keys: &[String]) -> anyhow::Result<Summary> {
    del_existing(client, keys).inspect_err(|error| {
        if matches!(Exit::of(error), Exit::NotConnected | Exit::KeyMissing) {
            for key in keys {
                warn_of_address(key, "--http");
            }
            if let Some(entry) = keys.iter().find(|key| key.contains('=')) {
                log::warn!("{} is taken for a key; del has keys without values", show_key(&Key::from(entry.as_str())));
            }
        }
    })
}

fn del_existing(client: &HttpClient, keys: &[String]) -> anyhow::Result<Summary> {
    let nulls: Map = keys.iter().map(|key| (Key::from(key.as_str()), Value::Null)).collect();
    for _ in 0..MAX_ATTEMPTS {
        let seen = read_map(client)?;
        if let Some(missing) = nulls.keys().find(|key| !seen.map.contains_key(key)) {
            return Err(MissingKey::new(&missing.to_string()).into());
        }
        match patch(client, &nulls, Some(&seen.etag))? {
            Written::Conflict => {}
            written => return done(written),
        }
    }
    bail!("other writers change the map too often: {MAX_ATTEMPTS} attempts met a newer one; try again")
}
