//! JSON merge patch (RFC 7396): a change to a map, written as a map.

use super::{Key, Map, Value, parse_number};

/// Applies `patch` to `target` (RFC 7396, section 2): a null removes the entry with its key, a map is merged into the map
/// with its key, and any other value replaces the old one.
///
/// Recurses to the depth of `patch`, which its decoder limits to [`MAX_DEPTH`](super::MAX_DEPTH), whatever the depth of
/// `target`.
pub(crate) fn merge(target: &mut Map, patch: Map) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(&key);
            }
            Value::Map(patch) => {
                let mut inner = match target.remove(&key) {
                    Some(Value::Map(inner)) => inner,
                    _ => Map::new(),
                };
                merge(&mut inner, patch);
                target.insert(key, Value::Map(inner));
            }
            value => {
                target.insert(key, value);
            }
        }
    }
}

/// Converts each key, at every depth, that is an integer in its canonical form ([`parse_number`]) to an integer: JSON has no
/// integer keys. If a map has both an integer and the same integer as a string, the entry of the string stays; a map from
/// JSON never has both.
pub(crate) fn number_keys(map: Map) -> Map {
    map.into_iter().map(|(key, value)| (number_key(key), number_keys_in(value))).collect()
}

/// As [`number_keys`], for every map in `value`.
pub(crate) fn number_keys_in(value: Value) -> Value {
    match value {
        Value::Map(map) => Value::Map(number_keys(map)),
        Value::List(items) => Value::List(items.into_iter().map(number_keys_in).collect()),
        value => value,
    }
}

/// Returns `key` as an integer if [`parse_number`] accepts it, otherwise `key` unchanged.
pub(crate) fn number_key(key: Key) -> Key {
    match &key {
        Key::Text(text) => parse_number(text).map_or(key, Key::Int),
        Key::Int(_) => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use proptest::prelude::*;

    fn map(json: &str) -> Map {
        Format::Json.decode_map(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    fn merged(target: &str, patch: &str) -> Map {
        let mut target = map(target);
        merge(&mut target, map(patch));
        target
    }

    /// RFC 7396, appendix A: original, patch, result. Without the patches that are not objects: the decoder rejects them.
    /// An original that is not an object is the value of an entry here.
    const APPENDIX_A: [(&str, &str, &str); 11] = [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        (r#"{"x":[1,2]}"#, r#"{"x":{"a":"b","c":null}}"#, r#"{"x":{"a":"b"}}"#),
        (r"{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ];

    #[test]
    fn the_examples_of_the_rfc_have_the_expected_results() {
        for (target, patch, result) in APPENDIX_A {
            assert_eq!(merged(target, patch), map(result), "{target} with {patch}");
        }
    }

    #[test]
    fn a_patch_replaces_whole_lists_and_keeps_their_nulls() {
        assert_eq!(merged(r#"{"a":["b"]}"#, r#"{"a":["c",null]}"#), map(r#"{"a":["c",null]}"#));
    }

    #[test]
    fn keys_in_integer_form_become_integers_at_every_depth() {
        let numbered = number_keys(map(r#"{"1":{"-2":[{"03":0,"4":0}]},"x":0,"99999999999999999999":0}"#));
        let inner = Map::from([(Key::from("03"), 0.into()), (Key::Int(4), 0.into())]);
        let one = Map::from([(Key::Int(-2), Value::from(vec![Value::from(inner)]))]);
        let wanted = Map::from([
            (Key::Int(1), one.into()),
            (Key::from("x"), 0.into()),
            (Key::from("99999999999999999999"), 0.into()),
        ]);
        assert_eq!(numbered, wanted);
    }

    #[test]
    fn a_patch_with_string_keys_changes_integer_keys() {
        let mut target = super::super::builtin();
        merge(&mut target, number_keys(map(r#"{"1":"Hello","2":null}"#)));
        let wanted = [(Key::Int(1), "Hello".into()), (Key::Int(3), "Al".into()), (Key::Int(4), "Servidor".into())];
        assert_eq!(target, Map::from(wanted));
    }

    /// Maps with few keys, so that targets and patches share some.
    fn any_map() -> impl Strategy<Value = Map> {
        let plain =
            prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::Int), any::<bool>().prop_map(Value::Bool)];
        let value = plain.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
                prop::collection::btree_map("[a-c]".prop_map(Key::Text), inner, 0..4).prop_map(Value::Map),
            ]
        });
        prop::collection::btree_map("[a-c]".prop_map(Key::Text), value, 0..4)
    }

    /// The pseudo-code of RFC 7396, section 2.
    fn merge_as_the_rfc_says(target: Option<Value>, patch: Value) -> Value {
        let Value::Map(patch) = patch else { return patch };
        let mut result = match target {
            Some(Value::Map(map)) => map,
            _ => Map::new(),
        };
        for (name, value) in patch {
            if value == Value::Null {
                result.remove(&name);
            } else {
                let merged = merge_as_the_rfc_says(result.get(&name).cloned(), value);
                result.insert(name, merged);
            }
        }
        Value::Map(result)
    }

    proptest! {
        #[test]
        fn every_patch_follows_the_rfc_and_is_idempotent(target in any_map(), patch in any_map()) {
            let mut once = target.clone();
            merge(&mut once, patch.clone());
            prop_assert_eq!(Value::Map(once.clone()), merge_as_the_rfc_says(Some(Value::Map(target)), Value::Map(patch.clone())));
            let mut twice = once.clone();
            merge(&mut twice, patch);
            prop_assert_eq!(twice, once);
        }
    }
}
