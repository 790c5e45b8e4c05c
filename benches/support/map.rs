//! The contents of the maps that are sent, and their verification by clients.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

/// Slots of a map that is written over HTTP. Change number K writes slot K modulo this number, so that an acknowledged but lost
/// change is also visible in the next 63 maps.
pub const SLOTS: u64 = 64;

/// Distinct payloads that a verifier caches: the newest, and those that slow clients still receive.
const REMEMBERED: usize = 4;

/// Returns the entries of every map: its number, a padding of `len` bytes, and a checksum over both.
pub fn entries(number: u64, len: usize) -> Map<String, Value> {
    let letter = char::from(b'a' + u8::try_from(number % 26).unwrap_or(0));
    let padding = letter.to_string().repeat(len);
    let mut map = Map::new();
    map.insert("number".to_owned(), json!(number));
    map.insert("sum".to_owned(), json!(checksum(number, &padding)));
    map.insert("padding".to_owned(), Value::String(padding));
    map
}

/// Returns the patch that turns map `number - 1` into map `number`.
pub fn patch(number: u64, len: usize) -> Map<String, Value> {
    let mut map = entries(number, len);
    map.insert(format!("slot-{}", number % SLOTS), json!(number));
    map
}

/// Returns the number of the map in `payload` if and only if the map is complete: the checksum is correct, and each slot has
/// the number of the last change that wrote it.
pub fn verify(payload: &[u8]) -> anyhow::Result<u64> {
    let map: Map<String, Value> = serde_json::from_slice(payload).context("not a JSON object")?;
    let number = map.get("number").and_then(Value::as_u64).context("no number")?;
    let padding = map.get("padding").and_then(Value::as_str).context("no padding")?;
    let sum = map.get("sum").and_then(Value::as_u64).context("no checksum")?;
    ensure!(sum == u64::from(checksum(number, padding)), "map {number}: the checksum is wrong");
    for (key, value) in &map {
        let Some(slot) = key.strip_prefix("slot-").and_then(|slot| slot.parse::<u64>().ok()) else { continue };
        let last = number.checked_sub((number + SLOTS - slot % SLOTS) % SLOTS);
        ensure!(value.as_u64() == last, "map {number}: slot {slot} has {value}, its last change was {last:?}");
    }
    Ok(number)
}

/// FNV-1a, 32 bits.
fn checksum(number: u64, padding: &str) -> u32 {
    let mix = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    number.to_be_bytes().iter().chain(padding.as_bytes()).fold(0x811c_9dc5, mix)
}

/// Verifies payloads. Parses equal bytes once, because hundreds of clients receive the same bytes.
#[derive(Debug, Default)]
pub struct Verifier {
    recent: VecDeque<(Vec<u8>, u64)>,
}

impl Verifier {
    /// Returns the number of the map in `payload`, as [`verify`] does.
    pub fn number(&mut self, payload: &[u8]) -> anyhow::Result<u64> {
        if let Some((_, number)) = self.recent.iter().find(|(bytes, _)| bytes == payload) {
            return Ok(*number);
        }
        let number = verify(payload)?;
        self.recent.truncate(REMEMBERED - 1);
        self.recent.push_front((payload.to_vec(), number));
        Ok(number)
    }
}

/// The times at which maps were published.
#[derive(Debug, Default)]
pub struct Published {
    /// Indexed by number, consecutive from 0. Locked for one lookup or change.
    times: Mutex<Vec<Instant>>,
}

impl Published {
    /// Records that map `number` is published now.
    pub fn record(&self, number: u64) {
        let len = usize::try_from(number).unwrap_or(usize::MAX).saturating_add(1);
        let mut times = self.lock();
        if times.len() < len {
            times.resize(len, Instant::now());
        }
    }

    /// Returns the number of the newest map; `None` before the first.
    pub fn newest(&self) -> Option<u64> {
        (self.lock().len() as u64).checked_sub(1)
    }

    /// Returns when the first map newer than `number` was published; `None` if `number` is the newest.
    pub fn successor_of(&self, number: u64) -> Option<Instant> {
        self.lock().get(usize::try_from(number).ok()?.checked_add(1)?).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
