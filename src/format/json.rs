//! JSON: one object with the entries of the map.

use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::Format;
use super::error::{Error, Outcome, check_depth};
use super::json_syntax::JsonSyntaxError;
use crate::map::{BEYOND_64_BITS, Budget, Key, Map, MapSeed, Value, ValueSeed};

/// A map whose keys are not unique in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number {0} and the text \"{0}\" would be one key in JSON; rename one of them")]
pub(super) struct OneKey(i64);

pub(super) fn encode_map(map: &Map) -> Outcome<Vec<u8>> {
    check_keys(map)?;
    write(map, CompactFormatter)
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Outcome<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

/// Decodes a map. Of two entries with the same key the last one wins, as in most JSON parsers.
pub(super) fn decode_map(payload: &[u8]) -> Outcome<Map> {
    read(payload, MapSeed::new(&Budget::for_payload(payload.len())))
}

/// Decodes a map that was written for the server: a duplicate key is an error.
pub(super) fn decode_unique_map(json: &[u8]) -> Outcome<Map> {
    read(json, MapSeed::unique(&Budget::for_payload(json.len())))
}

/// Decodes the value of an entry that was written for the server.
pub(super) fn decode_value(json: &[u8]) -> Outcome<Value> {
    read(json, ValueSeed::unique(&Budget::for_payload(json.len())))
}

/// Decodes the whole of `json`.
fn read<'de, S: DeserializeSeed<'de>>(json: &'de [u8], seed: S) -> Outcome<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read = seed.deserialize(&mut deserializer).and_then(|read| deserializer.end().map(|()| read));
    let read = read.map_err(|error| JsonSyntaxError::new(json, &error))?;
    match find_long_integer(json) {
        Some(offset) => Err(JsonSyntaxError::at(json, offset, BEYOND_64_BITS).into()),
        None => Ok(read),
    }
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Outcome<T> {
    Ok(serde_json::from_slice(payload)?)
}

/// Returns `map` as JSON over several lines, indented by two spaces, for people.
///
/// # Errors
/// As [`Format::encode_map`] with JSON.
pub fn pretty(map: &Map) -> Result<String, Error> {
    check_depth(map)?;
    let printed = check_keys(map).map_err(Into::into).and_then(|()| write(map, PrettyFormatter::new()));
    let text = printed.and_then(|json| Ok(String::from_utf8(json)?));
    text.map_err(|source| Error::Encode { format: Format::Json, source })
}

/// Returns the JSON of a map's value or of a part of it, on one line and safe to print.
pub(crate) fn write_value<T: Serialize + ?Sized>(value: &T) -> Outcome<String> {
    Ok(String::from_utf8(write(value, CompactFormatter)?)?)
}

/// Returns the value of `text`; `None` if and only if it is not JSON.
///
/// # Errors
/// If it is JSON that a map cannot contain: nested too deep, an integer beyond 64 bits, or a value that `seed` refuses.
pub(crate) fn parse_value(text: &str, seed: ValueSeed<'_>) -> Result<Option<Value>, serde_json::Error> {
    if !is_json(text) {
        return Ok(None);
    }
    let value = seed.deserialize(&mut serde_json::Deserializer::from_str(text))?;
    check_integers(text.as_bytes())?;
    Ok(Some(value))
}

/// True if and only if `text` is JSON, at any depth: `serde_json` skips ignored values without recursion.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn write<T: Serialize + ?Sized, F: Formatter>(value: &T, formatter: F) -> Outcome<Vec<u8>> {
    let mut json = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut json, Printable(formatter)))?;
    Ok(json)
}

/// Returns an error if the map, or a map in a value, has both an integer and the same integer as a string for keys.
pub(super) fn check_keys(map: &Map) -> Result<(), OneKey> {
    for (key, value) in map {
        if let Key::Int(number) = key
            && map.contains_key(&Key::Text(number.to_string()))
        {
            return Err(OneKey(*number));
        }
        check_value_keys(value)?;
    }
    Ok(())
}

pub(super) fn check_value_keys(value: &Value) -> Result<(), OneKey> {
    match value {
        Value::Map(map) => check_keys(map),
        Value::List(items) => items.iter().try_for_each(check_value_keys),
        _ => Ok(()),
    }
}

