//! Why a map cannot be encoded or decoded.

use super::Format;
use crate::map::{self, MAX_DEPTH, Map};

/// Why a value cannot be encoded, or a payload cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The format cannot represent the value.
    #[error("cannot encode the map as {format}")]
    Encode {
        /// The requested format.
        format: Format,
        /// The error of the format's library.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The payload is not in the format, or does not contain what the caller expects.
    #[error("cannot decode {len} bytes as {format}")]
    Decode {
        /// The expected format.
        format: Format,
        /// The payload's length in bytes.
        len: usize,
        /// The error of the format's library, escaped and shortened, because it may quote the payload.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The map is nested more than [`MAX_DEPTH`] levels deep: readers refuse it.
    #[error("the map is nested {depth} levels deep, above the limit of {MAX_DEPTH}; nest it less deep")]
    TooDeep {
        /// Its depth in levels; a map of plain values has one.
        depth: usize,
    },
}

/// The result of a format's functions. The error is boxed: each of the five libraries has its own type.
pub(super) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Checks that `map` is nested at most [`MAX_DEPTH`] levels deep.
///
/// # Errors
/// `TooDeep`.
pub(super) fn check_depth(map: &Map) -> Result<(), Error> {
    let depth = map::depth(map);
    if depth > MAX_DEPTH { Err(Error::TooDeep { depth }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_texts;

    #[test]
    fn every_error_has_its_text() {
        let source = || std::io::Error::other("why").into();
        check_texts!(Error {
            Encode { format: Format::Json, source: source() } => "cannot encode the map as json";
            Decode { format: Format::Text, len: 7, source: source() } => "cannot decode 7 bytes as text";
            TooDeep { depth: 40 } => "the map is nested 40 levels deep, above the limit of 32; nest it less deep";
        });
    }
}
