//! JSON: one object.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Outcome;
use crate::map::Map;

pub(super) fn encode_map(map: &Map) -> Outcome<Vec<u8>> {
    encode(map)
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Outcome<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Outcome<T> {
    Ok(serde_json::from_slice(payload)?)
}

/// Returns `map` as JSON over several lines, indented by two spaces, for people.
///
/// # Errors
/// As [`super::Format::encode_map`] with JSON.
pub fn pretty(map: &Map) -> Result<String, super::Error> {
    serde_json::to_string_pretty(map)
        .map_err(|source| super::Error::Encode { format: super::Format::Json, source: source.into() })
}
