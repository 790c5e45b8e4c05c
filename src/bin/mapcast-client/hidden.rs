//! Invisible characters, which change the text around them unnoticed.

use std::fmt::Write;

use mapcast::{Format, Key, Map, Value, format};

/// The first and the last of each range of format characters (general category Cf of Unicode 16.0, which includes
/// bidirectional controls), and the line and paragraph separators (Zl, Zp).
const HIDDEN: [(char, char); 21] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// True if and only if `character` is a control or format character, or a line or paragraph separator. A line feed is
/// not hidden: it ends the lines of the output.
fn is_hidden(character: char) -> bool {
    let in_range = |(first, last): &(char, char)| (*first..=*last).contains(&character);
    (character.is_control() && character != '\n') || HIDDEN.iter().any(in_range)
}

/// Returns `json` with each hidden character in its strings as `\uXXXX`: the same data.
pub(crate) fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if is_hidden(character) {
            // Writing to a string cannot fail.
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Returns `lines`, in the format `text`, with key and value of each line that contains a hidden character written as
/// JSON. The format reads this back as the same data.
///
/// # Errors
/// If a line is not an entry.
pub(crate) fn escape_lines(lines: &str) -> anyhow::Result<String> {
    let mut escaped = String::with_capacity(lines.len());
    for line in lines.split_inclusive('\n') {
        let Some(entry) = line.strip_suffix('\n').filter(|entry| entry.contains(is_hidden)) else {
            escaped.push_str(line);
            continue;
        };
        let (key, value) = format::parse_entry(entry)?;
        let key = match key {
            Key::Int(number) => number.to_string(),
            Key::Text(text) => serde_json::Value::from(text).to_string(),
        };
        escaped.extend([&escape_json(&key), "=", &to_json(value)?, "\n"]);
    }
    Ok(escaped)
}

/// Returns `value` as JSON on one line, with each hidden character as `\uXXXX`.
///
/// # Errors
/// If a map in it has two keys that JSON cannot distinguish.
pub(crate) fn to_json(value: Value) -> Result<String, format::Error> {
    let entry = Format::Json.encode_map(&Map::from([("".into(), value)]))?;
    // Without the surrounding `{"":` and `}`.
    let entry = String::from_utf8_lossy(&entry);
    let json = entry.strip_prefix("{\"\":").and_then(|entry| entry.strip_suffix('}')).unwrap_or_default();
    Ok(escape_json(json))
}

/// Returns `text` as it is, or as JSON if it contains a hidden character or a line feed.
pub(crate) fn show(text: &str) -> String {
    if text.contains(|character| is_hidden(character) || character == '\n') {
        return escape_json(&serde_json::Value::from(text).to_string());
    }
    text.to_owned()
}

/// Returns a key as one word: as JSON if it is empty or contains a space, a quote or a hidden character.
pub(crate) fn show_key(key: &Key) -> String {
    let text = key.to_string();
    if text.is_empty() || text.contains(|character: char| character.is_whitespace() || character == '"') {
        return escape_json(&serde_json::Value::from(text).to_string());
    }
    show(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind: a bidirectional override, isolates, marks, zero width, separators, a tag, C0, C1, DEL.
    const HOSTILE: &str = "\u{202e}\u{2066}\u{2069}\u{200f}\u{61c}\u{200b}\u{200d}\u{feff}\u{2028}\u{2029}\u{e0041}\u{ad}\u{9b}\u{7f}\u{1b}";

    #[test]
    fn escaping_hidden_characters_keeps_the_json_data() {
        for json in [
            format!("{{\"{}\": [\"a\"]}}", &HOSTILE[..HOSTILE.len() - 1]),
            "{\n  \"ñ日😀é\u{a0}\u{301}\": 1\n}".to_owned(),
        ] {
            let escaped = escape_json(&json);
            assert!(!escaped.contains(is_hidden), "{escaped:?}");
            assert_eq!(
                Format::Json.decode_map(escaped.as_bytes()).unwrap(),
                Format::Json.decode_map(json.as_bytes()).unwrap()
            );
        }
        assert_eq!(escape_json("\u{202e}\u{e0041}"), "\\u202e\\udb40\\udc41");
        let shown = "ñ日😀é\u{a0}\u{301}\n";
        assert_eq!(escape_json(shown), shown);
    }

    #[test]
    fn escaping_hidden_characters_keeps_the_text_data() {
        let values = [Value::from(HOSTILE), "10\u{200b}".into(), vec![Value::from(HOSTILE)].into(), "plain".into()];
        let keys = [Key::Int(7), HOSTILE.into(), "7".into(), "a=\u{2066}".into(), "".into(), "plain".into()];
        for value in values {
            let map: Map = keys.iter().map(|key| (key.clone(), value.clone())).collect();
            let lines = String::from_utf8(Format::Text.encode_map(&map).unwrap()).unwrap();
            let escaped = escape_lines(&lines).unwrap();
            assert!(!escaped.contains(is_hidden), "{escaped:?}");
            assert_eq!(escaped.lines().count(), keys.len());
            assert_eq!(Format::Text.decode_map(escaped.as_bytes()).unwrap(), map, "{escaped}");
        }
        assert_eq!(escape_lines("7=a\u{202e}\nb=c\n").unwrap(), "7=\"a\\u202e\"\nb=c\n");
        assert_eq!(escape_lines("\n").unwrap(), "\n");
    }
}
