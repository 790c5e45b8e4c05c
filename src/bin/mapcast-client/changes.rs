//! The entries in which two maps differ.

use mapcast::{Key, Map, Value, format};

use crate::color::{Color, Palette};
use crate::hidden;

/// An entry that differs between an old map and a new one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change<'m> {
    pub(crate) key: &'m Key,
    /// `None` if the entry was added.
    pub(crate) old: Option<&'m Value>,
    /// `None` if the entry was removed.
    pub(crate) new: Option<&'m Value>,
}

/// Returns the entries that differ, in the order of their keys.
pub(crate) fn changes<'m>(old: &'m Map, new: &'m Map) -> Vec<Change<'m>> {
    let changed_or_added = new.iter().filter_map(|(key, new)| {
        let old = old.get(key);
        old.is_none_or(|old| !is_same(old, new)).then_some(Change { key, old, new: Some(new) })
    });
    let removed = old.iter().filter(|(key, _)| !new.contains_key(key));
    let removed = removed.map(|(key, old)| Change { key, old: Some(old), new: None });
    let mut changes: Vec<_> = changed_or_added.chain(removed).collect();
    changes.sort_by_key(|change| change.key);
    changes
}

/// True if and only if the values are shown alike: NaN, which differs from itself, is shown as null.
fn is_same(old: &Value, new: &Value) -> bool {
    let json = |value: &Value| hidden::to_json(value.clone()).ok();
    old == new || json(old).is_some_and(|old| json(new) == Some(old))
}

impl Change<'_> {
    /// Returns `~` for a changed entry, `+` for an added and `-` for a removed one.
    pub(crate) fn mark(&self) -> char {
        match (self.old, self.new) {
            (Some(_), Some(_)) => '~',
            (None, _) => '+',
            (_, None) => '-',
        }
    }

    /// Returns the change as one line without its end: `~ limit 10 -> 11`, `+ a 1` or `- b`.
    ///
    /// # Errors
    /// If a map in a value has two keys that JSON cannot distinguish.
    pub(crate) fn line(&self, palette: Palette) -> Result<String, format::Error> {
        let json = |value: &Value| hidden::to_json(value.clone());
        let key = hidden::show_key(self.key);
        let (color, line) = match (self.old, self.new) {
            (Some(old), Some(new)) => (Color::Yellow, format!("~ {key} {} -> {}", json(old)?, json(new)?)),
            (None, Some(new)) => (Color::Green, format!("+ {key} {}", json(new)?)),
            (_, None) => (Color::Red, format!("- {key}")),
        };
        Ok(palette.paint(color, &line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapcast::Format;

    fn lines(old: &str, new: &str) -> Vec<String> {
        let map = |json: &str| Format::Json.decode_map(json.as_bytes()).unwrap();
        let (old, new) = (map(old), map(new));
        changes(&old, &new).iter().map(|change| change.line(Palette::PLAIN).unwrap()).collect()
    }

    #[test]
    fn each_kind_of_change_has_its_mark() {
        let old = r#"{"b":2,"limit":10,"same":[1],"t":"x"}"#;
        let new = r#"{"a":1,"limit":11,"same":[1],"t":10}"#;
        assert_eq!(lines(old, new), ["+ a 1", "- b", "~ limit 10 -> 11", "~ t \"x\" -> 10"]);
    }

    #[test]
    fn equal_maps_have_no_changes() {
        assert_eq!(lines(r#"{"a":1.0}"#, r#"{"a":1.0}"#), [] as [&str; 0]);
        let nan = Map::from([("a".into(), f64::NAN.into())]);
        assert_eq!(changes(&nan, &nan.clone()), []);
    }

    #[test]
    fn a_key_is_one_word_and_hides_nothing() {
        assert_eq!(lines("{}", "{\"a b\":1}"), ["+ \"a b\" 1"]);
        assert_eq!(lines("{}", "{\"\":\"\u{202e}\"}"), ["+ \"\" \"\\u202e\""]);
        assert_eq!(lines("{}", "{\"\\u001b[2J\":1}"), ["+ \"\\u001b[2J\" 1"]);
    }
}
