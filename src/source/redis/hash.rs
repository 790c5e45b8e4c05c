//! Converts the reply to HGETALL to a map.

use std::collections::btree_map::Entry;

use redis::Value as Reply;

use super::error::Error;
use crate::display::escape::escape_start;
use crate::format;
use crate::map::{Budget, Key, Map, Value, ValueSeed};

/// The most characters of a field's name in an error.
const MAX_NAME: usize = 64;

/// A name and a value.
type Field = (Vec<u8>, Vec<u8>);

/// Returns the fields in `reply`, the reply to HGETALL: an array of bulk strings, names and values in turn. Any other reply is
/// not from Redis, or was damaged on the way.
///
/// # Errors
/// `Malformed`.
pub(super) fn fields(reply: Reply) -> Result<Vec<Field>, Error> {
    let Reply::Array(elements) = reply else { return Err(Error::Malformed("not an array".to_owned())) };
    if elements.len() % 2 != 0 {
        return Err(Error::Malformed(format!("{} elements, an odd number", elements.len())));
    }
    let mut elements = elements.into_iter().map(|element| match element {
        Reply::BulkString(bytes) => Ok(bytes),
        _ => Err(Error::Malformed("an element that is not a bulk string".to_owned())),
    });
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (elements.next(), elements.next()) {
        fields.push((name?, value?));
    }
    Ok(fields)
}

/// Returns the map of `fields`. Names are strings, also if they look like numbers, as in JSON. A value is a string, or bytes
/// if it is not UTF-8; with `is_json` it is the JSON value if it is valid JSON.
///
/// # Errors
/// `FieldName`, `FieldValue`, and `Malformed` for a duplicate name, which a hash cannot have.
pub(super) fn to_map(fields: Vec<Field>, is_json: bool) -> Result<Map, Error> {
    let len = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    let budget = Budget::for_payload(len);
    let mut map = Map::new();
    for (name, value) in fields {
        let name = String::from_utf8(name).map_err(|error| Error::FieldName(shown(&error.to_string())))?;
        let value =
            to_value(value, is_json, &budget).map_err(|source| Error::FieldValue { name: shown(&name), source })?;
        match map.entry(Key::Text(name)) {
            Entry::Vacant(free) => _ = free.insert(value),
            Entry::Occupied(taken) => {
                return Err(Error::Malformed(format!("the field {} twice", shown(&taken.key().to_string()))));
            }
        }
    }
    Ok(map)
}

fn to_value(value: Vec<u8>, is_json: bool, budget: &Budget) -> Result<Value, serde_json::Error> {
    let text = match String::from_utf8(value) {
        Ok(text) => text,
        Err(error) => return Ok(Value::Bytes(error.into_bytes())),
    };
    let json = if is_json { format::parse_value(&text, ValueSeed::unique(budget))? } else { None };
    Ok(json.unwrap_or(Value::Text(text)))
}

fn shown(name: &str) -> String {
    escape_start(name, MAX_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(fields: &[(&str, &[u8])]) -> Vec<Field> {
        fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
    }

    fn bulk(bytes: &[u8]) -> Reply {
        Reply::BulkString(bytes.to_vec())
    }

    #[test]
    fn only_pairs_of_bulk_strings_are_fields() {
        let both = Reply::Array(vec![bulk(b"a"), bulk(b"\xff")]);
        assert_eq!(fields(both).unwrap(), [(b"a".to_vec(), b"\xff".to_vec())]);
        assert_eq!(fields(Reply::Array(vec![])).unwrap(), []);
        for (reply, wanted) in [
            (Reply::Array(vec![bulk(b"a")]), "1 elements, an odd number"),
            (Reply::Array(vec![bulk(b"a"), bulk(b"1"), bulk(b"b")]), "3 elements, an odd number"),
            (Reply::Array(vec![bulk(b"a"), Reply::Nil]), "an element that is not a bulk string"),
            (Reply::Array(vec![bulk(b"a"), Reply::Int(1)]), "an element that is not a bulk string"),
            (
                Reply::Array(vec![Reply::SimpleString("a".to_owned()), bulk(b"1")]),
                "an element that is not a bulk string",
            ),
            (Reply::Array(vec![bulk(b"a"), Reply::Array(vec![bulk(b"1")])]), "an element that is not a bulk string"),
            (Reply::Map(vec![(bulk(b"a"), bulk(b"1"))]), "not an array"),
            (Reply::Nil, "not an array"),
            (bulk(b"a"), "not an array"),
            (Reply::Okay, "not an array"),
        ] {
            let error = fields(reply).unwrap_err();
            assert!(matches!(&error, Error::Malformed(why) if why == wanted), "{error:?}");
        }
    }

    #[test]
    fn a_duplicate_field_is_refused() {
        let error = to_map(flat(&[("a\n", b"1"), ("b", b"2"), ("a\n", b"1")]), false).unwrap_err();
        assert!(matches!(&error, Error::Malformed(why) if why == "the field a\\n twice"), "{error:?}");
    }

    #[test]
    fn names_are_strings_and_values_strings_or_bytes() {
        let map = to_map(flat(&[("1", b"10"), ("a", b"\xff"), ("", b"")]), false).unwrap();
        let wanted = [("1", "10".into()), ("a", Value::Bytes(vec![0xff])), ("", "".into())];
        assert_eq!(map, wanted.map(|(name, value)| (name.into(), value)).into());
    }

    #[test]
    fn with_json_values_that_are_json_are_parsed() {
        let fields =
            flat(&[("n", b"10"), ("t", b"true"), ("l", b"[1,\"x\"]"), ("s", b"\"10\""), ("p", b"plain"), ("e", b"")]);
        let map = to_map(fields, true).unwrap();
        let wanted = [
            ("n", 10.into()),
            ("t", true.into()),
            ("l", vec![Value::from(1), "x".into()].into()),
            ("s", "10".into()),
            ("p", "plain".into()),
            ("e", "".into()),
        ];
        assert_eq!(map, wanted.map(|(name, value)| (name.into(), value)).into());
    }

    #[test]
    fn an_invalid_name_or_value_is_refused_with_its_field() {
        let error = to_map(flat(&[("big\x1b", b"99999999999999999999")]), true).unwrap_err();
        assert!(matches!(&error, Error::FieldValue { name, .. } if name == "big\\u{1b}"), "{error:?}");
        assert!(matches!(to_map(vec![(b"\xff".to_vec(), vec![])], false), Err(Error::FieldName(_))));
        assert!(to_map(flat(&[("big", b"99999999999999999999")]), false).is_ok());
    }
}
