//! Why a map cannot be encoded or decoded.

use super::Format;
use crate::map::{self, MAX_DEPTH, Map};

/// A value that could not be written, or bytes that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The publisher's value has no form in this format.
    #[error("this map cannot be written as {format}")]
    Encode {
        /// The format that was asked for.
        format: Format,
        /// What the format's library says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The peer's bytes are not in this format, or do not hold what was asked for.
    #[error("{len} bytes are not a payload in {format}")]
    Decode {
        /// The format that was expected.
        format: Format,
        /// The payload's length in bytes.
        len: usize,
        /// What the format's library says: escaped and cut, because it may quote the payload.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The publisher's map is nested deeper than any reader must follow.
    #[error("the map is nested {depth} deep; {MAX_DEPTH} is the most")]
    TooDeep {
        /// How deep, the map itself counted.
        depth: usize,
    },
}

/// The result of a format's file: the error of its library, boxed, because five libraries have five types.
pub(super) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Checks that `map` is nested at most [`MAX_DEPTH`] deep.
///
/// # Errors
/// `TooDeep`.
pub(super) fn check_depth(map: &Map) -> Result<(), Error> {
    let depth = map::depth(map);
    if depth > MAX_DEPTH { Err(Error::TooDeep { depth }) } else { Ok(()) }
}
