//! MessagePack, without conversions: structs are maps of field names, bytes are `bin`.

use rmp_serde::{Deserializer, Serializer};
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};

use super::error::Outcome;
use crate::map::{Budget, MAX_DEPTH, Map, MapSeed};

/// Why a payload is rejected before rmp-serde decodes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SyntaxError {
    #[error("it ends inside a value")]
    Truncated,
    #[error("{0} bytes after the value")]
    Trailing(usize),
    #[error("the text at byte {0} is not UTF-8")]
    Utf8(usize),
    #[error("the marker 0x{marker:02x} at byte {at}: extension types are not supported")]
    Extension { marker: u8, at: usize },
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Outcome<Vec<u8>> {
    let mut payload = Vec::new();
    value.serialize(&mut Serializer::new(&mut payload).with_struct_map().with_human_readable())?;
    Ok(payload)
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Outcome<T> {
    decode_seed(payload, std::marker::PhantomData)
}

pub(super) fn decode_map(payload: &[u8]) -> Outcome<Map> {
    decode_seed(payload, MapSeed::new(&Budget::for_payload(payload.len())))
}

fn decode_seed<'de, S: DeserializeSeed<'de>>(payload: &'de [u8], seed: S) -> Outcome<S::Value> {
    validate(payload)?;
    let mut deserializer = Deserializer::from_read_ref(payload).with_human_readable();
    // rmp-serde refuses the level at which its count reaches zero.
    deserializer.set_max_depth(MAX_DEPTH + 1);
    Ok(seed.deserialize(&mut deserializer)?)
}

/// Checks that `payload` is exactly one value, with UTF-8 strings and without extension types.
///
/// rmp-serde does not: it stops after the first value, and returns a string that is not UTF-8 as bytes.
pub(super) fn validate(payload: &[u8]) -> Result<(), SyntaxError> {
    let mut rest = payload;
    // The number of missing values. The claimed lengths of lists and maps allocate nothing.
    let mut due: u64 = 1;
    while due > 0 {
        due -= 1;
        let at = payload.len() - rest.len();
        let marker = take(&mut rest, 1)?[0];
        match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => {}
            0x80..=0x8f => due += 2 * u64::from(marker & 0x0f),
            0x90..=0x9f => due += u64::from(marker & 0x0f),
            0xa0..=0xbf => text(&mut rest, u64::from(marker & 0x1f), at)?,
            0xc4..=0xc6 => {
                let len = length(&mut rest, 1 << (marker - 0xc4))?;
                take(&mut rest, len)?;
            }
            0xcc..=0xcf => drop(take(&mut rest, 1 << (marker - 0xcc))?),
            0xd0..=0xd3 => drop(take(&mut rest, 1 << (marker - 0xd0))?),
            0xca => drop(take(&mut rest, 4)?),
            0xcb => drop(take(&mut rest, 8)?),
            0xd9..=0xdb => {
                let len = length(&mut rest, 1 << (marker - 0xd9))?;
                text(&mut rest, len, at)?;
            }
            0xdc | 0xdd => due = due.saturating_add(length(&mut rest, 2 << (marker - 0xdc))?),
            0xde | 0xdf => due = due.saturating_add(2 * length(&mut rest, 2 << (marker - 0xde))?),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(SyntaxError::Extension { marker, at }),
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(SyntaxError::Trailing(rest.len())) }
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], SyntaxError> {
    let len = usize::try_from(len).map_err(|_| SyntaxError::Truncated)?;
    let (taken, behind) = rest.split_at_checked(len).ok_or(SyntaxError::Truncated)?;
    *rest = behind;
    Ok(taken)
}

/// Takes a big-endian number of `width` bytes.
fn length(rest: &mut &[u8], width: u64) -> Result<u64, SyntaxError> {
    Ok(take(rest, width)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
}

fn text(rest: &mut &[u8], len: u64, at: usize) -> Result<(), SyntaxError> {
    std::str::from_utf8(take(rest, len)?).map(drop).map_err(|_| SyntaxError::Utf8(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Key, Value};
    use crate::testing::check_texts;

    fn refused(payload: &[u8]) -> SyntaxError {
        *decode_map(payload).unwrap_err().downcast::<SyntaxError>().unwrap()
    }

    #[test]
    fn every_encoding_of_a_value_is_read() {
        let values: [(&[u8], Value); 22] = [
            (b"\x7f", Value::from(127)),
            (b"\xff", Value::from(-1)),
            (b"\xc0", Value::Null),
            (b"\xc2", Value::from(false)),
            (b"\xc3", Value::from(true)),
            (b"\xcc\xff", Value::from(255)),
            (b"\xcd\xff\xff", Value::from(65_535)),
            (b"\xce\xff\xff\xff\xff", Value::from(4_294_967_295)),
            (b"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", Value::from(i64::MAX)),
            (b"\xd0\x80", Value::from(-128)),
            (b"\xd1\x80\0", Value::from(-32_768)),
            (b"\xd2\x80\0\0\0", Value::from(-2_147_483_648)),
            (b"\xd3\x80\0\0\0\0\0\0\0", Value::from(i64::MIN)),
            (b"\xca\x3f\x80\0\0", Value::from(1.0)),
            (b"\xcb\x3f\xf0\0\0\0\0\0\0", Value::from(1.0)),
            (b"\xd9\x01a", Value::from("a")),
            (b"\xda\0\x01a", Value::from("a")),
            (b"\xdb\0\0\0\x01a", Value::from("a")),
            (b"\xc4\x01a", Value::from(b"a".to_vec())),
            (b"\xc5\0\x01a", Value::from(b"a".to_vec())),
            (b"\xc6\0\0\0\x01a", Value::from(b"a".to_vec())),
            (b"\xdc\0\x01\xdf\0\0\0\x01\x01\xde\0\0", {
                Value::from(vec![Value::from(Map::from([(Key::Int(1), Map::new().into())]))])
            }),
        ];
        for (written, value) in values {
            let payload = [b"\x81\x07", written].concat();
            assert_eq!(decode_map(&payload).unwrap(), Map::from([(Key::Int(7), value)]), "{}", written.escape_ascii());
        }
    }

    #[test]
    fn a_string_that_is_not_utf8_is_refused_not_read_as_bytes() {
        assert_eq!(refused(b"\x81\x01\xa1\xff"), SyntaxError::Utf8(2));
        assert_eq!(refused(b"\x81\xd9\x01\xff\x01"), SyntaxError::Utf8(1));
    }

    #[test]
    fn extensions_are_refused() {
        for extension in
            [b"\xd4\x01a".as_slice(), b"\xd8\x0100000000000000000", b"\xc7\x01\x01a", b"\xc9\0\0\0\0\x01", b"\xc1"]
        {
            let payload = [b"\x81\x01", extension].concat();
            assert_eq!(refused(&payload), SyntaxError::Extension { marker: extension[0], at: 2 });
        }
    }

    #[test]
    fn integers_beyond_64_bits_are_refused() {
        assert!(decode_map(b"\x81\x01\xcf\x80\0\0\0\0\0\0\0").is_err());
        assert!(decode_map(b"\x81\xcf\x80\0\0\0\0\0\0\0\x01").is_err());
    }

    #[test]
    fn every_error_has_its_text() {
        check_texts!(SyntaxError {
            Truncated => "it ends inside a value";
            Trailing(3) => "3 bytes after the value";
            Utf8(2) => "the text at byte 2 is not UTF-8";
            Extension { marker: 0xd4, at: 2 } => "the marker 0xd4 at byte 2: extension types are not supported";
        });
    }
}