/// Returns an error if an integer in `json`, which is valid, is beyond an i64.
fn check_integers(json: &[u8]) -> Result<(), serde_json::Error> {
    match find_long_integer(json) {
        Some(_) => Err(serde_json::Error::custom(BEYOND_64_BITS)),
        None => Ok(()),
    }
}

/// Returns the offset of the first integer in `json`, which is valid, that does not fit an i64: `serde_json` rounds it to a
/// float.
pub(crate) fn find_long_integer(json: &[u8]) -> Option<usize> {
    let mut rest = json;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'"' => after_string(after),
            b'-' | b'0'..=b'9' => {
                let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let len = rest.iter().take_while(|byte| is_number(byte)).count();
                let (number, after) = rest.split_at(len);
                let is_integer = !number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
                if is_integer && std::str::from_utf8(number).is_ok_and(|number| number.parse::<i64>().is_err()) {
                    return Some(json.len() - rest.len());
                }
                after
            }
            _ => after,
        };
    }
    None
}

/// Returns the rest of `json` after the string whose first quote was consumed.
fn after_string(json: &[u8]) -> &[u8] {
    let mut rest = json;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return after,
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return rest,
        };
    }
}

/// A formatter that writes bytes as base64 strings, and also escapes DEL and the C1 controls: JSON allows them, but terminals
/// interpret them (U+009B begins an escape sequence like ESC [).
struct Printable<F>(F);

macro_rules! delegate {
    ($($method:ident($($argument:ident: $type:ty)?);)*) => {
        $(fn $method<W: ?Sized + Write>(&mut self, writer: &mut W $(, $argument: $type)?) -> io::Result<()> {
            self.0.$method(writer $(, $argument)?)
        })*
    };
}

impl<F: Formatter> Formatter for Printable<F> {
    fn write_byte_array<W: ?Sized + Write>(&mut self, writer: &mut W, bytes: &[u8]) -> io::Result<()> {
        write!(writer, "\"{}\"", BASE64_STANDARD.encode(bytes))
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = fragment;
        while let Some(at) = plain.find(char::is_control) {
            let (before, after) = plain.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut after = after.chars();
            after.next().map_or(Ok(()), |control| write!(writer, "\\u{:04x}", u32::from(control)))?;
            plain = after.as_str();
        }
        writer.write_all(plain.as_bytes())
    }

    delegate! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::MAX_DEPTH;

    fn written(map: &Map) -> String {
        String::from_utf8(encode_map(map).unwrap()).unwrap()
    }

