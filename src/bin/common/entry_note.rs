//! Values of `KEY=VALUE` that were probably meant otherwise.

use mapcast::{Key, Value};

/// Returns a warning if the text `value` of the entry `key` was probably meant to be JSON, or the key is empty. `word` is
/// what was typed.
pub(crate) fn note(word: &str, key: &Key, value: &Value) -> Option<String> {
    let name = key.to_string();
    if name.is_empty() {
        return Some("the key is empty; write KEY=VALUE".to_owned());
    }
    let Value::Text(text) = value else { return None };
    // A value that was a JSON string is not the end of the word.
    if !word.ends_with(&format!("={text}")) {
        return None;
    }
    let (name, shown) = (name.escape_debug().to_string(), text.escape_debug().to_string());
    let lower = text.to_lowercase();
    if text.starts_with(['{', '[', '"']) {
        let why = "begins like JSON and is not valid JSON: it is set as text";
        return Some(format!(
            "the value of {name} {why}; JSON has keys and texts in double quotes: {name}='{EXAMPLE}'"
        ));
    }
    if ["true", "false", "null"].contains(&lower.as_str()) {
        return Some(format!("the value of {name} is the text {shown}; for the JSON value write {name}={lower}"));
    }
    (lower == "none").then(|| format!("the value of {name} is the text {shown}; for no value write {name}=null"))
}

/// An object as a shell passes it.
const EXAMPLE: &str = "{\"a\":1}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_looks_like_json_has_a_note() {
        let noted = |word: &str| {
            let (key, value) = mapcast::format::parse_entry(word).unwrap();
            note(word, &key, &value).unwrap_or_default()
        };
        for (word, wanted) in [
            ("bad={a:1}", "is not valid JSON"),
            ("a=[1,", "is not valid JSON"),
            ("a=\"b", "is not valid JSON"),
            ("t=True", "write t=true"),
            ("t=None", "write t=null"),
            ("=bar", "the key is empty"),
        ] {
            assert!(noted(word).contains(wanted), "{word}: {}", noted(word));
        }
        for word in ["a=1", "a=true", "a=text", "a=", "a=\"{\"", "a={\"b\":1}", "a=\"True\""] {
            assert_eq!(noted(word), "", "{word}");
        }
    }
}
