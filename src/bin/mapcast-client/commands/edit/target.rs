//! What is edited: the whole map, or one entry.

use std::error::Error;

use mapcast::{Format, Key, Map, Value, format};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::commands::http::{HttpClient, Request};
use crate::commands::map_access::{Written, replace, write};
use crate::hidden::{escape_json, show_key};
use crate::selection::MissingKey;

/// The whole map, or the entry with this key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    Map,
    Entry(Key),
}

impl Target {
    /// # Errors
    /// If `map` lacks the entry.
    pub(super) fn new(key: Option<String>, map: &Map) -> Result<Self, MissingKey> {
        match key {
            None => Ok(Self::Map),
            Some(key) if map.contains_key(&Key::from(key.as_str())) => Ok(Self::Entry(key.into())),
            Some(key) => Err(MissingKey::new(&key)),
        }
    }

    /// Returns the name of the file for the editor.
    pub(super) fn file_name(&self) -> String {
        let Self::Entry(key) = self else { return "map.json".to_owned() };
        let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
        key.to_string().chars().take(40).map(plain).collect::<String>() + ".json"
    }

    /// Returns the first line of the file.
    pub(super) fn title(&self, client: &HttpClient) -> String {
        let server = client.url.authority();
        match self {
            Self::Map => format!("The map of {server}"),
            Self::Entry(key) => format!("The entry {} of {server}", show_key(key)),
        }
    }

    /// Returns the JSON to edit, over several lines.
    pub(super) fn text(&self, map: &Map) -> Result<String, format::Error> {
        let encode = |error: serde_json::Error| format::Error::Encode { format: Format::Json, source: error.into() };
        let json = match self {
            Self::Map => format::pretty(map)?,
            Self::Entry(key) => serde_json::to_string_pretty(map.get(key).unwrap_or(&Value::Null)).map_err(encode)?,
        };
        Ok(escape_json(&json) + "\n")
    }

    /// Returns the map that `base` becomes with the edited `json`.
    ///
    /// # Errors
    /// What is wrong with `json`, and where.
    pub(super) fn parse(&self, json: &str, base: &Map) -> Result<Map, String> {
        let decode = |json: &str| {
            Format::Json.decode_map(json.as_bytes()).map_err(|error| {
                let cause = error.source().map(ToString::to_string);
                cause.unwrap_or_else(|| error.to_string())
            })
        };
        let Self::Entry(key) = self else { return decode(json) };
        // An object around the value moves no line, and columns of the first line only.
        let mut parsed = decode(&format!("{{\"\":{json}}}"))?;
        let value = parsed.remove(&Key::from(""));
        let Some(value) = value.filter(|_| parsed.is_empty()) else {
            return Err("write one JSON value".to_owned());
        };
        let mut map = base.clone();
        map.insert(key.clone(), value);
        Ok(map)
    }

    /// True if and only if no other writer has changed what is edited.
    pub(super) fn is_untouched(&self, base: &Map, newest: &Map) -> bool {
        matches!(self, Self::Entry(key) if base.get(key) == newest.get(key))
    }

    /// Writes `json` if the map is still the version `etag`.
    pub(super) fn write(&self, client: &HttpClient, json: &str, etag: &str) -> anyhow::Result<Written> {
        let Self::Entry(key) = self else { return replace(client, json.as_bytes(), etag) };
        let path = format!("/map/{}", utf8_percent_encode(&key.to_string(), NON_ALPHANUMERIC));
        write(client, Request { method: "PUT", path: &path, if_match: Some(etag), body: Some(json.as_bytes()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> Map {
        Format::Json.decode_map(json.as_bytes()).unwrap()
    }

    fn entry(key: &str) -> Target {
        Target::Entry(key.into())
    }

    #[test]
    fn the_text_of_a_map_and_of_an_entry_is_parsed_to_the_same() {
        let base = map(r#"{"a":{"b":[1,"\u202e"]},"n":1}"#);
        for target in [Target::Map, entry("a"), entry("n")] {
            let text = target.text(&base).unwrap();
            assert!(!text.contains('\u{202e}'), "{text}");
            assert_eq!(target.parse(&text, &base).unwrap(), base, "{text}");
        }
        assert_eq!(entry("n").parse("\n\n\n[2]", &base).unwrap(), map(r#"{"a":{"b":[1,"\u202e"]},"n":[2]}"#));
    }

    #[test]
    fn a_syntax_error_is_named_with_its_line() {
        let base = map(r#"{"n":1}"#);
        for (target, json, wanted) in [
            (Target::Map, "\n\n\n{\n  \"n\": 1,\n}", "line 6, column 1"),
            (entry("n"), "\n\n\n[1,\n2,]", "line 5, column 3"),
            (entry("n"), "1,\"x\":2", "write one JSON value"),
            (entry("n"), "", "line 1"),
        ] {
            let problem = target.parse(json, &base).unwrap_err();
            assert!(problem.contains(wanted) && !problem.contains('\n'), "{problem}");
        }
    }

    #[test]
    fn a_file_is_named_after_its_entry() {
        assert_eq!(Target::Map.file_name(), "map.json");
        assert_eq!(entry("../sensor 1").file_name(), "___sensor_1.json");
    }

    #[test]
    fn a_missing_entry_cannot_be_edited() {
        let base = map(r#"{"n":1}"#);
        assert_eq!(Target::new(Some("n".to_owned()), &base).unwrap(), entry("n"));
        assert_eq!(Target::new(Some("x".to_owned()), &base), Err(MissingKey::new("x")));
    }
}
