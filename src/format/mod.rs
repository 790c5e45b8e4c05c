//! The encodings of a payload: five formats with one interface, [`Format`], in one file each, and how to tell them apart.
//!
//! bincode, MessagePack and pickle preserve a [`Map`] exactly. JSON converts integer keys to strings, bytes to base64
//! strings, and NaN and infinity to null. Text does the same, but preserves integer keys of the map itself.

mod bincode;
mod detect;
mod error;
mod escaped;
mod json;
mod json_syntax;
mod msgpack;
mod pickle;
mod text;

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::map::{Budget, Map, Value};
use error::check_depth;
use escaped::Escaped;

pub use error::Error;
#[cfg(feature = "redis")]
pub(crate) use json::parse_value;
pub use json::pretty;
pub(crate) use json::{find_long_integer, write_value};
pub(crate) use json_syntax::explain as explain_json;
pub use text::{EntryError, parse_entry};

/// The encoding of a payload. `docs/protocol.md` shows the bytes of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The bytes of `serialize` in `bincode` 1.3: for programs in Rust. The default.
    #[default]
    Bincode,
    /// One JSON object: for programs in any language.
    Json,
    /// A MessagePack map: compact, and readable from any language.
    Msgpack,
    /// A Python pickle of a dict: for Python programs that unpickle each payload.
    Pickle,
    /// UTF-8, one line `KEY=VALUE` for each entry: for shells and people.
    Text,
}

/// A name that is not a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a format; use bincode, json, msgpack, pickle or text", .0.escape_debug())]
pub struct UnknownFormat(String);

impl Format {
    /// All formats, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Bincode, Self::Json, Self::Msgpack, Self::Pickle, Self::Text];

