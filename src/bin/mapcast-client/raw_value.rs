//! A value as other programs read it.

use mapcast::{Value, format};

use crate::hidden;

/// Returns `value` as one line or more: text without quotes, JSON for all else. On a terminal, text with hidden
/// characters or line feeds is JSON, too.
///
/// # Errors
/// If a map in it has two keys that JSON cannot distinguish.
pub(crate) fn raw(value: &Value, is_terminal: bool) -> Result<String, format::Error> {
    match value {
        Value::Text(text) if is_terminal => Ok(hidden::show(text)),
        Value::Text(text) => Ok(text.clone()),
        value => hidden::to_json(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapcast::Map;

    #[test]
    fn text_is_raw_and_all_else_is_json() {
        let nested = Value::from(Map::from([("a".into(), vec![Value::Null, true.into(), 1.5.into()].into())]));
        for (value, wanted) in [
            (Value::from("a \"b\"\n\u{202e}"), "a \"b\"\n\u{202e}"),
            (Value::Int(-7), "-7"),
            (Value::Null, "null"),
            (nested, r#"{"a":[null,true,1.5]}"#),
        ] {
            assert_eq!(raw(&value, false).unwrap(), wanted);
        }
    }

    #[test]
    fn hidden_characters_are_escaped_on_a_terminal() {
        assert_eq!(raw(&"a \"b\"".into(), true).unwrap(), "a \"b\"");
        assert_eq!(raw(&"\u{1b}[2J".into(), true).unwrap(), "\"\\u001b[2J\"");
        assert_eq!(raw(&"a\nb".into(), true).unwrap(), "\"a\\nb\"");
    }
}
