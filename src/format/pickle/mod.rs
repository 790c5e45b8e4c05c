//! Python pickle: writes protocol 3, reads protocols 2 to 5.
//!
//! A pickle is a program for a stack machine. Only programs that build plain values are accepted (see [`validator`]).

mod opcode;
mod validator;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_pickle::{DeOptions, Deserializer, SerOptions};

use super::error::Outcome;
use crate::map::{Budget, Map, MapSeed};

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Outcome<Vec<u8>> {
    Ok(serde_pickle::to_vec(&value, SerOptions::new())?)
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Outcome<T> {
    // One budget for the values of serde-pickle and for the result, as below.
    validator::validate(payload, &Budget::shared())?;
    Ok(serde_pickle::from_slice(payload, DeOptions::new())?)
}

pub(super) fn decode_map(payload: &[u8]) -> Outcome<Map> {
    // The values of serde-pickle and the map are in memory at the same time: one budget for both.
    let budget = Budget::for_payload(payload.len());
    validator::validate(payload, &budget)?;
    Ok(MapSeed::new(&budget).deserialize(&mut Deserializer::new(payload, DeOptions::new()))?)
}

#[cfg(test)]
mod tests;
