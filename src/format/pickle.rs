//! Python pickle.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Outcome;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Outcome<Vec<u8>> {
    Ok(serde_pickle::to_vec(&value, serde_pickle::SerOptions::new())?)
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Outcome<T> {
    Ok(serde_pickle::from_slice(payload, serde_pickle::DeOptions::new())?)
}
