//! The keys that an event stream is narrowed to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::document::{Document, Selection};
use crate::format;

/// The most filters whose selections are kept: 64. A filter takes 16 KiB of a request's head at most, so that they take
/// some 6 MB together if each has as many keys as it can.
const MOST_SELECTIONS: usize = 64;

/// Keys in JSON, sorted, each once. Equal filters choose equal entries.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    /// One after the other: a string for each would take four times as much memory.
    text: Box<str>,
    ends: Box<[u32]>,
}

impl Filter {
    /// Returns the filter for `keys`, which are meant by their spelling; `None` if there are none.
    ///
    /// # Errors
    /// The first of `keys` that is one.
    pub(crate) fn new<E>(keys: impl Iterator<Item = Result<String, E>>) -> Result<Option<Self>, E> {
        let (mut text, mut places) = (String::new(), Vec::new());
        for key in keys {
            let start = text.len();
            // Text always has a form in JSON.
            text += &format::write_value(&key?).unwrap_or_default();
            places.push(start..text.len());
        }
        places.sort_unstable_by(|a, b| text[a.clone()].cmp(&text[b.clone()]));
        places.dedup_by(|a, b| text[a.clone()] == text[b.clone()]);
        let (mut sorted, mut ends) = (String::new(), Vec::with_capacity(places.len()));
        for place in places {
            sorted += &text[place];
            // A request's head has 16 KiB.
            ends.push(u32::try_from(sorted.len()).unwrap_or(u32::MAX));
        }
        Ok((!ends.is_empty()).then(|| Self { text: sorted.into(), ends: ends.into() }))
    }

    /// The keys in ascending order of their JSON.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let key = &self.text[start..end as usize];
            start = end as usize;
            key
        })
    }
}

/// What filters choose of one version, each made once for all streams that have it.
#[derive(Debug, Default)]
pub(crate) struct Selections {
    /// Held for one lookup; never while selecting.
    by_filter: Mutex<HashMap<Arc<Filter>, Selected>>,
}

/// Made by the first stream that asks, for which the others with the same filter wait.
type Selected = Arc<OnceLock<Arc<Selection>>>;

impl Selections {
    /// Returns what `filter` chooses of `document`, whose selections these are.
    pub(crate) fn select(&self, document: &Document, filter: &Arc<Filter>) -> Arc<Selection> {
        let selected = self.slot(filter);
        Arc::clone(selected.get_or_init(|| Arc::new(document.select(filter))))
    }

    /// Returns the place for what `filter` chooses. Where there are too many filters it is one of its own, kept by nobody.
    fn slot(&self, filter: &Arc<Filter>) -> Selected {
        let mut by_filter = self.by_filter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(selected) = by_filter.get(filter) {
            return Arc::clone(selected);
        }
        if by_filter.len() >= MOST_SELECTIONS {
            // Those of streams that have ended.
            by_filter.retain(|filter, _| Arc::strong_count(filter) > 1);
        }
        let selected = Selected::default();
        if by_filter.len() < MOST_SELECTIONS {
            by_filter.insert(Arc::clone(filter), Arc::clone(&selected));
        }
        selected
    }
}

#[cfg(test)]
impl Filter {
    pub(crate) fn of(keys: &[&str]) -> Self {
        Self::new(keys.iter().map(|&key| Ok::<_, ()>(key.to_owned()))).unwrap().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::builtin;
    use std::collections::hash_map::RandomState;

    fn filter(keys: &[&str]) -> Arc<Filter> {
        Arc::new(Filter::of(keys))
    }

    #[test]
    fn a_filter_is_a_set_of_keys() {
        assert_eq!(filter(&["b", "a", "b"]), filter(&["a", "b"]));
        assert_ne!(filter(&["ab"]), filter(&["a", "b"]));
        assert_eq!(filter(&["b", "", "\""]).keys().collect::<Vec<_>>(), [r#""""#, r#""\"""#, r#""b""#]);
    }

    #[test]
    fn equal_filters_are_computed_once_a_version() {
        let document = Document::new(1, &builtin(), RandomState::new()).unwrap();
        let selections = Selections::default();
        let first = selections.select(&document, &filter(&["1", "2"]));
        assert!(Arc::ptr_eq(&first, &selections.select(&document, &filter(&["2", "1", "2"]))));
        assert!(!Arc::ptr_eq(&first, &selections.select(&document, &filter(&["1"]))));
    }

    #[test]
    fn no_more_filters_are_kept_than_may_be_and_first_those_of_streams() {
        let document = Document::new(1, &builtin(), RandomState::new()).unwrap();
        let selections = Selections::default();
        let filters: Vec<_> = (0..100).map(|number| filter(&[&number.to_string()])).collect();
        for filter in &filters {
            selections.select(&document, filter);
        }
        let kept = || selections.by_filter.lock().unwrap().len();
        assert_eq!(kept(), MOST_SELECTIONS);
        assert_eq!(
            selections.select(&document, &filters[99]),
            selections.select(&document, &filters[98]),
            "of neither"
        );
        drop(filters);
        let newest = filter(&["1"]);
        let first = selections.select(&document, &filter(&["x"]));
        assert!(!Arc::ptr_eq(&first, &selections.select(&document, &newest)) && kept() == 2);
        assert!(Arc::ptr_eq(&selections.select(&document, &newest), &selections.select(&document, &newest)));
    }
}
