//! MessagePack.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Outcome;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Outcome<Vec<u8>> {
    Ok(rmp_serde::to_vec_named(value)?)
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Outcome<T> {
    Ok(rmp_serde::from_slice(payload)?)
}
