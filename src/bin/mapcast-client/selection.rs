//! Which entries of a map are asked for.

use mapcast::Map;

/// The entries that are asked for, by the text of their keys; all of them if there is no key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    keys: Vec<String>,
}

/// An entry that was asked for and that the map does not have.
#[derive(Debug, thiserror::Error)]
#[error("the map has no entry \"{}\"", .0.escape_debug())]
pub(crate) struct MissingKey(String);

impl Selection {
    pub(crate) fn new(keys: Vec<String>) -> Self {
        Self { keys }
    }

    /// True if and only if every entry is asked for.
    pub(crate) fn is_all(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the entries that are asked for. A key is asked for by its text, whether it is text or a number.
    pub(crate) fn pick(&self, mut map: Map) -> Result<Map, MissingKey> {
        if self.is_all() {
            return Ok(map);
        }
        map.retain(|key, _| self.keys.contains(&key.to_string()));
        match self.keys.iter().find(|wanted| !map.keys().any(|key| key.to_string() == **wanted)) {
            Some(missing) => Err(MissingKey(missing.clone())),
            None => Ok(map),
        }
    }
}
