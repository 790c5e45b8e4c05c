//! The map that the server sends: keys and values, nested at most [`MAX_DEPTH`] deep.
//!
//! Self-describing formats (JSON, MessagePack, pickle) write a plain value. bincode writes an enum, tagged by the position
//! of the variant. The implementations of serde's traits distinguish the two by `is_human_readable`.

mod decode;
mod patch;

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{Serialize, Serializer};

pub(crate) use decode::{Budget, MapSeed, OverBudget, ValueSeed};
pub(crate) use patch::{merge, number_key, number_keys, number_keys_in};

/// The limit for the nesting of lists and maps, including the map itself: 32.
///
/// The library of each format recurses, and most have no limit. Measured at 32 levels: at most 33 KiB of stack
/// in a release build (pickle; the others stay below 16), 143 KiB in a debug build (MessagePack; JSON 77, bincode 73).
pub const MAX_DEPTH: usize = 32;

/// The state that is sent to every client. Ordered, so that equal maps have equal bytes.
pub type Map = BTreeMap<Key, Value>;

/// The name of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An integer, as in `{1: "Hola"}`. JSON converts it to a string.
    Int(i64),
    /// A string.
    Text(String),
}

/// The value of an entry.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// JSON's `null`, Python's `None`.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number. JSON writes NaN and infinity as `null`.
    Float(f64),
    /// A string.
    Text(String),
    /// Bytes; a base64 string in JSON and text.
    Bytes(Vec<u8>),
    /// A list of values.
    List(Vec<Value>),
    /// A nested map.
    Map(Map),
}

/// The names of the variants of [`Value`], in the order of their bincode tags (u32, from 0).
const VALUE_KINDS: &[&str] = &["Null", "Bool", "Int", "Float", "Text", "Bytes", "List", "Map"];

/// The names of the variants of [`Key`], in the order of their bincode tags.
const KEY_KINDS: &[&str] = &["Int", "Text"];

/// Returns the default map: `{1: "Hola", 2: "Bienvenido", 3: "Al", 4: "Servidor"}`.
pub fn builtin() -> Map {
    [(1, "Hola"), (2, "Bienvenido"), (3, "Al"), (4, "Servidor")]
        .into_iter()
        .map(|(key, text)| (Key::Int(key), Value::from(text)))
        .collect()
}

/// The error message for an integer beyond the range of [`Value::Int`].
pub(crate) const BEYOND_64_BITS: &str = "an integer beyond 64 bits with a sign; write it as a string";

/// Returns the integer whose canonical form is `text`: `7`, but not `007` or `+7`.
pub(crate) fn parse_number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

/// Returns the depth of `map`, including itself: 1 for a map of plain values.
pub fn depth(map: &Map) -> usize {
    1 + map.values().map(Value::depth).max().unwrap_or(0)
}

impl Value {
    /// 0 for a plain value, 1 for a list or map of plain values, and so on.
    fn depth(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Map(map) => depth(map),
            _ => 0,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Implements `From` for what a variant contains.
macro_rules! from {
    ($($enum:ident::$variant:ident($content:ty)),* $(,)?) => {$(
        impl From<$content> for $enum {
            fn from(content: $content) -> Self {
                Self::$variant(content.into())
            }
        }
    )*};
}

from! {
    Key::Int(i64),
    Key::Text(&str),
    Key::Text(String),
    Value::Bool(bool),
    Value::Int(i64),
    Value::Float(f64),
    Value::Text(&str),
    Value::Text(String),
    Value::Bytes(Vec<u8>),
    Value::List(Vec<Value>),
    Value::Map(Map),
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (serializer.is_human_readable(), self) {
            (true, Self::Int(number)) => serializer.serialize_i64(*number),
            (true, Self::Text(text)) => serializer.serialize_str(text),
            (false, Self::Int(number)) => serializer.serialize_newtype_variant("Key", 0, KEY_KINDS[0], number),
            (false, Self::Text(text)) => serializer.serialize_newtype_variant("Key", 1, KEY_KINDS[1], text),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return match self {
                Self::Null => serializer.serialize_unit(),
                Self::Bool(boolean) => serializer.serialize_bool(*boolean),
                Self::Int(number) => serializer.serialize_i64(*number),
                Self::Float(number) => serializer.serialize_f64(*number),
                Self::Text(text) => serializer.serialize_str(text),
                Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
                Self::List(items) => items.serialize(serializer),
                Self::Map(map) => map.serialize(serializer),
            };
        }
        match self {
            Self::Null => serializer.serialize_unit_variant("Value", 0, VALUE_KINDS[0]),
            Self::Bool(boolean) => serializer.serialize_newtype_variant("Value", 1, VALUE_KINDS[1], boolean),
            Self::Int(number) => serializer.serialize_newtype_variant("Value", 2, VALUE_KINDS[2], number),
            Self::Float(number) => serializer.serialize_newtype_variant("Value", 3, VALUE_KINDS[3], number),
            Self::Text(text) => serializer.serialize_newtype_variant("Value", 4, VALUE_KINDS[4], text),
            Self::Bytes(bytes) => serializer.serialize_newtype_variant("Value", 5, VALUE_KINDS[5], &Bytes(bytes)),
            Self::List(items) => serializer.serialize_newtype_variant("Value", 6, VALUE_KINDS[6], items),
            Self::Map(map) => serializer.serialize_newtype_variant("Value", 7, VALUE_KINDS[7], map),
        }
    }
}

/// Serializes a slice as bytes; serde serializes a `Vec<u8>` as a list of numbers.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_map_has_depth_1() {
        assert_eq!(depth(&Map::new()), 1);
        assert_eq!(depth(&builtin()), 1);
        let list = Value::from(vec![Value::Null, Value::from(Map::new())]);
        assert_eq!(depth(&Map::from([(Key::Int(1), list)])), 3);
    }

    #[test]
    fn integer_keys_sort_before_string_keys() {
        let mut keys = [Key::from("10"), Key::from(""), Key::Int(9), Key::Int(-1)];
        keys.sort();
        assert_eq!(keys, [Key::Int(-1), Key::Int(9), Key::from(""), Key::from("10")]);
    }
}
