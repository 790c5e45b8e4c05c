//! Templates: Jinja, in which `{{key}}` is an entry of the map, whatever characters its key has.

use anyhow::{Context, anyhow, ensure};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use super::object::{Object, to_text};

/// The limit for the steps of a template, and for its memory: 64 bytes per unit, so 256 MB.
const FUEL: u64 = 4_000_000;

/// A parsed template.
///
/// `{{key}}` is the entry's value: a string as it is, nothing for null, JSON for all else. `{{a.b}}` is the entry
/// `a.b` if it exists, otherwise `b` in the map `a`; `{{list.0}}` is the first element of a list. `{{key|json}}` is
/// the value as JSON, with strings quoted. Text with spaces, quotes or brackets that is not a key is a Jinja expression.
/// `{% %}` is a Jinja statement. There are no comments: shell scripts contain `{#`.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    text: String,
    jinja: Box<Environment<'static>>,
}

impl Template {
    /// # Errors
    /// If a placeholder or a statement is not valid; the error names its line.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let syntax = SyntaxConfig::builder()
            .comment_delimiters("{{#", "#}}") // never reached: `translate` replaces it
            .lstrip_blocks(true)
            .trim_blocks(true)
            .keep_trailing_newline(true)
            .build()?;
        let mut jinja = Environment::new();
        jinja.set_syntax(syntax);
        jinja.set_undefined_behavior(UndefinedBehavior::Strict);
        jinja.set_auto_escape_callback(|_| AutoEscape::None);
        jinja.set_fuel(Some(FUEL));
        jinja.set_formatter(|output, _, value| Ok(output.write_str(&to_text(&to_json(value)?))?));
        jinja.add_filter("json", |value: &Value| to_json(value).map(|json| json.to_string()));
        // A function of Jinja would be the value of a missing entry with its name.
        for function in ["dict", "namespace", "range"] {
            jinja.remove_global(function);
        }
        let source = translate(&jinja, text)?;
        jinja.add_template_owned("", source).map_err(|error| anyhow!("line {}", describe(&error, text)))?;
        Ok(Self { text: text.to_owned(), jinja: Box::new(jinja) })
    }

    /// Returns the text with the values of the entries.
    ///
    /// # Errors
    /// If the map lacks an entry; the error names the line and the key. If the limit of steps is exceeded.
    pub(super) fn render(&self, object: &Object) -> anyhow::Result<String> {
        let entries = Value::from(Serde(object));
        let mut jinja = Environment::clone(&self.jinja);
        let all = entries.clone();
        jinja.add_test("entry", move |state: &State, key: &str| find_entry(state, &all, key).is_some());
        let all = entries.clone();
        jinja.add_filter("entry", move |state: &State, key: &str| {
            let missing = || Error::new(ErrorKind::UndefinedError, format!("the map has no entry {key:?}"));
            find_entry(state, &all, key).ok_or_else(missing)
        });
        let rendered = jinja.get_template("").and_then(|template| template.render(entries));
        rendered.map_err(|error| anyhow!("line {}", describe(&error, &self.text).replacen(':', " of the template:", 1)))
    }
}

fn to_json(value: &Value) -> Result<serde_json::Value, Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    serde_json::to_value(value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// Returns `LINE: MESSAGE`.
fn describe(error: &Error, text: &str) -> String {
    let line = error.line().unwrap_or(1);
    let quoted = text.lines().nth(line - 1).unwrap_or_default().trim();
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("{line}: more than {FUEL} steps; loop over fewer entries"),
        (ErrorKind::UndefinedError, Some(detail)) => format!("{line}: {detail}"),
        (ErrorKind::UndefinedError, None) => format!("{line}: the map lacks an entry of {quoted:?}"),
        (kind, detail) => format!("{line}: {}, in {quoted:?}", detail.map_or_else(|| kind.to_string(), str::to_owned)),
    }
}

/// Returns the template in Jinja: each key in a placeholder becomes a string with the filter `entry`.
fn translate(jinja: &Environment<'_>, text: &str) -> anyhow::Result<String> {
    let (mut source, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, inside)) = rest.split_once("{{") {
        let line = 1 + text[..text.len() - inside.len()].matches('\n').count();
        let (placeholder, after) = split_placeholder(inside).with_context(|| format!("line {line}"))?;
        let expression = translate_placeholder(jinja, placeholder).with_context(|| format!("line {line}"))?;
        // The same number of lines, for the line of an error.
        let lines = placeholder.matches('\n').count().saturating_sub(expression.matches('\n').count());
        source.extend([before, "{{", &expression, &"\n".repeat(lines), "}}"]);
        rest = after;
    }
    let raw =
        text.split("{%").skip(1).any(|block| block.trim_start_matches(['-', '+']).trim_start().starts_with("raw"));
    ensure!(!raw, "{{% raw %}} is not supported; for a literal {{{{, write {{{{\"{{{{\"}}}}");
    source.push_str(rest);
    Ok(source)
}

