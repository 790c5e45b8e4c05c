//! How a payload is written: five formats behind one [`Format`], one small file each, and how to tell them apart.
//!
//! A [`Map`] survives bincode, MessagePack and pickle as it is. JSON turns integer keys into text, bytes into base64
//! text, and NaN and infinity into null; text does so too, but keeps the integer keys of the map itself.

mod bincode;
mod detect;
mod error;
mod escaped;
mod json;
mod json_fault;
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
pub(crate) use json_fault::explain as explain_json;
pub use text::{EntryError, parse_entry};

/// The way a payload is written. `docs/protocol.md` shows the bytes of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The bytes of `bincode` 1.3 `serialize`: for programs in Rust. The default.
    #[default]
    Bincode,
    /// One JSON object: for everything else.
    Json,
    /// A MessagePack map: compact, and readable from any language.
    Msgpack,
    /// A Python pickle of a dict: for Python programs that read pickled frames.
    Pickle,
    /// UTF-8, one `KEY=VALUE` line an entry: for shells and people.
    Text,
}

/// A name that is not a format's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is no format: choose bincode, json, msgpack, pickle or text", .0.escape_debug())]
pub struct UnknownFormat(String);

impl Format {
    /// All formats, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Bincode, Self::Json, Self::Msgpack, Self::Pickle, Self::Text];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bincode => "bincode",
            Self::Json => "json",
            Self::Msgpack => "msgpack",
            Self::Pickle => "pickle",
            Self::Text => "text",
        }
    }

    /// Returns the payload that carries `map`, never an empty one; equal maps give equal bytes.
    ///
    /// # Errors
    /// `TooDeep`; `Encode` if two keys would be one (`1` and `"1"` in JSON, and inside a value in text).
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

    /// Returns the map that `payload` carries. An empty payload is an empty map in text, and none in the others.
    ///
    /// No input makes it panic, overflow a stack of 64 KiB (256 KiB in a debug build), or take more memory than about
    /// 48 MiB or 32 times the payload, whichever is more.
    ///
    /// # Errors
    /// `Decode` if the bytes are not exactly one map in this format, nested at most [`MAX_DEPTH`](crate::map::MAX_DEPTH) deep, with integers
    /// of 64 bits and UTF-8 text. MessagePack's extension types are refused, and of pickle all that is not a plain
    /// value: objects, sets, and a list or dict that stands in two places. A key that stands twice is no error: the
    /// last entry stays.
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

    /// Returns the payload that carries `value`, any serde type, by serde's conventions: bytes that are a `Vec<u8>`
    /// are a list of numbers, and a [`Map`] inside `value` is no exception in JSON.
    ///
    /// # Errors
    /// `Encode` if the format has no form for it; `text` takes only what has named entries.
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

    /// Returns the value that `payload` carries, of any serde type.
    ///
    /// All [`Value`]s inside it together may take as much memory as the [`Map`] of [`decode_map`](Self::decode_map); what
    /// the rest takes is the type's own affair. A recursive type of the caller's own is read 32 levels deep in MessagePack and pickle, 128 in JSON and text, and as deep
    /// as the bytes say in bincode: give it a limit.
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

/// Returns the map that `json` is, which was written for the server.
///
/// # Errors
/// As [`Format::decode_map`], and if a key stands twice in one object.
pub(crate) fn decode_unique_json(json: &[u8]) -> Result<Map, Error> {
    json::decode_unique_map(json).map_err(|source| Format::Json.refuse(json, source.as_ref()))
}

/// Returns the value of an entry that `json` is, which was written for the server.
///
/// # Errors
/// `Decode` if it is no JSON, or no value of a map: nested too deep, an integer beyond 64 bits, a key that stands twice.
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

/// How much longer than the largest frame the text of a map may be: room for indentation, comments and `\u0041` escapes,
/// and a bound for what parsing takes.
const MAX_LEN_FRAMES: u64 = 16;

/// The least limit for a text's length, however small the frames: 1 MiB.
const MIN_MAX_LEN: u64 = 1024 * 1024;

/// The most bytes of a file with a map, where frames have at most `max_frame`.
pub(crate) fn most_text_len(max_frame: usize) -> u64 {
    MIN_MAX_LEN.max(MAX_LEN_FRAMES.saturating_mul(max_frame as u64))
}

#[cfg(test)]
mod tests;
