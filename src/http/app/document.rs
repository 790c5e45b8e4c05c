//! One version of the map as JSON, which everything that is sent of it over HTTP is a part of.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::iter;
use std::ops::Range;
use std::sync::OnceLock;

use super::filter::Filter;
use crate::backlog::Payload;
use crate::format::{self, Format};
use crate::map::Map;

/// The JSON of a map: one object on one line, and where its entries stand.
///
/// It is all that a slow peer keeps of a version: streams with filters and single entries are sent as slices of it.
#[derive(Debug)]
pub(crate) struct Document {
    version: u64,
    json: Box<str>,
    /// Where each entry ends, in the order of the map; the first begins after the brace, each other one after a comma.
    ends: Box<[usize]>,
    /// The numbers of the entries, ordered by their JSON. Made when a key is first looked up.
    by_key: OnceLock<Box<[u32]>>,
    /// A hash of each entry, in the order of the map. Made for the first filter.
    hashes: OnceLock<Box<[u64]>>,
    /// Has a key that no peer knows, so that none can make two selections look equal.
    hasher: RandomState,
}

/// The entries of a document that a filter has chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Their numbers, ascending.
    entries: Box<[u32]>,
    /// Equal for equal entries, in any version. Of different ones it is equal by chance alone, 1 in 2^64; a stream then
    /// has that change with the next repeat.
    pub(crate) fingerprint: u64,
}

