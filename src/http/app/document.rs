//! One version of the map as JSON. Everything that HTTP sends of the map is a slice of it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::iter;
use std::ops::Range;
use std::sync::OnceLock;

use super::filter::Filter;
use crate::backlog::Payload;
use crate::format::{self, Format};
use crate::map::Map;

/// The JSON of a map, one object on one line, with the positions of its entries.
///
/// It is everything that a slow peer keeps in memory of a version: filtered streams and single entries are slices of it.
#[derive(Debug)]
pub(super) struct Document {
    version: u64,
    json: Box<str>,
    /// The end of each entry, in the order of the map. The first entry begins after the brace, each other one after a comma.
    ends: Box<[usize]>,
    /// The indexes of the entries, ordered by their JSON. Computed for the first lookup of a key.
    by_key: OnceLock<Box<[u32]>>,
    /// A hash of each entry, in the order of the map. Computed for the first filter.
    hashes: OnceLock<Box<[u64]>>,
    /// Has a secret key, so that no peer can construct two selections with equal hashes.
    hasher: RandomState,
}

/// The entries of a document that a filter selects.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Their indexes, ascending.
    entries: Box<[u32]>,
    /// Equal for equal entries, in any version. Different entries have equal fingerprints with a probability of 1 in 2^64; a
    /// stream then sends that change with the next repeat.
    pub(super) fingerprint: u64,
}