    /// The name of the format, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bincode => "bincode",
            Self::Json => "json",
            Self::Msgpack => "msgpack",
            Self::Pickle => "pickle",
            Self::Text => "text",
        }
    }

    /// Returns `map` as a payload, which is never empty. Equal maps have equal payloads.
    ///
    /// # Errors
    /// `TooDeep`; `Encode` if two keys would become the same (`1` and `"1"` in JSON, and in a value in text).
    pub fn encode_map(self, map: &Map) -> Result<Vec<u8>, Error> {
        check_depth(map)?;
        let encoded = match self {
            Self::Bincode => bincode::encode(map),
            Self::Json => json::encode_map(map),
            Self::Msgpack => msgpack::encode(map),
            Self::Pickle => pickle::encode(map),
            Self::Text => text::encode_map(map),
        };
        encoded.map_err(|source| Error::Encode { format: self, source })
    }

    /// Returns the map in `payload`. An empty payload is an empty map in text, and an error in the other formats.
    ///
    /// For any input it does not panic, and needs at most 64 KiB of stack (256 KiB in a debug build) and about 48 MiB of
    /// memory, or 32 times the payload if that is more.
    ///
    /// # Errors
    /// `Decode` if the bytes are not exactly one map in this format, nested at most [`MAX_DEPTH`](crate::map::MAX_DEPTH)
    /// deep, with 64-bit integers and UTF-8 strings. Also for MessagePack's extension types, and for values of a pickle
    /// that are not plain: objects, sets, and a list or dict with two references. A duplicate key is not an error: the last
    /// entry wins.
    pub fn decode_map(self, payload: &[u8]) -> Result<Map, Error> {
        let decoded = match self {
            Self::Bincode => bincode::decode_map(payload),
            Self::Json => json::decode_map(payload),
            Self::Msgpack => msgpack::decode_map(payload),
            Self::Pickle => pickle::decode_map(payload),
            Self::Text => text::decode_map(payload),
        };
        decoded.map_err(|source| self.refuse(payload, source.as_ref()))
    }

    /// Returns the format of `payload`, which is a map; `None` if it is not a map in any format, or empty.
    ///
    /// The answer is exact for every map that [`encode_map`](Self::encode_map) writes, and for the dicts that Python's `json`,
    /// `pickle` (protocols 2 to 5) and `msgpack` write. The exception is a map that was constructed to be two payloads at once:
    /// it is MessagePack. The payload may still be invalid; only [`decode_map`](Self::decode_map) knows. A typed value in
    /// bincode has no such mark: name its format.
    ///
    /// ```
    /// use mapcast::Format;
    ///
    /// assert_eq!(Format::detect(br#"{"a":1}"#), Some(Format::Json));
    /// assert_eq!(Format::detect(b"{a=1\n"), Some(Format::Text));
    /// assert_eq!(Format::detect(b"hello"), None);
    /// ```
    pub fn detect(payload: &[u8]) -> Option<Self> {
        detect::detect(payload)
    }

    /// Returns `value`, of any serde type, as a payload by serde's conventions: a `Vec<u8>` is a list of numbers, also the
    /// bytes of a [`Map`] in `value` in JSON.
    ///
    /// # Errors
    /// `Encode` if the format cannot represent it; text represents only values with named entries.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, Error> {
        let encoded = match self {
            Self::Bincode => bincode::encode(value),
            Self::Json => json::encode(value),
            Self::Msgpack => msgpack::encode(value),
            Self::Pickle => pickle::encode(value),
            Self::Text => text::encode(value),
        };
        encoded.map_err(|source| Error::Encode { format: self, source })
    }

    /// Returns the value in `payload`, of any serde type.
    ///
    /// All [`Value`]s in it together have the memory limit of [`decode_map`](Self::decode_map); the rest of the type has no
    /// limit. The depth of a recursive type is limited to 32 in MessagePack and pickle, and to 128 in JSON and text. bincode
    /// has no limit: the type needs its own.
    ///
    /// # Errors
    /// `Decode` if the bytes are not exactly one such value.
    pub fn decode<T: DeserializeOwned>(self, payload: &[u8]) -> Result<T, Error> {
        let decoded = Budget::for_payload(payload.len()).share(|| match self {
            Self::Bincode => bincode::decode(payload),
            Self::Json => json::decode(payload),
            Self::Msgpack => msgpack::decode(payload),
            Self::Pickle => pickle::decode(payload),
            Self::Text => text::decode(payload),
        });
        decoded.map_err(|source| self.refuse(payload, source.as_ref()))
    }

    fn refuse(self, payload: &[u8], source: &(dyn std::error::Error + 'static)) -> Error {
        Error::Decode { format: self, len: payload.len(), source: Box::new(Escaped::new(source)) }
    }
}

/// Returns the map in `json`, which was written for the server.
///
/// # Errors
/// As [`Format::decode_map`], and for a duplicate key.
pub(crate) fn decode_unique_json(json: &[u8]) -> Result<Map, Error> {
    json::decode_unique_map(json).map_err(|source| Format::Json.refuse(json, source.as_ref()))
}

/// Returns the value of an entry in `json`, which was written for the server.
///
/// # Errors
/// `Decode` if it is not JSON, or not a value of a map: nested too deep, an integer beyond 64 bits, or a duplicate key.
pub(crate) fn decode_json_value(json: &[u8]) -> Result<Value, Error> {
    json::decode_value(json).map_err(|source| Format::Json.refuse(json, source.as_ref()))
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// The limit for the text of a map, in multiples of the largest frame: enough for indentation, comments and `\u0041`
/// escapes. Also bounds the memory of the parser.
const MAX_LEN_FRAMES: u64 = 16;

/// The smallest limit for the length of a text, whatever the limit of a frame: 1 MiB.
const MIN_MAX_LEN: u64 = 1024 * 1024;

/// Returns the largest size of a file with a map, in bytes, if frames have at most `max_frame`.
pub(crate) fn most_text_len(max_frame: usize) -> u64 {
    MIN_MAX_LEN.max(MAX_LEN_FRAMES.saturating_mul(max_frame as u64))
}

#[cfg(test)]
mod tests;