impl Document {
    /// Returns the document of `map`, which has this `version`. `hasher` must be the same for all versions.
    ///
    /// # Errors
    /// If the map has no form in JSON.
    pub(crate) fn new(version: u64, map: &Map, hasher: RandomState) -> Result<Self, format::Error> {
        let json = String::from_utf8(Format::Json.encode_map(map)?)
            .map_err(|error| format::Error::Encode { format: Format::Json, source: error.into() })?;
        let ends = entry_ends(json.as_bytes(), map.len());
        // Without the room that it was given to grow.
        let json = json.into_boxed_str();
        Ok(Self { version, json, ends, by_key: OnceLock::new(), hashes: OnceLock::new(), hasher })
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The whole map.
    pub(crate) fn json(&self) -> &str {
        &self.json
    }

    /// Returns the entries as a JSON list of pairs of texts: the key, and the value's JSON.
    pub(crate) fn pairs(&self) -> Box<str> {
        // Quotes are escaped once more.
        let mut pairs = Vec::with_capacity(self.json.len() + self.json.len() / 8 + 8 * self.ends.len());
        pairs.push(b'[');
        for number in (0..).take(self.ends.len()) {
            let entry = self.entry(number);
            let (key, value) = entry.split_at(behind_string(entry.as_bytes(), 0));
            pairs.extend_from_slice(if number == 0 { b"[" } else { b",[" });
            pairs.extend_from_slice(key.as_bytes());
            pairs.push(b',');
            // Writing text to memory does not fail.
            let _ = serde_json::to_writer(&mut pairs, &value[1..]);
            pairs.push(b']');
        }
        pairs.push(b']');
        String::from_utf8(pairs).unwrap_or_default().into()
    }

    /// What counts while a peer is slow to take any part of it: text and indexes.
    pub(crate) fn payload(&self) -> Payload {
        let index = size_of::<usize>() + size_of::<u32>() + size_of::<u64>();
        Payload::new(self.version, self.json.as_bytes()).and(self.ends.len() * index)
    }

    /// Returns where in the JSON the value of `key` stands, which is a JSON string; `None` if there is no such entry.
    pub(crate) fn value(&self, key: &str) -> Option<Range<usize>> {
        let by_key = self.by_key();
        let at = by_key.partition_point(|&number| self.entry(number) < key);
        let number = *by_key.get(at).filter(|&&number| self.entry(number).starts_with(key))?;
        let Range { start, end } = self.range(number);
        // Behind the colon.
        Some(start + key.len() + 1..end)
    }

    /// Returns the entries that `filter` names. Takes time linear in its keys and the map's entries together, less if the
    /// keys are few.
    pub(crate) fn select(&self, filter: &Filter) -> Selection {
        let mut entries = find_all(filter.keys(), self.by_key(), |number| self.entry(number));
        entries.sort_unstable();
        let hashes = self.hashes();
        let hashes: Vec<u64> = entries.iter().map(|&number| hashes[number as usize]).collect();
        Selection { entries: entries.into(), fingerprint: self.hasher.hash_one(hashes) }
    }

    /// Returns the JSON of the entries that are selected, in parts.
    pub(crate) fn narrowed<'part>(&'part self, selection: &'part Selection) -> impl Iterator<Item = &'part str> {
        let entries = selection.entries.iter().enumerate();
        let entries = entries.flat_map(|(n, &number)| [if n == 0 { "" } else { "," }, self.entry(number)]);
        iter::once("{").chain(entries).chain(iter::once("}"))
    }

    /// The key of the entry `number` and its value, with the colon between them.
    fn entry(&self, number: u32) -> &str {
        &self.json[self.range(number)]
    }

    fn range(&self, number: u32) -> Range<usize> {
        let number = number as usize;
        let before = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        before + 1..self.ends[number]
    }

    /// JSON strings begin no other ones, so the order of the entries is that of their keys, and an entry begins with a key's
    /// JSON if and only if it is that key's.
    fn by_key(&self) -> &[u32] {
        self.by_key.get_or_init(|| {
            // Each takes five bytes and more, and a frame has at most 10^10.
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

/// Returns those of `numbers` whose `entry` has one of `keys`; both are in the order of their JSON.
fn find_all<'key, 'entry>(
    keys: impl Iterator<Item = &'key str>,
    numbers: &[u32],
    entry: impl Fn(u32) -> &'entry str,
) -> Vec<u32> {
    let (mut found, mut rest) = (Vec::new(), numbers);
    for key in keys {
        // Doubled steps, then a binary search in what they have passed: each key's search begins where the one before it has
        // ended, so that all of them together look at fewer entries than a walk through both lists would.
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

/// Returns where each entry of `object`, a JSON object on one line that was written here, ends.
fn entry_ends(object: &[u8], entries: usize) -> Box<[usize]> {
    let mut ends = Vec::with_capacity(entries);
    let (mut depth, mut at) = (0, 0);
    while let Some(byte) = object.get(at) {
        match byte {
            b'"' => {
                at = behind_string(object, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b',' if depth == 1 => ends.push(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    // Behind the last one stands the brace that ends the object.
    if entries > 0 {
        ends.push(object.len() - 1);
    }
    ends.into()
}

/// Returns where the string ends that begins `at` there, behind its second quote.
fn behind_string(json: &[u8], at: usize) -> usize {
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

    fn narrowed(document: &Document, keys: &[&str]) -> String {
        document.narrowed(&document.select(&Filter::of(keys))).collect()
    }

    #[test]
    fn an_entry_is_found_by_the_spelling_of_its_key() {
        let (document, empty) = (document(&builtin()), document(&Map::new()));
        assert_eq!(narrowed(&document, &["4", "2", "nobody", "2"]), r#"{"2":"Bienvenido","4":"Servidor"}"#);
        assert_eq!(narrowed(&document, &["", "02"]), "{}");
        assert_eq!(narrowed(&empty, &["a"]), "{}");
    }

    #[test]
    fn entries_are_told_apart_whatever_their_keys_and_values_have() {
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
            assert_eq!(narrowed(&document, &[&spelling]), json);
            let place = document.value(&format::write_value(&spelling).unwrap()).unwrap();
            assert_eq!(document.json()[place], format::write_value(value).unwrap());
        }
        let all: Vec<String> = map.keys().map(ToString::to_string).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(narrowed(&document, &all), document.json());
        assert_eq!(document.value("\"aa\""), None);
    }

    #[test]
    fn a_filter_takes_linear_time_and_little_for_few_keys() {
        let entries: Vec<String> = (0..30_000).map(|key| format!("\"{key:05}\":0")).collect();
        let numbers: Vec<u32> = (0..30_000).collect();
        let looks = |keys: &[usize]| {
            let keys: Vec<String> = keys.iter().map(|key| format!("\"{key:05}\"")).collect();
            let looks = std::cell::Cell::new(0);
            let entry = |number: u32| {
                looks.set(looks.get() + 1);
                entries[number as usize].as_str()
            };
            let found = find_all(keys.iter().map(String::as_str), &numbers, entry);
            assert_eq!(found.len(), keys.len());
            looks.get()
        };
        for step in [1, 2, 3, 5, 30, 1000] {
            let keys: Vec<usize> = (0..30_000).step_by(step).collect();
            let looks = looks(&keys);
            assert!(looks <= 4 * (30_000 + keys.len()), "{looks} looks for {} keys", keys.len());
        }
        assert!(looks(&[29_999]) < 50);
    }

    #[test]
    fn a_fingerprint_changes_with_the_entries_that_are_selected_and_no_others() {
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
