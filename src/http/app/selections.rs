//! The selections of one version of the map, cached by filter.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::document::{Document, Selection};
use super::filter::Filter;
use crate::sync::Mutex;

/// The maximum number of cached selections: 64. A filter comes from a request's head of at most 16 KiB, so 64 of the largest
/// filters and their selections take some 6 MB.
const MAX_SELECTIONS: usize = 64;

/// The selections of one version. All streams with equal filters share one.
#[derive(Debug, Default)]
pub(super) struct Selections {
    /// Held for one lookup, never while selecting.
    by_filter: Mutex<HashMap<Arc<Filter>, Slot>>,
}

/// Computed by the first stream; other streams with an equal filter wait for it.
type Slot = Arc<OnceLock<Arc<Selection>>>;

impl Selections {
    /// Returns the entries of `document` that `filter` selects. `document` must be the same for all calls.
    pub(super) fn select(&self, document: &Document, filter: &Arc<Filter>) -> Arc<Selection> {
        let slot = self.slot(filter);
        Arc::clone(slot.get_or_init(|| Arc::new(document.select(filter))))
    }

    /// Returns the slot of `filter`. With too many filters it is a new slot that is not cached.
    fn slot(&self, filter: &Arc<Filter>) -> Slot {
        let mut by_filter = self.by_filter.lock();
        if let Some(slot) = by_filter.get(filter) {
            return Arc::clone(slot);
        }
        if by_filter.len() >= MAX_SELECTIONS {
            // Remove the filters of streams that have ended.
            by_filter.retain(|filter, _| Arc::strong_count(filter) > 1);
        }
        let slot = Slot::default();
        if by_filter.len() < MAX_SELECTIONS {
            by_filter.insert(Arc::clone(filter), Arc::clone(&slot));
        }
        slot
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
    fn equal_filters_are_evaluated_once_a_version() {
        let document = Document::new(1, &builtin(), RandomState::new()).unwrap();
        let selections = Selections::default();
        let first = selections.select(&document, &filter(&["1", "2"]));
        assert!(Arc::ptr_eq(&first, &selections.select(&document, &filter(&["2", "1", "2"]))));
        assert!(!Arc::ptr_eq(&first, &selections.select(&document, &filter(&["1"]))));
    }

    #[test]
    fn filters_of_ended_streams_leave_a_full_cache() {
        let document = Document::new(1, &builtin(), RandomState::new()).unwrap();
        let selections = Selections::default();
        let filters: Vec<_> = (0..100).map(|number| filter(&[&number.to_string()])).collect();
        for filter in &filters {
            selections.select(&document, filter);
        }
        let cached = || selections.by_filter.lock().len();
        assert_eq!(cached(), MAX_SELECTIONS);
        assert_eq!(
            selections.select(&document, &filters[99]),
            selections.select(&document, &filters[98]),
            "neither is selected"
        );
        drop(filters);
        let newest = filter(&["1"]);
        let first = selections.select(&document, &filter(&["x"]));
        assert!(!Arc::ptr_eq(&first, &selections.select(&document, &newest)) && cached() == 2);
        assert!(Arc::ptr_eq(&selections.select(&document, &newest), &selections.select(&document, &newest)));
    }
}
