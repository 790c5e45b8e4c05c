//! Decodes payloads whose format is configured or detected.

use super::error::Error;
use crate::format::{self, Format};

/// How many bytes of a payload without a known format an error shows: 16.
const SHOWN_BYTES: usize = 16;

/// Decodes `payload` by `decode` in `format`, which is `None` if it was not detected.
///
/// # Errors
/// `UnknownFormat` without a format; `OtherFormat` if the bytes show another one; `Format` if they are invalid.
pub(crate) fn decode<T>(
    payload: &[u8],
    format: Option<Format>,
    decode: impl FnOnce(Format, &[u8]) -> Result<T, format::Error>,
) -> Result<T, Error> {
    let Some(expected) = format else {
        return Err(Error::UnknownFormat { first: payload[..payload.len().min(SHOWN_BYTES)].to_vec() });
    };
    decode(expected, payload).map_err(|error| match Format::detect(payload) {
        Some(found) if found != expected => Error::OtherFormat { expected, found },
        _ => Error::Format(error),
    })
}