/// Splits what follows a `{{` at its `}}`.
fn split_placeholder(inside: &str) -> anyhow::Result<(&str, &str)> {
    // A string may contain }}.
    let mut strings = serde_json::Deserializer::from_str(inside).into_iter::<String>();
    let literal = if inside.trim_start().starts_with('"') {
        strings.next().and_then(Result::ok).context("a text in {{\"...\"}} is not a JSON string")?;
        strings.byte_offset()
    } else {
        0
    };
    let end = inside[literal..].find("}}").context("a {{ has no }}; for a literal {{, write {{\"{{\"}}")?;
    Ok((&inside[..literal + end], &inside[literal + end + 2..]))
}

/// Returns the Jinja expression of a placeholder.
fn translate_placeholder(jinja: &Environment<'_>, placeholder: &str) -> anyhow::Result<String> {
    let (key, filters) = placeholder.find('|').map_or((placeholder, ""), |bar| placeholder.split_at(bar));
    let key = key.trim();
    ensure!(!key.is_empty(), "{{{{}}}} does not name an entry; write {{{{KEY}}}}");
    let quoted = serde_json::to_string(key)?;
    let is_expression = |text: &str| jinja.compile_expression(text).map(drop).is_ok();
    let is_key = !key.contains(|c: char| c.is_whitespace() || "()[]{}'\"".contains(c));
    let has_default = filters.trim_start_matches(['|', ' ']).starts_with("default");
    Ok(if key.starts_with('"') || !is_key && !is_expression(key) && is_expression(placeholder) {
        placeholder.to_owned()
    } else if !is_key && is_expression(key) {
        format!("({quoted}|entry if {quoted} is entry else ({key})){filters}")
    } else if has_default {
        format!("({quoted}|entry if {quoted} is entry){filters}")
    } else {
        format!("{quoted}|entry{filters}")
    })
}

/// Returns the variable of the template for `key`, otherwise the entry.
fn find_entry(state: &State<'_, '_>, entries: &Value, key: &str) -> Option<Value> {
    let (name, rest) = key.split_once('.').map_or((key, None), |(name, rest)| (name, Some(rest)));
    let variable = state.lookup(name).filter(|value| *value != entries.get_attr(name).unwrap_or_default());
    match (variable, rest) {
        (None, _) => find(entries, key),
        (Some(value), None) => Some(value),
        (Some(value), Some(rest)) => find(&value, rest),
    }
}

