//! `KEY=VALUE` words.

use mapcast::{Key, Value, format};

/// A word of `set`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(super) key: Key,
    pub(super) value: Value,
    /// True if and only if the value is text that begins like JSON.
    pub(super) looks_like_json: bool,
}

/// Parses `KEY=VALUE`, as `--set` of the server does. The key is text: over HTTP a number has no other form.
pub(super) fn parse_entry(text: &str) -> Result<Entry, format::EntryError> {
    let (key, value) = format::parse_entry(text)?;
    // A value that was a JSON string is not the end of the word.
    let looks_like_json = matches!(&value, Value::Text(value)
        if value.starts_with(['{', '[', '"']) && text.ends_with(&format!("={value}")));
    Ok(Entry { key: Key::from(key.to_string()), value, looks_like_json })
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
            let wanted = Entry { key: key.into(), value, looks_like_json };
            assert_eq!(parse_entry(text).unwrap(), wanted, "{text}");
        }
        assert!(parse_entry("a").unwrap_err().to_string().contains("write KEY=VALUE"));
    }
}
