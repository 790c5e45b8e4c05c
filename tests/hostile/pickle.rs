//! The validation of a pickle before serde-pickle runs it.

use std::fmt;

use mapcast::Format;
use mapcast::map::MAX_DEPTH;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The only error of serde-pickle for a valid pickle: the validator does not check strings.
const CONTENT: &str = "string is not UTF-8 encoded";

/// The depth of any value: 0 for a scalar.
struct Depth(usize);

impl<'de> Deserialize<'de> for Depth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DepthVisitor)
    }
}

struct DepthVisitor;

impl<'de> Visitor<'de> for DepthVisitor {
    type Value = Depth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value")
    }

    fn visit_unit<E: Error>(self) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Depth, A::Error> {
        let mut deepest = 0;
        while let Some(Depth(depth)) = items.next_element()? {
            deepest = deepest.max(depth);
        }
        Ok(Depth(1 + deepest))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Depth, A::Error> {
        let mut deepest = 0;
        while let Some((Depth(key), Depth(value))) = entries.next_entry()? {
            deepest = deepest.max(key).max(value);
        }
        Ok(Depth(1 + deepest))
    }
}

/// serde-pickle runs every accepted pickle to its end, and the value is not too deep.
pub(super) fn check(opcodes: &[u8]) {
    let pickle = [b"\x80\x04", opcodes, b"."].concat();
    match Format::Pickle.decode::<Depth>(&pickle) {
        Ok(Depth(depth)) => assert!(depth <= MAX_DEPTH, "\"{}\" is {depth} deep", pickle.escape_ascii()),
        Err(error) => {
            let text = super::printable(&error);
            let known = text.contains("(opcode 0x") || text.ends_with(CONTENT);
            assert!(known, "\"{}\" was accepted: {text}", pickle.escape_ascii());
        }
    }
}
