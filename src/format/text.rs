//! Text: one line `KEY=VALUE` for each entry.
//!
//! A key is written bare if it is an integer, or a string that is read back as the same string; otherwise as a JSON string. A
//! string value is written bare under the same condition, every other value as JSON on one line; bytes are base64 strings.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Outcome;
use super::json;
use super::json_syntax::JsonSyntaxError;
use crate::map::{Budget, Key, Map, Value, ValueSeed, parse_number};

/// Why a line is not an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// It has no `=`.
    #[error("\"{}\" is not an entry: write KEY=VALUE", .0.escape_debug())]
    NoEquals(String),
    /// It begins with a quote, and its key is not a JSON string followed by `=`.
    #[error("\"{}\" is not an entry: write KEY=VALUE; a key that begins with a quote is a JSON string", .0.escape_debug())]
    Key(String),
    /// The value is JSON that a map cannot contain.
    #[error("the value of \"{}\" cannot be read: write KEY=VALUE, and VALUE as a JSON string if it is text", key.escape_debug())]
    Value {
        /// The key of the entry.
        key: String,
        /// What is wrong with the value.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A line of a payload that is not an entry.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is not an entry")]
struct LineError {
    /// The number of the line, from 1.
    line: usize,
    source: EntryError,
}

pub(super) fn encode_map(map: &Map) -> Outcome<Vec<u8>> {
    let mut lines = String::new();
    for (key, value) in map {
        let key = match key {
            Key::Int(number) => number.to_string(),
            Key::Text(text) if parse_number(text).is_some() => json::write_value(text)?,
            Key::Text(text) => write_key(text)?,
        };
        let value = match value {
            Value::Text(text) => write_text(text)?,
            Value::Bytes(bytes) => write_text(&BASE64_STANDARD.encode(bytes))?,
            _ => {
                json::check_value_keys(value)?;
                json::write_value(value)?
            }
        };
        push_line(&mut lines, &key, &value);
    }
    Ok(end_lines(lines))
}

pub(super) fn decode_map(payload: &[u8]) -> Outcome<Map> {
    let budget = Budget::for_payload(payload.len());
    let mut map = Map::new();
    for (line, text) in lines(payload)? {
        let (key, value) = parse_line(text, ValueSeed::new(&budget)).map_err(|source| LineError { line, source })?;
        map.insert(key, value);
    }
    Ok(map)
}

/// Typed keys are text or numbers that `serde_json` has turned into text; which, the reader's type knows.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Outcome<Vec<u8>> {
    let serde_json::Value::Object(entries) = serde_json::to_value(value)? else {
        return Err("text is for values with named entries: a struct or a map".into());
    };
    let mut lines = String::new();
    for (key, value) in &entries {
        let value = match value {
            serde_json::Value::String(text) => write_text(text)?,
            value => json::write_value(value)?,
        };
        push_line(&mut lines, &write_key(key)?, &value);
    }
    Ok(end_lines(lines))
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Outcome<T> {
    let mut entries = BTreeMap::new();
    for (line, text) in lines(payload)? {
        let (key, _, value) = split_line(text).map_err(|source| LineError { line, source })?;
        let value = if json::is_json(value) { value.into() } else { serde_json::to_string(value)? };
        entries.insert(key, value);
    }
    // Read from text: a tree of serde_json's own values would take 90 times its length in memory.
    let mut object = String::with_capacity(payload.len());
    for (key, value) in entries {
        object.push(if object.is_empty() { '{' } else { ',' });
        object.extend([&serde_json::to_string(&key)?, ":", &value]);
    }
    object.push_str(if object.is_empty() { "{}" } else { "}" });
    Ok(serde_json::from_str(&object)?)
}

/// Returns the entry that a `KEY=VALUE` line is. A key that is an integer as it would be printed is a number; a value
/// that is JSON is that JSON's value, any other is text.
///
/// ```
/// use mapcast::{Key, Value, format::parse_entry};
///
/// assert_eq!(parse_entry("limit=10")?, (Key::from("limit"), Value::Int(10)));
/// assert_eq!(parse_entry("1=Hola")?, (Key::Int(1), Value::from("Hola")));
/// assert_eq!(parse_entry(r#"limit="10""#)?, (Key::from("limit"), Value::from("10")));
/// # Ok::<(), mapcast::format::EntryError>(())
/// ```
///
/// # Errors
/// If it has no `=`, a broken quoted key, or a value that no map holds: nested more than 31 deep, an integer beyond 64
/// bits, or a key that stands twice in one object.
pub fn parse_entry(line: &str) -> Result<(Key, Value), EntryError> {
    parse_line(line, ValueSeed::unique(&Budget::for_payload(line.len())))
}

fn parse_line(line: &str, seed: ValueSeed<'_>) -> Result<(Key, Value), EntryError> {
    let (key, quoted, text) = split_line(line)?;
    let value = match json::parse_value(text, seed) {
        Ok(value) => value.unwrap_or_else(|| text.into()),
        Err(source) => {
            return Err(EntryError::Value {
                key: beginning(&key),
                source: JsonSyntaxError::new(text.as_bytes(), &source).into(),
            });
        }
    };
    let number = if quoted { None } else { parse_number(&key) };
    Ok((number.map_or_else(|| Key::Text(key), Key::Int), value))
}

/// Returns the key, whether it was quoted, and the value as it stands there.
fn split_line(line: &str) -> Result<(String, bool, &str), EntryError> {
    if !line.starts_with('"') {
        let (key, value) = line.split_once('=').ok_or_else(|| EntryError::NoEquals(beginning(line)))?;
        return Ok((key.to_owned(), false, value));
    }
    let mut strings = serde_json::Deserializer::from_str(line).into_iter::<String>();
    let key = strings.next().and_then(Result::ok);
    let value = line.get(strings.byte_offset()..).and_then(|rest| rest.strip_prefix('='));
    let (key, value) = key.zip(value).ok_or_else(|| EntryError::Key(beginning(line)))?;
    Ok((key, true, value))
}

/// Returns the lines that should be entries, numbered from 1: neither blank nor a comment.
fn lines(payload: &[u8]) -> Outcome<impl Iterator<Item = (usize, &str)>> {
    let lines = std::str::from_utf8(payload)?.lines().enumerate();
    Ok(lines
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')))
}

fn push_line(lines: &mut String, key: &str, value: &str) {
    lines.extend([key, "=", value, "\n"]);
}

/// Returns the payload: a blank line where there is no entry, because a frame of length 0 means "nothing changed".
fn end_lines(lines: String) -> Vec<u8> {
    if lines.is_empty() { b"\n".to_vec() } else { lines.into_bytes() }
}

fn write_key(text: &str) -> Outcome<String> {
    let misread = text.is_empty() || text.starts_with('#') || text.contains('=') || !is_plain(text);
    if misread { json::write_value(text) } else { Ok(text.to_owned()) }
}

fn write_text(text: &str) -> Outcome<String> {
    let misread = !is_plain(text)
        || !matches!(json::parse_value(text, ValueSeed::new(&Budget::for_payload(text.len()))), Ok(None));
    if misread { json::write_value(text) } else { Ok(text.to_owned()) }
}

fn is_plain(text: &str) -> bool {
    !text.starts_with('"') && !text.contains(char::is_control) && text.trim() == text
}

/// As much of what came as an error should show.
fn beginning(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_texts;

    fn written(map: &Map) -> String {
        String::from_utf8(encode_map(map).unwrap()).unwrap()
    }

    #[test]
    fn a_string_is_bare_unless_it_is_read_differently() {
        for (text, line) in [
            ("Hola, señor", "k=Hola, señor\n"),
            ("", "k=\n"),
            ("a=b", "k=a=b\n"),
            ("007", "k=007\n"),
            ("{", "k={\n"),
            ("1", "k=\"1\"\n"),
            ("1e5", "k=\"1e5\"\n"),
            ("null", "k=\"null\"\n"),
            ("[1]", "k=\"[1]\"\n"),
            ("99999999999999999999", "k=\"99999999999999999999\"\n"),
            ("\"", "k=\"\\\"\"\n"),
            (" a", "k=\" a\"\n"),
            ("a\u{a0}", "k=\"a\u{a0}\"\n"),
            ("a\nb", "k=\"a\\nb\"\n"),
            ("\u{1b}[2J", "k=\"\\u001b[2J\"\n"),
            ("\u{9b}2J\u{7f}", "k=\"\\u009b2J\\u007f\"\n"),
        ] {
            assert_eq!(written(&Map::from([("k".into(), text.into())])), line);
        }
    }

    #[test]
    fn a_key_is_bare_unless_it_is_read_differently() {
        for (key, line) in [
            (Key::Int(-1), "-1=v\n"),
            (Key::from("-1"), "\"-1\"=v\n"),
            (Key::from("007"), "007=v\n"),
            (Key::from("null"), "null=v\n"),
            (Key::from(""), "\"\"=v\n"),
            (Key::from("a=b"), "\"a=b\"=v\n"),
            (Key::from("#a"), "\"#a\"=v\n"),
            (Key::from("\"a"), "\"\\\"a\"=v\n"),
            (Key::from("a "), "\"a \"=v\n"),
            (Key::from("a\u{9b}"), "\"a\\u009b\"=v\n"),
        ] {
            assert_eq!(written(&Map::from([(key, "v".into())])), line);
        }
    }

    #[test]
    fn other_values_are_json_on_one_line() {
        let list = Value::from(vec![Value::Null, Value::from("a\n"), Value::from(b"\xff".to_vec())]);
        let values = [Value::from(true), Value::from(1.0), Value::from(f64::NAN), Value::from(b"a".to_vec()), list];
        let map = (0..).map(Key::Int).zip(values).collect();
        assert_eq!(written(&map), "0=true\n1=1.0\n2=null\n3=YQ==\n4=[null,\"a\\n\",\"/w==\"]\n");
    }

    #[test]
    fn bytes_whose_base64_is_a_number_are_quoted() {
        let lines = written(&Map::from([("b".into(), Value::from(vec![0xd7, 0x6d, 0xf8]))]));
        assert_eq!(lines, "b=\"1234\"\n");
    }

    #[test]
    fn blank_lines_and_comments_are_skipped() {
        let map = decode_map(b"\n# a=1\r\n  \na=1\r\nb=#2").unwrap();
        assert_eq!(map, Map::from([("a".into(), Value::from(1)), ("b".into(), Value::from("#2"))]));
    }

    #[test]
    fn an_empty_map_is_a_blank_line_and_not_an_empty_payload() {
        assert_eq!(written(&Map::new()), "\n");
        assert_eq!(encode(&Map::new()).unwrap(), b"\n");
        assert_eq!(decode_map(b"\n").unwrap(), Map::new());
    }

    #[test]
    fn an_invalid_line_is_an_error_with_its_number() {
        for (payload, line) in [
            ("a=1\n\nb\n", 3),
            ("\"a=1", 1),
            ("\"a\" =1", 1),
            ("a=18446744073709551615", 1),
            ("a=123456789012345678901234", 1),
        ] {
            let error = decode_map(payload.as_bytes()).unwrap_err().downcast::<LineError>().unwrap();
            assert_eq!(error.line, line, "{payload}");
        }
        assert!(decode_map(b"a=\xff").is_err());
    }

    #[test]
    fn an_invalid_entry_is_refused_with_its_fault() {
        for entry in ["", "a", "\u{1b}[2J"] {
            assert!(matches!(parse_entry(entry), Err(EntryError::NoEquals(text)) if text == entry), "{entry}");
        }
        for entry in ["\"a=1", "\"a\""] {
            assert!(matches!(parse_entry(entry), Err(EntryError::Key(text)) if text == entry), "{entry}");
        }
        for entry in ["a=9223372036854775808", "a=1e999"] {
            assert!(matches!(parse_entry(entry), Err(EntryError::Value { key, .. }) if key == "a"), "{entry}");
        }
        assert_eq!(parse_entry("=").unwrap(), (Key::from(""), Value::from("")));
        assert_eq!(parse_entry("a=[1, 2").unwrap(), (Key::from("a"), Value::from("[1, 2")));
        assert_eq!(parse_entry("a=18446744073709551615 x").unwrap().1, Value::from("18446744073709551615 x"));
        assert_eq!(parse_entry("\"1\"={\"b\":1}").unwrap().0, Key::from("1"));
    }

    #[test]
    fn only_types_with_named_entries_are_encoded_as_text() {
        assert!(encode(&[1, 2]).is_err());
        assert!(encode(&7).is_err());
        let typed = BTreeMap::from([(1, "1"), (2, "Hola")]);
        assert_eq!(encode(&typed).unwrap(), b"1=\"1\"\n2=Hola\n");
    }

    #[test]
    fn every_error_has_its_text() {
        let line = LineError { line: 3, source: EntryError::NoEquals("b".to_owned()) };
        assert_eq!(line.to_string(), "line 3 is not an entry");
        check_texts!(EntryError {
            NoEquals("\x1b".to_owned()) => "\"\\u{1b}\" is not an entry: write KEY=VALUE";
            Key("\"a".to_owned()) =>
                "\"\\\"a\" is not an entry: write KEY=VALUE; a key that begins with a quote is a JSON string";
            Value { key: "a".to_owned(), source: line.into() } =>
                "the value of \"a\" cannot be read: write KEY=VALUE, and VALUE as a JSON string if it is text";
        });
    }
}
