//! The change that a request asks for: what replaces the map, is merged into it, or sets or removes one entry.

use crate::display::error_chain::ErrorChain;
use crate::format;
use crate::http::protocol::response::Response;
use crate::map::{self, Key, Map, Value};

/// The change that a method and a path request.
pub(super) enum ChangeKind {
    Replace,
    Patch,
    Set(Key),
    Remove(Key),
}

/// A decoded change.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Replace the whole map.
    Replace(Map),
    /// Merge this patch into the map (RFC 7396).
    Patch(Map),
    /// Set one entry.
    Set(Key, Value),
    /// Remove one entry.
    Remove(Key),
}

impl Change {
    /// The key of the one entry that the change is for; `None` if it is for the map.
    pub(super) fn entry(&self) -> Option<&Key> {
        match self {
            Self::Set(key, _) | Self::Remove(key) => Some(key),
            Self::Replace(_) | Self::Patch(_) => None,
        }
    }

    /// Makes the change in `map`.
    pub(super) fn apply_to(self, map: &mut Map) {
        match self {
            Self::Replace(whole) => *map = whole,
            Self::Patch(patch) => map::merge(map, patch),
            Self::Set(key, value) => drop(map.insert(key, value)),
            Self::Remove(key) => drop(map.remove(&key)),
        }
    }
}

impl ChangeKind {
    pub(super) fn decode(self, body: &[u8]) -> Result<Change, Response> {
        match self {
            Self::Replace => decode_map(body).map(Change::Replace),
            Self::Patch => decode_map(body).map(Change::Patch),
            Self::Set(key) => decode_value(body).map(|value| Change::Set(key, value)),
            Self::Remove(key) => Ok(Change::Remove(key)),
        }
    }
}

fn decode_map(body: &[u8]) -> Result<Map, Response> {
    let refused = |error| bad_body("the body is not a map in JSON", &error);
    format::decode_unique_json(body).map(map::number_keys).map_err(refused)
}

fn decode_value(body: &[u8]) -> Result<Value, Response> {
    let refused = |error| bad_body("the body is not a value in JSON", &error);
    format::decode_json_value(body).map(map::number_keys_in).map_err(refused)
}

/// Returns `400` with the cause of `error`, without its advice to readers of a feed.
fn bad_body(message: &str, error: &format::Error) -> Response {
    let cause = match error {
        format::Error::Decode { source, .. } => ErrorChain(&**source).to_string(),
        error => ErrorChain(error).to_string(),
    };
    Response::bad_request(&format!("{message}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::response::Code;

    #[test]
    fn a_body_that_is_not_a_map_is_refused() {
        for body in ["", "[]", "null", "{\"a\":", "{\"\u{9b}\":1e400}", &"[".repeat(100_000)] {
            let refusal = ChangeKind::Replace.decode(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.code(), Code::BadRequest);
        }
    }
}
