//! The content of the file.

use anyhow::bail;
use clap::ValueEnum;
use mapcast::{Map, format};
use serde_json::Value;

use super::env_file;
use super::log_once::list;
use super::object::{Object, object};
use super::template_file::TemplateFile;

/// The formats of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// JSON over several lines, indented
    Json,
    /// TOML; null entries are omitted
    Toml,
    /// One KEY=VALUE line for each key that is a valid variable name, quoted for shells and systemd
    Env,
}

/// How the content is generated.
#[derive(Debug)]
pub(crate) enum Rendering {
    Format(FileFormat),
    Template(TemplateFile),
}

/// The content, and what it lacks.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) bytes: Vec<u8>,
    /// The keys of entries that the format cannot represent.
    pub(super) skipped: Vec<String>,
}

impl FileFormat {
    /// Returns the format for a file name, if its suffix is known.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        let suffixes = [(".json", Self::Json), (".toml", Self::Toml), (".env", Self::Env)];
        suffixes.into_iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, format)| format)
    }
}

impl Rendering {
    /// Returns the content for `map`.
    ///
    /// # Errors
    /// If `map` cannot be represented: two keys become the same, TOML gets a null in a list, or the map lacks an entry
    /// of the template.
    pub(super) fn render(&mut self, map: &Map) -> anyhow::Result<Rendered> {
        let whole = |text: String| Rendered { bytes: text.into_bytes(), skipped: Vec::new() };
        Ok(match self {
            Self::Format(FileFormat::Json) => whole(format::pretty(map)? + "\n"),
            Self::Format(FileFormat::Toml) => whole(render_toml(object(map)?)?),
            Self::Format(FileFormat::Env) => {
                let (file, skipped) = env_file::render(&object(map)?);
                Rendered { bytes: file.into_bytes(), skipped }
            }
            Self::Template(template) => whole(template.newest().render(&object(map)?)?),
        })
    }
}

fn render_toml(object: Object) -> anyhow::Result<String> {
    if let Some((key, _)) = object.iter().find(|(_, value)| has_null_in_list(value)) {
        bail!("entry {}: TOML has no null, and a list cannot omit it", list(&[key]));
    }
    Ok(toml::to_string(&without_nulls(object))?)
}

fn has_null_in_list(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| item.is_null() || has_null_in_list(item)),
        Value::Object(object) => object.values().any(has_null_in_list),
        _ => false,
    }
}

/// TOML has no null. A null entry is omitted; in a list that would move the others, so it is an error.
fn without_nulls(object: Object) -> Object {
    let entries = object.into_iter().filter(|(_, value)| !value.is_null());
    entries.map(|(key, value)| (key, value_without_nulls(value))).collect()
}

fn value_without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(without_nulls(object)),
        Value::Array(items) => Value::Array(items.into_iter().map(value_without_nulls).collect()),
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> Map {
        mapcast::Format::Json.decode_map(json.as_bytes()).unwrap()
    }

    fn rendered(format: FileFormat, json: &str) -> String {
        String::from_utf8(Rendering::Format(format).render(&map(json)).unwrap().bytes).unwrap()
    }

    #[test]
    fn json_is_indented_and_ends_with_a_line_feed() {
        assert_eq!(rendered(FileFormat::Json, r#"{"a":[1]}"#), "{\n  \"a\": [\n    1\n  ]\n}\n");
    }

    #[test]
    fn toml_is_read_back_unchanged_without_nulls() {
        let json =
            r#"{"z":1,"a":{"in":{"b":[1,[true],{"x":"y"}]}},"gone":null,"n":1.5,"t":"\"\n","k.e y":{"gone":null}}"#;
        let text = rendered(FileFormat::Toml, json);
        let back: toml::Table = toml::from_str(&text).unwrap();
        let wanted = r#"{"z":1,"a":{"in":{"b":[1,[true],{"x":"y"}]}},"n":1.5,"t":"\"\n","k.e y":{}}"#;
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        assert_eq!(serde_json::to_value(back).unwrap(), wanted, "{text}");
    }

    #[test]
    fn toml_with_a_null_in_a_list_fails_and_names_the_entry() {
        for json in [r#"{"a":[1],"li\nst":[1,null]}"#, r#"{"li\nst":{"in":[{"x":[null]}]},"z":[null]}"#] {
            let error = Rendering::Format(FileFormat::Toml).render(&map(json)).unwrap_err();
            assert!(error.to_string().contains(r#"entry "li\nst": TOML has no null"#), "{error:#}");
        }
        assert_eq!(rendered(FileFormat::Toml, r#"{"a":[{"gone":null,"n":1}]}"#), "[[a]]\nn = 1\n");
    }

    #[test]
    fn two_keys_that_become_the_same_are_an_error() {
        let map = Map::from([(1.into(), true.into()), ("1".into(), true.into())]);
        for format in [FileFormat::Json, FileFormat::Toml, FileFormat::Env] {
            assert!(Rendering::Format(format).render(&map).is_err(), "{format:?}");
        }
    }

    #[test]
    fn the_format_follows_from_the_suffix() {
        for (name, wanted) in [("a.json", Some(FileFormat::Json)), (".env", Some(FileFormat::Env)), ("a.yaml", None)] {
            assert_eq!(FileFormat::by_name(name), wanted, "{name}");
        }
    }
}
