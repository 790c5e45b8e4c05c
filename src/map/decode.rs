//! Decodes a map with limits for its depth and its memory, which not every format has.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor,
};

use super::{BEYOND_64_BITS, KEY_KINDS, Key, MAX_DEPTH, Map, VALUE_KINDS, Value};

/// The memory that a map may use whatever the length of its payload: 48 MiB.
const LEAST_BUDGET: usize = 48 * 1024 * 1024;

/// Bytes of memory per byte of payload: 32, the size of a [`Value`], for a list of one-byte values.
const BUDGET_RATIO: usize = 32;

/// The memory of a map's first entry: the standard library's B-tree has nodes of eleven entries. A map of one entry, three
/// bytes of MessagePack, takes 640 bytes.
const MAP_COST: usize = 11 * (size_of::<Key>() + size_of::<Value>()) + 24;

/// The memory of each further entry: a node that is filled in order is split at six of its eleven entries.
const ENTRY_COST: usize = MAP_COST / 6;

/// The memory that decoding one payload may still use. Without it, a payload of 1 MB could take 220 MB.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Bytes.
    left: Cell<usize>,
}

thread_local! {
    /// The budget of [`Budget::shared`].
    static SHARED: RefCell<Option<Rc<Budget>>> = const { RefCell::new(None) };
}

/// The payload needs more memory than its [`Budget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much memory for a payload of this length")]
pub(crate) struct OverBudget;

impl Budget {
    /// Returns the budget for a payload of `len` bytes: 32 times its length, and at least 48 MiB.
    pub(crate) fn for_payload(len: usize) -> Self {
        Self { left: Cell::new(len.saturating_mul(BUDGET_RATIO).max(LEAST_BUDGET)) }
    }

    /// Returns the budget of the payload that this thread decodes as a type of the caller. Without one, because another
    /// parser reads a [`Value`] from an input of unknown length, the budget has no limit.
    pub(crate) fn shared() -> Rc<Self> {
        SHARED.with_borrow(Clone::clone).unwrap_or_else(|| Rc::new(Self { left: Cell::new(usize::MAX) }))
    }

    /// Runs `read` with this budget as the [`shared`](Self::shared) one, and returns its result.
    pub(crate) fn share<T>(self, read: impl FnOnce() -> T) -> T {
        /// Restores the previous budget, also after a panic of `read`.
        struct Restore(Option<Rc<Budget>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                SHARED.replace(self.0.take());
            }
        }
        let _restore = Restore(SHARED.replace(Some(Rc::new(self))));
        read()
    }

    /// Subtracts `bytes` from the budget.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), OverBudget> {
        self.left.set(self.left.get().checked_sub(bytes).ok_or(OverBudget)?);
        Ok(())
    }
}

/// Decodes a map within a budget.
#[derive(Clone, Copy)]
pub(crate) struct MapSeed<'b>(ValueSeed<'b>);

impl<'b> MapSeed<'b> {
    /// Returns the seed for a map from a peer: the last of two entries with the same key wins.
    pub(crate) fn new(budget: &'b Budget) -> Self {
        Self(ValueSeed::new(budget))
    }

    /// Returns the seed for a map that was written for the server: a duplicate key, at any depth, is an error, because
    /// one of the two entries is a mistake.
    pub(crate) fn unique(budget: &'b Budget) -> Self {
        Self(ValueSeed::unique(budget))
    }
}

impl<'de> DeserializeSeed<'de> for MapSeed<'_> {
    type Value = Map;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Map, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MapSeed<'_> {
    type Value = Map;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Map, A::Error> {
        read_map(access, self.0)
    }
}

/// Decodes a value at a given depth, within a budget.
#[derive(Clone, Copy)]
pub(crate) struct ValueSeed<'b> {
    depth: usize,
    budget: &'b Budget,
    is_unique: bool,
}

impl<'b> ValueSeed<'b> {
    /// Returns the seed for the values of the outermost map, which is at depth 1.
    pub(crate) fn new(budget: &'b Budget) -> Self {
        Self { depth: 1, budget, is_unique: false }
    }

    /// As [`MapSeed::unique`], for one value.
    pub(crate) fn unique(budget: &'b Budget) -> Self {
        Self { is_unique: true, ..Self::new(budget) }
    }

    fn below<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

/// Decodes the entries of a map.
fn read_map<'de, A: MapAccess<'de>>(mut access: A, values: ValueSeed<'_>) -> Result<Map, A::Error> {
    let mut map = Map::new();
    while let Some(key) = access.next_key()? {
        if values.is_unique && map.contains_key(&key) {
            return Err(de::Error::custom(format_args!("duplicate key {}", shown(&key))));
        }
        let cost = if map.is_empty() { MAP_COST } else { ENTRY_COST };
        values.budget.charge(cost).map_err(de::Error::custom)?;
        map.insert(key, access.next_value_seed(values)?);
    }
    Ok(map)
}

/// Returns at most 64 characters of `key` for an error message, escaped and in quotes.
fn shown(key: &Key) -> String {
    match key {
        Key::Int(number) => number.to_string(),
        Key::Text(text) => format!("\"{}\"", text.chars().take(64).collect::<String>().escape_debug()),
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key: a string or a 64-bit integer")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Key, E> {
                Ok(Key::Int(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Key, E> {
                i64::try_from(number).map(Key::Int).map_err(|_| E::custom(BEYOND_64_BITS))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Key, E> {
                Ok(Key::from(text))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Key, E> {
                Ok(Key::Text(text))
            }

            fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Key, A::Error> {
                let (tag, content) = access.variant::<u32>()?;
                match tag {
                    0 => content.newtype_variant().map(Key::Int),
                    1 => content.newtype_variant().map(Key::Text),
                    _ => Err(de::Error::invalid_value(Unexpected::Unsigned(tag.into()), &"a key's tag: 0 or 1")),
                }
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(KeyVisitor)
        } else {
            deserializer.deserialize_enum("Key", KEY_KINDS, KeyVisitor)
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let budget = Budget::shared();
        budget.charge(size_of::<Self>()).map_err(de::Error::custom)?;
        ValueSeed::new(&budget).deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(self)
        } else {
            deserializer.deserialize_enum("Value", VALUE_KINDS, self)
        }
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value: null, a boolean, a 64-bit number, a string, bytes, a list or a map")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, boolean: bool) -> Result<Value, E> {
        Ok(Value::Bool(boolean))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Int).map_err(|_| E::custom(BEYOND_64_BITS))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(below)? {
            self.budget.charge(size_of::<Value>()).map_err(de::Error::custom)?;
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        read_map(access, self.below()?).map(Value::Map)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        let (tag, content) = access.variant::<u32>()?;
        match tag {
            0 => content.unit_variant().map(|()| Value::Null),
            1 => content.newtype_variant().map(Value::Bool),
            2 => content.newtype_variant().map(Value::Int),
            3 => content.newtype_variant().map(Value::Float),
            4 => content.newtype_variant().map(Value::Text),
            5..=7 => content.newtype_variant_seed(Tagged { tag, value: self }),
            _ => Err(de::Error::invalid_value(Unexpected::Unsigned(tag.into()), &"a value's tag: 0 to 7")),
        }
    }
}

/// Decodes the bytes, list or map of a bincode tag.
struct Tagged<'b> {
    tag: u32,
    value: ValueSeed<'b>,
}

impl<'de> DeserializeSeed<'de> for Tagged<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.tag {
            5 => deserializer.deserialize_byte_buf(self.value),
            6 => deserializer.deserialize_seq(self.value),
            _ => deserializer.deserialize_map(self.value),
        }
    }
}
