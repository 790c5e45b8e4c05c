//! The map as other programs receive it: as in JSON, with string keys, base64 for bytes and null for NaN.

use std::collections::BTreeSet;

use mapcast::{Format, Map, format};
use serde_json::Value;

/// The map's entries as JSON.
pub(super) type Object = serde_json::Map<String, Value>;

/// Returns `map` as JSON.
///
/// # Errors
/// If two keys become the same: `1` and `"1"`.
pub(super) fn object(map: &Map) -> Result<Object, format::Error> {
    let json = Format::Json.encode_map(map)?;
    serde_json::from_slice(&json).map_err(|error| format::Error::Encode { format: Format::Json, source: error.into() })
}

/// Returns a value as text: a string as it is, nothing for null, JSON for all else.
pub(super) fn to_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Returns the entries that can be environment variables, as text, in order: the key is a valid name (letters, digits
/// and `_`, no digit first), the value is not null, contains no NUL and is at most 100,000 bytes long.
pub(super) fn variables(object: &Object) -> Vec<(&str, String)> {
    let entries = object.iter().filter(|(key, value)| is_name(key) && !value.is_null());
    let words = entries.map(|(key, value)| (key.as_str(), to_text(value)));
    words.filter(|(_, to_text)| to_text.len() <= MAX_VARIABLE && !to_text.contains('\0')).collect()
}

/// Returns the keys of the entries that are not in `variables`, except those with a null value.
pub(super) fn skipped<'o>(object: &'o Object, variables: &[(&str, String)]) -> Vec<&'o str> {
    let names: BTreeSet<&str> = variables.iter().map(|(name, _)| *name).collect();
    let left = object.iter().filter(|(key, value)| !value.is_null() && !names.contains(key.as_str()));
    left.map(|(key, _)| key.as_str()).collect()
}

/// The longest value, in bytes. Linux accepts 131,072 for a variable with its name (`MAX_ARG_STRLEN` of execve(2)).
const MAX_VARIABLE: usize = 100_000;

fn is_name(key: &str) -> bool {
    !key.starts_with(|first: char| first.is_ascii_digit())
        && !key.is_empty()
        && key.len() <= MAX_VARIABLE / 10
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_variables_are_returned_and_the_rest_is_skipped() {
        let entries =
            r#"{"A_1":"x y","_n":1.5,"b":true,"list":[1,"a"],"gone":null,"1":"x","a-b":"x","":"x","nul":"\u0000"}"#;
        let object: Object = serde_json::from_str(entries).unwrap();
        let found = variables(&object);
        let wanted = [("A_1", "x y"), ("_n", "1.5"), ("b", "true"), ("list", "[1,\"a\"]")];
        assert_eq!(found, wanted.map(|(name, to_text)| (name, to_text.to_owned())));
        assert_eq!(skipped(&object, &found), ["", "1", "a-b", "nul"]);
    }

    #[test]
    fn a_value_longer_than_the_system_allows_is_skipped() {
        let object = Object::from_iter([("x".to_owned(), "y".repeat(MAX_VARIABLE + 1).into())]);
        assert_eq!(variables(&object), []);
    }
}