impl Document {
    /// Returns the document of version `version` of the map. `hasher` must be the same for all versions.
    ///
    /// # Errors
    /// If JSON cannot represent the map.
    pub(super) fn new(version: u64, map: &Map, hasher: RandomState) -> Result<Self, format::Error> {
        let json = String::from_utf8(Format::Json.encode_map(map)?)
            .map_err(|error| format::Error::Encode { format: Format::Json, source: error.into() })?;
        let ends = entry_ends(json.as_bytes(), map.len());
        // Releases the spare capacity.
        let json = json.into_boxed_str();
        Ok(Self { version, json, ends, by_key: OnceLock::new(), hashes: OnceLock::new(), hasher })
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the whole map.
    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// Returns the entries as a JSON list of pairs of strings: the key, and the JSON of the value.
    pub(super) fn pairs(&self) -> Box<str> {
        // Quotes inside values are escaped once more.
        let mut pairs = Vec::with_capacity(self.json.len() + self.json.len() / 8 + 8 * self.ends.len());
        pairs.push(b'[');
        for number in (0..).take(self.ends.len()) {
            let entry = self.entry(number);
            let (key, value) = entry.split_at(string_end(entry.as_bytes(), 0));
            pairs.extend_from_slice(if number == 0 { b"[" } else { b",[" });
            pairs.extend_from_slice(key.as_bytes());
            pairs.push(b',');
            // Writing a string to memory does not fail.
            let _ = serde_json::to_writer(&mut pairs, &value[1..]);
            pairs.push(b']');
        }
        pairs.push(b']');
        String::from_utf8(pairs).unwrap_or_default().into()
    }

    /// Returns what the backlog counts while a peer is slow to read any slice: the text and the indexes.
    pub(super) fn payload(&self) -> Payload {
        let index = size_of::<usize>() + size_of::<u32>() + size_of::<u64>();
        Payload::new(self.version, self.json.as_bytes()).and(self.ends.len() * index)
    }

    /// Returns the range of the value of `key`, a JSON string; `None` if there is no such entry.
    pub(super) fn value(&self, key: &str) -> Option<Range<usize>> {
        let by_key = self.by_key();
        let at = by_key.partition_point(|&number| self.entry(number) < key);
        let number = *by_key.get(at).filter(|&&number| self.entry(number).starts_with(key))?;
        let Range { start, end } = self.range(number);
        // After the colon.
        Some(start + key.len() + 1..end)
    }

    /// Returns the entries that `filter` selects. Takes time linear in the sum of its keys and the map's entries, less for few
    /// keys.
    pub(super) fn select(&self, filter: &Filter) -> Selection {
        let mut entries = find_all(filter.keys(), self.by_key(), |number| self.entry(number));
        entries.sort_unstable();
        let hashes = self.hashes();
        let hashes: Vec<u64> = entries.iter().map(|&number| hashes[number as usize]).collect();
        Selection { entries: entries.into(), fingerprint: self.hasher.hash_one(hashes) }
    }

    /// Returns the JSON of the selected entries, in parts.
    pub(super) fn selected<'part>(&'part self, selection: &'part Selection) -> impl Iterator<Item = &'part str> {
        let entries = selection.entries.iter().enumerate();
        let entries = entries.flat_map(|(n, &number)| [if n == 0 { "" } else { "," }, self.entry(number)]);
        iter::once("{").chain(entries).chain(iter::once("}"))
    }

    /// Returns the entry `number`: key, colon and value.
    fn entry(&self, number: u32) -> &str {
        &self.json[self.range(number)]
    }

    fn range(&self, number: u32) -> Range<usize> {
        let number = number as usize;
        let before = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        before + 1..self.ends[number]
    }

    /// Returns the indexes in the order of the keys. No JSON string is a prefix of another one, so entries are ordered like
    /// their keys, and an entry starts with the JSON of a key if and only if it has that key.
    fn by_key(&self) -> &[u32] {
        self.by_key.get_or_init(|| {
            // 32 bits suffice: an entry takes at least five bytes, and a frame at most 10^10.
            let mut numbers: Box<[u32]> = (0..).take(self.ends.len()).collect();
            numbers.sort_unstable_by(|&a, &b| self.entry(a).cmp(self.entry(b)));
            numbers
        })
    }

    fn hashes(&self) -> &[u64] {
        let numbers = || (0..).take(self.ends.len());
        self.hashes.get_or_init(|| numbers().map(|number| self.hasher.hash_one(self.entry(number))).collect())
    }
}

impl AsRef<str> for Document {
    fn as_ref(&self) -> &str {
        &self.json
    }
}

/// Returns the `numbers` whose `entry` has one of `keys`. Both are ordered by their JSON.
fn find_all<'key, 'entry>(
    keys: impl Iterator<Item = &'key str>,
    numbers: &[u32],
    entry: impl Fn(u32) -> &'entry str,
) -> Vec<u32> {
    let (mut found, mut rest) = (Vec::new(), numbers);
    for key in keys {
        // Galloping search: doubled steps, then a binary search in the last step. Each search begins where the previous one
        // ended, so all searches together read fewer entries than a walk through both lists.
        let mut step = 1;
        while rest.get(step).is_some_and(|&number| entry(number) < key) {
            step *= 2;
        }
        let window = &rest[..rest.len().min(step + 1)];
        rest = &rest[window.partition_point(|&number| entry(number) < key)..];
        found.extend(rest.first().filter(|&&number| entry(number).starts_with(key)));
    }
    found
}

/// Returns the end of each entry of `object`, a JSON object on one line in this module's notation.
fn entry_ends(object: &[u8], entries: usize) -> Box<[usize]> {
    let mut ends = Vec::with_capacity(entries);
    let (mut depth, mut at) = (0, 0);
    while let Some(byte) = object.get(at) {
        match byte {
            b'"' => {
                at = string_end(object, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b',' if depth == 1 => ends.push(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    // The last entry ends before the closing brace.
    if entries > 0 {
        ends.push(object.len() - 1);
    }
    ends.into()
}

/// Returns the end, after the closing quote, of the string that begins at `at`.
fn string_end(json: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = json.get(at).filter(|byte| **byte != b'"') {
        at += if *byte == b'\\' { 2 } else { 1 };
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Key, Value, builtin};

    fn document(map: &Map) -> Document {
        Document::new(1, map, RandomState::new()).unwrap()
    }

    fn selected(document: &Document, keys: &[&str]) -> String {
        document.selected(&document.select(&Filter::of(keys))).collect()
    }

    #[test]
    fn an_entry_is_selected_by_the_spelling_of_its_key() {
        let (document, empty) = (document(&builtin()), document(&Map::new()));
        assert_eq!(selected(&document, &["4", "2", "missing", "2"]), r#"{"2":"Bienvenido","4":"Servidor"}"#);
        assert_eq!(selected(&document, &["", "02"]), "{}");
        assert_eq!(selected(&empty, &["a"]), "{}");
    }

    #[test]
    fn entries_are_found_with_any_characters_in_keys_and_values() {
        let texts = ["", "\"", "\\", "\\\"", "a", "a\"", "ab", "{\"a\":1,", "}", "]", ",", "\u{9b}", "ñ", "1", "\u{1}"];
        let inner = Map::from([("a\"}".into(), Value::from(vec![Value::Null, "],{\"".into()])), (7.into(), 8.into())]);
        let values = [Value::from("},\"x\\\":"), inner.into(), Value::Null, Value::Float(0.5), Value::List(vec![])];
        let mut map: Map =
            texts.into_iter().zip(values.iter().cycle()).map(|(key, value)| (key.into(), value.clone())).collect();
        map.extend((-3..0).chain(2..13).map(|number| (Key::Int(number), Value::from(number))));
        let document = document(&map);
        for (key, value) in &map {
            let spelling = key.to_string();
            let alone = Map::from([(key.clone(), value.clone())]);
            let json = String::from_utf8(Format::Json.encode_map(&alone).unwrap()).unwrap();
            assert_eq!(selected(&document, &[&spelling]), json);
            let range = document.value(&format::write_value(&spelling).unwrap()).unwrap();
            assert_eq!(document.json()[range], format::write_value(value).unwrap());
        }
        let all: Vec<String> = map.keys().map(ToString::to_string).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(selected(&document, &all), document.json());
        assert_eq!(document.value("\"aa\""), None);
    }

    #[test]
    fn a_filter_takes_linear_time_and_less_for_few_keys() {
        let entries: Vec<String> = (0..30_000).map(|key| format!("\"{key:05}\":0")).collect();
        let numbers: Vec<u32> = (0..30_000).collect();
        let count_reads = |keys: &[usize]| {
            let keys: Vec<String> = keys.iter().map(|key| format!("\"{key:05}\"")).collect();
            let reads = std::cell::Cell::new(0);
            let entry = |number: u32| {
                reads.set(reads.get() + 1);
                entries[number as usize].as_str()
            };
            let found = find_all(keys.iter().map(String::as_str), &numbers, entry);
            assert_eq!(found.len(), keys.len());
            reads.get()
        };
        for step in [1, 2, 3, 5, 30, 1000] {
            let keys: Vec<usize> = (0..30_000).step_by(step).collect();
            let reads = count_reads(&keys);
            assert!(reads <= 4 * (30_000 + keys.len()), "{reads} reads for {} keys", keys.len());
        }
        assert!(count_reads(&[29_999]) < 50);
    }

    #[test]
    fn a_fingerprint_changes_only_with_the_selected_entries() {
        let hasher = RandomState::new();
        let map = |a: i64, b: i64| Map::from([("a".into(), a.into()), ("b".into(), b.into())]);
        let filter = Filter::of(&["a", "c"]);
        let fingerprint =
            |version, map: &Map| Document::new(version, map, hasher.clone()).unwrap().select(&filter).fingerprint;
        assert_eq!(fingerprint(1, &map(1, 1)), fingerprint(2, &map(1, 2)));
        assert_ne!(fingerprint(1, &map(1, 1)), fingerprint(2, &map(2, 1)));
        assert_ne!(fingerprint(1, &map(1, 1)), fingerprint(2, &Map::new()));
    }
}
