//! The requested entries of a map.

use mapcast::Map;

/// The keys of the requested entries; no keys request all entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    keys: Vec<String>,
}

/// A requested entry that the map does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the map has no entry \"{}\"", .0.escape_debug())]
pub(crate) struct MissingKey(String);

impl MissingKey {
    pub(crate) fn new(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl Selection {
    pub(crate) fn new(keys: Vec<String>) -> Self {
        Self { keys }
    }

    /// True if and only if every entry is requested.
    pub(crate) fn is_all(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the requested entries. A key matches by its text, whether it is a string or an integer.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_has_its_text() {
        assert_eq!(MissingKey::new("x\n").to_string(), "the map has no entry \"x\\n\"");
    }
}