/// Returns the value for `key` in a map or a list, at the top level or nested.
fn find(value: &Value, key: &str) -> Option<Value> {
    let get = |key: &str| {
        let item = match value.kind() {
            ValueKind::Seq => value.get_item_by_index(key.parse().ok()?),
            _ => value.get_attr(key),
        };
        item.ok().filter(|item| !item.is_undefined())
    };
    get(key).or_else(|| key.match_indices('.').find_map(|(dot, _)| find(&get(&key[..dot])?, &key[dot + 1..])))
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
            let template = Template::parse(&format!("{{{{\nport }}}}\n{{{{{key}}}}}")).unwrap();
            let object = serde_json::from_str(r#"{"a":{"c":[1]},"port":1}"#).unwrap();
            let error = template.render(&object).unwrap_err().to_string();
            assert!(error.contains("line 3") && error.contains(&format!("{key:?}")), "{error}");
        }
    }

    #[test]
    fn keys_with_any_characters_are_entries() {
        let entries = r#"{"1":"one","-1":"minus","feature-x":true,"a/b":1,"1st":"first","two words":2,"1 + 1":3,"entry":4,"true":5}"#;
        let object = serde_json::from_str(entries).unwrap();
        for (template, wanted) in [
            ("{{1}} {{-1}} {{1st}}", "one minus first"),
            ("{{feature-x}} {{a/b|json}}", "true 1"),
            ("{{two words}} {{ 1 + 1 }} {{ 1 + 2 }}", "2 3 3"),
            ("{{entry}} {{true}}", "4 5"),
        ] {
            assert_eq!(Template::parse(template).unwrap().render(&object).unwrap(), wanted, "{template}");
        }
        for key in ["2", "-2", "feature-y", "a/c", "false", "range", "loop"] {
            let error = Template::parse(&format!("{{{{{key}}}}}")).unwrap().render(&object).unwrap_err().to_string();
            assert!(error.contains(&format!("the map has no entry {key:?}")), "{error}");
        }
    }

    #[test]
    fn loops_conditions_and_filters_are_those_of_jinja() {
        let entries = r#"{"hosts":[{"name":"a","port":1},{"name":"b","port":2.0,"down":true}],"name":"entry","flags":{"x":null,"y-z":[1]}}"#;
        let object = serde_json::from_str(entries).unwrap();
        for (template, wanted) in [
            (
                "{% for host in hosts %}\n    {% if host.down is not defined %}\nserver {{host.name}}:{{host.port}};\n    {% endif %}\n{% endfor %}\nend\n",
                "server a:1;\nend\n",
            ),
            ("{% for host in hosts %}{{loop.index}}{{host.port}} {% endfor %}", "11 22.0 "),
            ("{% for name in hosts %}{{name.name}}{% endfor %} {{name}}", "ab entry"),
            ("{% for key, value in flags|items %}{{key}}={{value}};{% endfor %}", "x=;y-z=[1];"),
            ("{% set x = hosts[0] %}{{x}} {{x.port}}", r#"{"name":"a","port":1} 1"#),
            ("{{hosts|length}} {{ name ~ '!' }} {{name|upper|json}}", r#"2 entry! "ENTRY""#),
            ("{{ missing|default('none') }} {{hosts.0['name']}}", "none a"),
            (r#"{% for x in "flags.y-z"|entry %}{{x}}{{"{%"}}{% endfor %}"#, "1{%"),
            ("${#array} {# {{name}} #}", "${#array} {# entry #}"),
            ("\r\n{{name}}\r\n<&\"'>", "\r\nentry\r\n<&\"'>"),
        ] {
            assert_eq!(Template::parse(template).unwrap().render(&object).unwrap(), wanted, "{template}");
        }
    }

    #[test]
    fn an_undefined_variable_of_a_statement_is_named_with_its_line() {
        let statements = [
            "{% for x in hosts %}{% endfor %}",
            "{% if hosts %}{% endif %}",
            "{{ hosts + 1 }}",
            "{{ (1)|hosts }}",
            "{{ (hosts)|json }}",
        ];
        for statement in statements {
            let error = Template::parse(&format!("one\n{statement}\n")).unwrap().render(&Object::new()).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("line 2 of the template: ") && error.contains("hosts"), "{error}");
        }
    }

    #[test]
    fn a_template_without_end_is_stopped() {
        let entries = format!(r#"{{"list":[{}0],"text":"{}"}}"#, "0,".repeat(2_000), "x".repeat(10_000));
        let object = serde_json::from_str(&entries).unwrap();
        let nested = "{% for a in list %}{% for b in list %}{% for c in list %}{% endfor %}{% endfor %}{% endfor %}";
        for template in [nested, "{% for a in list %}{% for b in list %}{{text}}{% endfor %}{% endfor %}"] {
            let error = Template::parse(template).unwrap().render(&object).unwrap_err().to_string();
            assert!(error.contains("more than 4000000 steps"), "{error}");
        }
    }

    #[test]
    fn every_json_value_is_printed_as_json() {
        proptest::proptest!(|(number: i64, float: f64, text: String)| {
            let value = serde_json::json!({"z": [number, float, null, true, text], "a": {"1": number, "\u{1}": float}});
            let object = Object::from_iter([("v".to_owned(), value.clone())]);
            let rendered = Template::parse("{{v}}{{v|json}}{{v.z.1}}").unwrap().render(&object).unwrap();
            assert_eq!(rendered, format!("{value}{value}{}", to_text(&value["z"][1])));
        });
    }

    #[test]
    fn an_invalid_template_is_rejected_with_its_line() {
        assert!(refusal("\n\n{{port").starts_with("line 3: a {{ has no }}"));
        assert!(refusal("{{}}").contains("does not name an entry"));
        assert!(refusal("{{ | json}}").contains("does not name an entry"));
        assert!(refusal("\n{% for x in y %}").starts_with("line 2: "));
        for raw in ["{% raw %}{{x}}{% endraw %}", "{%-\n\traw %}{{x}}{% endraw %}"] {
            assert!(refusal(raw).contains("{% raw %} is not supported"), "{raw}");
        }
        assert!(refusal(r#"{{"a}}"#).contains("not a JSON string"));
        assert!(refusal(r#"{{"a" b}}"#).starts_with("line 1: unexpected identifier"));
        assert!(refusal(r#"{{"a" }"#).contains("has no }}"));
    }
}
