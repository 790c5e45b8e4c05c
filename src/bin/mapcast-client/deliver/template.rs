//! Templates: text with placeholders, `{{key}}`.

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::object::{Object, to_text};

/// A parsed template.
///
/// `{{key}}` is the entry's value: a string as it is, nothing for null, JSON for all else. `{{a.b}}` is the entry
/// `a.b` if it exists, otherwise `b` in the map `a`; `{{list.0}}` is the first element of a list. `{{key|json}}` is
/// the value as JSON, with strings quoted. `{{"text"}}` is that text: `{{"{{"}}` is `{{`. Spaces inside the braces are
/// ignored.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Entry { key: String, json: bool, line: usize },
}

impl Template {
    /// # Errors
    /// If a placeholder is not valid; the error names its line.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, inside)) = rest.split_once("{{") {
            let line = 1 + text[..text.len() - inside.len()].matches('\n').count();
            parts.push(Part::Text(before.to_owned()));
            let (part, after) = parse_placeholder(inside, line).with_context(|| format!("line {line}"))?;
            parts.push(part);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { parts })
    }

    /// Returns the text with the values of the entries.
    ///
    /// # Errors
    /// If the map lacks an entry; the error names the line and the key.
    pub(super) fn render(&self, object: &Object) -> anyhow::Result<String> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Entry { key, json, line } => {
                    let value = find(object, key)
                        .with_context(|| format!("line {line} of the template: the map has no entry {key:?}"))?;
                    filled.push_str(&if *json { value.to_string() } else { to_text(value) });
                }
            }
        }
        Ok(filled)
    }
}

/// Parses what follows a `{{`. Returns the part, and the text after its `}}`.
fn parse_placeholder(inside: &str, line: usize) -> anyhow::Result<(Part, &str)> {
    const ENDLESS: &str = "a {{ has no }}; for a literal {{, write {{\"{{\"}}";
    if inside.trim_start().starts_with('"') {
        let mut literals = serde_json::Deserializer::from_str(inside).into_iter::<String>();
        let literal = literals.next().and_then(Result::ok).context("a text in {{\"...\"}} is not a JSON string")?;
        let after = inside[literals.byte_offset()..].trim_start();
        return Ok((Part::Text(literal), after.strip_prefix("}}").context(ENDLESS)?));
    }
    let (placeholder, after) = inside.split_once("}}").context(ENDLESS)?;
    let (key, filter) = match placeholder.split_once('|') {
        Some((key, filter)) => (key.trim(), Some(filter.trim())),
        None => (placeholder.trim(), None),
    };
    ensure!(!key.is_empty(), "{{{{}}}} does not name an entry; write {{{{KEY}}}}");
    match filter {
        None | Some("json") => Ok((Part::Entry { key: key.to_owned(), json: filter.is_some(), line }, after)),
        Some(other) => bail!("unknown filter {other:?}; write {{{{{key}}}}} or {{{{{key}|json}}}}"),
    }
}

/// Returns the entry for `key`, at the top level or nested.
fn find<'o>(object: &'o Object, key: &str) -> Option<&'o Value> {
    object.get(key).or_else(|| {
        let mut dots = key.match_indices('.');
        dots.find_map(|(dot, _)| find_in(object.get(&key[..dot])?, &key[dot + 1..]))
    })
}

fn find_in<'o>(value: &'o Value, key: &str) -> Option<&'o Value> {
    match value {
        Value::Object(object) => find(object, key),
        Value::Array(items) => {
            let (index, rest) = key.split_once('.').map_or((key, None), |(index, rest)| (index, Some(rest)));
            let item = items.get(index.parse::<usize>().ok()?)?;
            rest.map_or(Some(item), |rest| find_in(item, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> String {
        let entries = r#"{"name":"A \"b\"","port":8080,"on":true,"gone":null,"a.b":"dotted","a":{"b":"shadowed","c":[1,{"d":"deep"}]}}"#;
        Template::parse(template).unwrap().render(&serde_json::from_str(entries).unwrap()).unwrap()
    }

    fn refusal(template: &str) -> String {
        format!("{:#}", Template::parse(template).unwrap_err())
    }

    #[test]
    fn placeholders_are_replaced_by_entries() {
        for (template, wanted) in [
            ("", ""),
            ("no place } } }}", "no place } } }}"),
            ("{{port}}", "8080"),
            ("listen {{ port }};{{on}}\n", "listen 8080;true\n"),
            ("{{name}} {{name|json}}", r#"A "b" "A \"b\"""#),
            ("[{{gone}}] [{{gone | json}}]", "[] [null]"),
            ("{{a.b}} {{a.c}} {{a.c.0}} {{a.c.1.d}}", r#"dotted [1,{"d":"deep"}] 1 deep"#),
            (r#"{{"{{"}}port}} {{ "\n}}" }}"#, "{{port}} \n}}"),
        ] {
            assert_eq!(render(template), wanted, "{template}");
        }
    }

    #[test]
    fn a_missing_entry_is_named_with_its_line() {
        for key in ["x", "a.x", "a.c.7", "a.c.x", "port.x", "a."] {
            let template = Template::parse(&format!("one\n{{{{{key}}}}}")).unwrap();
            let object = serde_json::from_str(r#"{"a":{"c":[1]},"port":1}"#).unwrap();
            let error = template.render(&object).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(&format!("{key:?}")), "{error}");
        }
    }

    #[test]
    fn an_invalid_template_is_rejected_with_its_line() {
        assert!(refusal("\n\n{{port").starts_with("line 3: a {{ has no }}"));
        assert!(refusal("{{}}").contains("does not name an entry"));
        assert!(refusal("{{ | json}}").contains("does not name an entry"));
        assert!(refusal("{{port|upper}}").contains("\"upper\""));
        assert!(refusal(r#"{{"a}}"#).contains("not a JSON string"));
        assert!(refusal(r#"{{"a" b}}"#).contains("has no }}"));
    }
}