    #[test]
    fn bytes_are_base64_strings() {
        assert_eq!(written(&Map::from([("b".into(), Value::from(b"\x00\xff\xfe".to_vec()))])), r#"{"b":"AP/+"}"#);
    }

    #[test]
    fn nan_and_infinity_are_null() {
        let floats = [f64::NAN, f64::INFINITY, 1.0, -0.0, 1e300];
        let list = floats.into_iter().map(Value::Float).collect::<Vec<_>>();
        assert_eq!(written(&Map::from([("f".into(), list.into())])), r#"{"f":[null,null,1.0,-0.0,1e+300]}"#);
    }

    #[test]
    fn control_characters_are_escaped_in_strings() {
        let text = "\u{1b}[2J \u{7f}\u{80}\u{9b}2J\u{9f}\u{a0}ñ\"";
        let map = Map::from([(text.into(), Value::from(vec![Value::from(text)]))]);
        let json = r"\u001b[2J \u007f\u0080\u009b2J\u009f".to_owned() + "\u{a0}ñ\\\"";
        assert_eq!(written(&map), format!("{{\"{json}\":[\"{json}\"]}}"));
        assert_eq!(pretty(&map).unwrap(), format!("{{\n  \"{json}\": [\n    \"{json}\"\n  ]\n}}"));
        assert_eq!(decode_map(written(&map).as_bytes()).unwrap(), map);
    }

    #[test]
    fn keys_that_become_equal_in_json_are_refused() {
        let clash = Map::from([(Key::Int(1), Value::Null), (Key::from("1"), Value::Null)]);
        let nested = Map::from([(Key::Int(1), Value::from(vec![Value::from(clash.clone())]))]);
        for map in [clash, nested] {
            let error = Format::Json.encode_map(&map).unwrap_err();
            assert!(matches!(error, Error::Encode { format: Format::Json, .. }), "{error:?}");
            assert!(matches!(pretty(&map), Err(Error::Encode { .. })));
        }
        assert!(encode_map(&Map::from([(Key::Int(1), Value::Null), (Key::from("01"), Value::Null)])).is_ok());
    }

    #[test]
    fn integer_keys_stay_strings_and_the_last_duplicate_wins() {
        let map = decode_map(br#" {"1": 1, "a": {"2": 1, "2": 2}, "1": 3} "#).unwrap();
        let inner = Map::from([(Key::from("2"), Value::from(2))]);
        assert_eq!(map, Map::from([(Key::from("1"), Value::from(3)), (Key::from("a"), inner.into())]));
    }

    #[test]
    fn a_duplicate_key_in_a_map_for_the_server_is_refused() {
        for (json, place) in [
            (r#"{"a":1,"b":2,"a":1}"#, (1, 16)),
            ("{\"a\":1,\n \"\\u0061\": {}}", (2, 9)),
            (r#"{"a":[{"b":{"\n":1,"\u000a":2}}]}"#, (1, 27)),
        ] {
            let seed = Budget::for_payload(json.len());
            let errors = [
                decode_unique_map(json.as_bytes()).unwrap_err(),
                decode_value(json.as_bytes()).unwrap_err(),
                JsonSyntaxError::new(json.as_bytes(), &parse_value(json, ValueSeed::unique(&seed)).unwrap_err()).into(),
            ];
            for error in errors {
                let error = error.downcast::<JsonSyntaxError>().unwrap();
                assert_eq!((error.line, error.column), place, "{error}");
            }
            assert!(decode_map(json.as_bytes()).is_ok(), "a peer's");
        }
        assert!(decode_unique_map(br#"{"a":{"a":[{"a":1},{"a":2}]},"A":1}"#).is_ok());
    }

    #[test]
    fn integers_beyond_64_bits_are_refused_but_not_floats() {
        for number in
            ["9223372036854775808", "-9223372036854775809", "18446744073709551616", "123456789012345678901234"]
        {
            for json in [format!("{{\"a\":{number}}}"), format!("{{\"\\\"\":[{{\"b\":[1.5,{number}]}}]}}")] {
                assert!(decode_map(json.as_bytes()).is_err(), "{json}");
            }
        }
        for number in
            ["9223372036854775807", "-9223372036854775808", "1e25", "9223372036854775808.0", "\"9223372036854775808\""]
        {
            assert!(decode_map(format!("{{\"a\":{number}}}").as_bytes()).is_ok(), "{number}");
        }
    }

    #[test]
    fn every_integer_beyond_64_bits_has_the_same_message() {
        for number in ["9223372036854775808", "18446744073709551615", "-9223372036854775809", "123456789012345678901"] {
            let errors = [
                decode_map(format!("{{\"a\":{number}}}").as_bytes()).unwrap_err(),
                decode_value(number.as_bytes()).unwrap_err(),
                parse_value(number, ValueSeed::new(&Budget::for_payload(100))).unwrap_err().into(),
            ];
            for error in errors {
                assert!(error.to_string().starts_with(BEYOND_64_BITS), "{number}: {error}");
            }
        }
    }

    #[test]
    fn a_single_value_is_read_like_the_value_of_an_entry() {
        assert_eq!(decode_value(b" [1, \"a\"]\n").unwrap(), Value::from(vec![1.into(), Value::from("a")]));
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(decode_value(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        for text in ["", "a", "1 2", "[1", &nested(MAX_DEPTH)] {
            assert!(decode_value(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_typed_value_follows_the_conventions_of_serde() {
        assert_eq!(encode(&Value::from(vec![1, 2])).unwrap(), b"[1,2]");
        assert_eq!(decode::<Vec<u8>>(b"[1,2]").unwrap(), [1, 2]);
    }
}
