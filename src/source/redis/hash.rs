//! From the fields of a hash to a map.

use super::Error;
use crate::escape::escape_start;
use crate::format;
use crate::map::{Budget, Key, Map, Value};

/// Characters of a field's name that an error shows.
const MAX_NAME: usize = 64;

/// Returns the map of a hash's fields, names and values by turns. Names are texts, whatever they look like, as JSON's are.
/// A value is text; bytes where it is no UTF-8; and where `is_json`, what it is as JSON if it is JSON.
///
/// # Errors
/// `FieldName` and `FieldValue`.
pub(super) fn to_map(flat: Vec<Vec<u8>>, is_json: bool) -> Result<Map, Error> {
    let len = flat.iter().map(Vec::len).sum();
    let budget = Budget::for_payload(len);
    let mut map = Map::new();
    let mut flat = flat.into_iter();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        let name = String::from_utf8(name).map_err(|error| Error::FieldName(shown(&error.to_string())))?;
        let value =
            to_value(value, is_json, &budget).map_err(|source| Error::FieldValue { name: shown(&name), source })?;
        map.insert(Key::Text(name), value);
    }
    Ok(map)
}

fn to_value(value: Vec<u8>, is_json: bool, budget: &Budget) -> Result<Value, serde_json::Error> {
    let text = match String::from_utf8(value) {
        Ok(text) => text,
        Err(error) => return Ok(Value::Bytes(error.into_bytes())),
    };
    let json = if is_json { format::parse_value(&text, budget)? } else { None };
    Ok(json.unwrap_or(Value::Text(text)))
}

fn shown(name: &str) -> String {
    escape_start(name, MAX_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(fields: &[(&str, &[u8])]) -> Vec<Vec<u8>> {
        fields.iter().flat_map(|(name, value)| [name.as_bytes().to_vec(), value.to_vec()]).collect()
    }

    #[test]
    fn names_are_texts_and_values_are_text_or_bytes() {
        let map = to_map(flat(&[("1", b"10"), ("a", b"\xff"), ("", b"")]), false).unwrap();
        let wanted = [("1", "10".into()), ("a", Value::Bytes(vec![0xff])), ("", "".into())];
        assert_eq!(map, wanted.map(|(name, value)| (name.into(), value)).into());
    }

    #[test]
    fn values_that_are_json_are_taken_as_such_where_that_is_wanted() {
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
    fn what_no_map_holds_is_refused_by_its_field() {
        let error = to_map(flat(&[("big\x1b", b"99999999999999999999")]), true).unwrap_err();
        assert!(matches!(&error, Error::FieldValue { name, .. } if name == "big\\u{1b}"), "{error:?}");
        assert!(matches!(to_map(vec![b"\xff".to_vec(), vec![]], false), Err(Error::FieldName(_))));
        assert!(to_map(flat(&[("big", b"99999999999999999999")]), false).is_ok());
    }
}
