//! The map that everyone is told: keys to values, nested at most [`MAX_DEPTH`] deep.
//!
//! In formats that describe themselves (JSON, MessagePack, pickle) a value is written as itself. In bincode it is an
//! enum, tagged by its place in the declaration; `serde` calls the two kinds "human readable" and not, and that is
//! what the implementations here go by.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde::{Deserialize, de::Unexpected};

/// How deep lists and maps may be nested, the map itself counted: 32.
///
/// The formats differ in what they stand (a debug build of rmp-serde aborts at 88 levels on a 64 KiB stack); 32 is
/// safe in all of them, on the small stacks that connections have.
pub const MAX_DEPTH: usize = 32;

/// What the server sends and every client has. Ordered, so that equal maps are equal bytes.
pub type Map = BTreeMap<Key, Value>;

/// The name of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A number, as in `{1: "Hola"}`. JSON has no such keys and turns it into text.
    Int(i64),
    /// Text.
    Text(String),
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing: JSON's `null`, Python's `None`.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction. JSON has no NaN and no infinity: they become `null` there.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes; base64 text in JSON and in text.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Value>),
    /// A map inside the map.
    Map(Map),
}

/// The names of the values' kinds, in the order of their bincode tags (u32, from 0).
const VALUE_KINDS: &[&str] = &["Null", "Bool", "Int", "Float", "Text", "Bytes", "List", "Map"];

/// The names of the keys' kinds, in the order of their bincode tags.
const KEY_KINDS: &[&str] = &["Int", "Text"];

/// Returns the map that is sent when no other was named: `{1: "Hola", 2: "Bienvenido", 3: "Al", 4: "Servidor"}`.
pub fn builtin() -> Map {
    [(1, "Hola"), (2, "Bienvenido"), (3, "Al"), (4, "Servidor")]
        .into_iter()
        .map(|(key, text)| (Key::Int(key), Value::from(text)))
        .collect()
}

/// Returns how deep `map` is nested, itself counted: 1 for a map of plain values.
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

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
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
                Self::Bool(truth) => serializer.serialize_bool(*truth),
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
            Self::Bool(truth) => serializer.serialize_newtype_variant("Value", 1, VALUE_KINDS[1], truth),
            Self::Int(number) => serializer.serialize_newtype_variant("Value", 2, VALUE_KINDS[2], number),
            Self::Float(number) => serializer.serialize_newtype_variant("Value", 3, VALUE_KINDS[3], number),
            Self::Text(text) => serializer.serialize_newtype_variant("Value", 4, VALUE_KINDS[4], text),
            Self::Bytes(bytes) => serializer.serialize_newtype_variant("Value", 5, VALUE_KINDS[5], bytes),
            Self::List(items) => serializer.serialize_newtype_variant("Value", 6, VALUE_KINDS[6], items),
            Self::Map(map) => serializer.serialize_newtype_variant("Value", 7, VALUE_KINDS[7], map),
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key: text or a whole number of 64 bits")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Key, E> {
                Ok(Key::Int(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Key, E> {
                i64::try_from(number).map(Key::Int).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
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
        // The map that holds this value is the first level.
        ValueAt { depth: 1 }.deserialize(deserializer)
    }
}

/// Reads a value that stands `depth` levels deep; the depth is bounded here, because not every format bounds it.
#[derive(Clone, Copy)]
struct ValueAt {
    depth: usize,
}

impl ValueAt {
    fn below<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for ValueAt {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(self)
        } else {
            deserializer.deserialize_enum("Value", VALUE_KINDS, self)
        }
    }
}

impl<'de> Visitor<'de> for ValueAt {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value: null, true, a number of 64 bits, text, bytes, a list or a map")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Int).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
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
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key()? {
            map.insert(key, access.next_value_seed(below)?);
        }
        Ok(Value::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        let (tag, content) = access.variant::<u32>()?;
        match tag {
            0 => content.unit_variant().map(|()| Value::Null),
            1 => content.newtype_variant().map(Value::Bool),
            2 => content.newtype_variant().map(Value::Int),
            3 => content.newtype_variant().map(Value::Float),
            4 => content.newtype_variant().map(Value::Text),
            5 => content.newtype_variant().map(Value::Bytes),
            6 => content.newtype_variant_seed(ListAt(self)),
            7 => content.newtype_variant_seed(MapAt(self)),
            _ => Err(de::Error::invalid_value(Unexpected::Unsigned(tag.into()), &"a value's tag: 0 to 7")),
        }
    }
}

/// Reads the list that a tag has announced.
struct ListAt(ValueAt);

impl<'de> DeserializeSeed<'de> for ListAt {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_seq(self.0)
    }
}

/// Reads the map that a tag has announced.
struct MapAt(ValueAt);

impl<'de> DeserializeSeed<'de> for MapAt {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self.0)
    }
}
