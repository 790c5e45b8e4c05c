//! The filter of the shown entries: a text that the key or the value contains, in any case.

/// A change of the filter by a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// Begin to type.
    Begin,
    Insert(char),
    /// Delete the last character.
    Delete,
    /// Stop typing and keep the filter.
    Accept,
    /// Stop typing and remove the filter.
    Clear,
}

/// The text of the filter; an empty one shows every entry.
#[derive(Debug, Default)]
pub(super) struct Filter {
    text: String,
    lower: String,
    is_typing: bool,
}

impl Filter {
    pub(super) fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Begin => self.is_typing = true,
            Edit::Insert(character) => self.text.push(character),
            Edit::Delete => drop(self.text.pop()),
            Edit::Accept => self.is_typing = false,
            Edit::Clear => {
                self.is_typing = false;
                self.text.clear();
            }
        }
        self.lower = self.text.to_lowercase();
    }

    /// True if and only if keys go into the filter.
    pub(super) fn is_typing(&self) -> bool {
        self.is_typing
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// True if and only if an entry with this key and this value is shown.
    pub(super) fn admits(&self, key: &str, value: &str) -> bool {
        let holds = |text: &str| text.to_lowercase().contains(&self.lower);
        self.lower.is_empty() || holds(key) || holds(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_admits_keys_and_values_in_any_case() {
        let mut filter = Filter::default();
        assert!(filter.admits("a", "1"));
        filter.edit(Edit::Begin);
        "ÑA".chars().for_each(|character| filter.edit(Edit::Insert(character)));
        assert!(filter.is_typing() && filter.admits("españa", "1") && filter.admits("a", "\"Ña\""));
        assert!(!filter.admits("a", "1"));
        filter.edit(Edit::Delete);
        filter.edit(Edit::Accept);
        assert_eq!((filter.text(), filter.is_typing()), ("Ñ", false));
        filter.edit(Edit::Clear);
        assert!(filter.admits("a", "1"));
    }
}
