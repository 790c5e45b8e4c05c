//! bincode 1.3, the wire of `bincode::serialize`, with the options spelled out.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Outcome;
use crate::map::{Budget, Map, MapSeed};

/// `bincode::serialize` is fixed-width while `DefaultOptions::new()` is varint: two wires under one name. The limit is
/// the slice itself, which a claimed length cannot exceed.
fn wire() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_little_endian().reject_trailing_bytes().with_no_limit()
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Outcome<Vec<u8>> {
    Ok(wire().serialize(value)?)
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Outcome<T> {
    Ok(wire().deserialize(payload)?)
}

pub(super) fn decode_map(payload: &[u8]) -> Outcome<Map> {
    Ok(wire().deserialize_seed(MapSeed::new(&Budget::for_payload(payload.len())), payload)?)
}
