//! The keys that an event stream is limited to.

use crate::format;

/// A set of keys: each as JSON, sorted. Equal filters select equal entries.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    /// All keys, concatenated: one string for each would take four times as much memory.
    text: Box<str>,
    ends: Box<[u32]>,
}

impl Filter {
    /// Returns the filter for `keys`, which select entries by their spelling: `1` selects the key 1 and the key "1". Returns
    /// `None` if `keys` is empty.
    ///
    /// # Errors
    /// The first error in `keys`.
    pub(super) fn new<E>(keys: impl Iterator<Item = Result<String, E>>) -> Result<Option<Self>, E> {
        let (mut text, mut ranges) = (String::new(), Vec::new());
        for key in keys {
            let start = text.len();
            // A string always has a JSON form.
            text += &format::write_value(&key?).unwrap_or_default();
            ranges.push(start..text.len());
        }
        ranges.sort_unstable_by(|a, b| text[a.clone()].cmp(&text[b.clone()]));
        ranges.dedup_by(|a, b| text[a.clone()] == text[b.clone()]);
        let (mut sorted, mut ends) = (String::new(), Vec::with_capacity(ranges.len()));
        for range in ranges {
            sorted += &text[range];
            // Cannot fail: a request's head has at most 16 KiB.
            ends.push(u32::try_from(sorted.len()).unwrap_or(u32::MAX));
        }
        Ok((!ends.is_empty()).then(|| Self { text: sorted.into(), ends: ends.into() }))
    }

    /// Returns the keys in ascending order of their JSON.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let key = &self.text[start..end as usize];
            start = end as usize;
            key
        })
    }
}

#[cfg(test)]
impl Filter {
    pub(super) fn of(keys: &[&str]) -> Self {
        Self::new(keys.iter().map(|&key| Ok::<_, ()>(key.to_owned()))).unwrap().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_set_of_keys() {
        assert_eq!(Filter::of(&["b", "a", "b"]), Filter::of(&["a", "b"]));
        assert_ne!(Filter::of(&["ab"]), Filter::of(&["a", "b"]));
        assert_eq!(Filter::of(&["b", "", "\""]).keys().collect::<Vec<_>>(), [r#""""#, r#""\"""#, r#""b""#]);
    }
}
