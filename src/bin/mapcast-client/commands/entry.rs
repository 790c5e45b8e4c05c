//! `KEY=VALUE` words.

use mapcast::{Key, Value, format};

use crate::entry_note;

/// A word of `set`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(super) key: Key,
    pub(super) value: Value,
    /// A warning if it was probably meant otherwise.
    pub(super) note: Option<String>,
}

/// Parses `KEY=VALUE`, as `--set` of the server does. The key is text: over HTTP a number has no other form.
pub(super) fn parse_entry(text: &str) -> Result<Entry, format::EntryError> {
    let (key, value) = format::parse_entry(text)?;
    let note = entry_note::note(text, &key, &value);
    Ok(Entry { key: Key::from(key.to_string()), value, note })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_json_or_text() {
        for (text, key, value, looks_like_json) in [
            ("a=1", "a", Value::Int(1), false),
            ("1=Hola", "1", "Hola".into(), false),
            ("a=\"1\"", "a", "1".into(), false),
            ("a=\"{\"", "a", "{".into(), false),
            ("a=\"\\\"\"", "a", "\"".into(), false),
            ("a=\"b", "a", "\"b".into(), true),
            ("a={b: 1}", "a", "{b: 1}".into(), true),
            ("a=", "a", "".into(), false),
        ] {
            let entry = parse_entry(text).unwrap();
            assert_eq!((entry.key, entry.value), (key.into(), value), "{text}");
            assert_eq!(entry.note.is_some(), looks_like_json, "{text}");
        }
        assert!(parse_entry("a").unwrap_err().to_string().contains("write KEY=VALUE"));
    }
}
