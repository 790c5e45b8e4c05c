//! Python pickle: written as protocol 3, read from protocols 2 to 5.
//!
//! A pickle is a program for a stack machine; only one that builds plain values is read (see [`validator`]).

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
    // As below: one budget for both.
    validator::validate(payload, &Budget::shared())?;
    Ok(serde_pickle::from_slice(payload, DeOptions::new())?)
}

pub(super) fn decode_map(payload: &[u8]) -> Outcome<Map> {
    // What serde-pickle builds and the map made from it are in memory at the same time: one budget for both.
    let budget = Budget::for_payload(payload.len());
    validator::validate(payload, &budget)?;
    Ok(MapSeed::new(&budget).deserialize(&mut Deserializer::new(payload, DeOptions::new()))?)
}

#[cfg(test)]
mod tests;
