//! Which format a payload has. `docs/protocol.md` has the rule, with its reasons.

use super::{Format, msgpack};

/// The fewest bytes of an entry in bincode: an integer key, 12, and null, 4.
const MIN_BINCODE_ENTRY: u64 = 16;

/// Returns the format of `payload`, as [`Format::detect`].
pub(super) fn detect(payload: &[u8]) -> Option<Format> {
    let other = match payload {
        _ if is_bincode(payload) => Some(Format::Bincode),
        [0x80, 2..=5, ..] => Some(Format::Pickle),
        _ => detect_characters(payload),
    };
    // A map's marker may also begin bincode, pickle and text. They have bytes after the first MessagePack value.
    let is_marked = matches!(payload, [0x80..=0x8f | 0xde | 0xdf, ..]);
    if is_marked && (other.is_none() || msgpack::validate(payload).is_ok()) { Some(Format::Msgpack) } else { other }
}

/// True if and only if `payload` has a count of entries that it is long enough for, and the tag of a first key.
fn is_bincode(payload: &[u8]) -> bool {
    let Some((count, entries)) = payload.split_first_chunk().map(|(count, rest)| (u64::from_le_bytes(*count), rest))
    else {
        return false;
    };
    match count {
        0 => entries.is_empty(),
        _ => count <= entries.len() as u64 / MIN_BINCODE_ENTRY && matches!(entries, [0 | 1, 0, 0, 0, ..]),
    }
}

/// Returns `Json` or `Text`, which are characters without NUL.
fn detect_characters(payload: &[u8]) -> Option<Format> {
    let text = str::from_utf8(payload).ok().filter(|text| !text.is_empty() && !text.contains('\0'))?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let is_text = lines.next().is_none_or(|line| line.contains('='));
    let is_json = text.trim_ascii_start().starts_with('{') && text.trim_ascii_end().ends_with('}');
    match (is_json, is_text) {
        // A text key may be any JSON without an equals sign. Only a line of text ends in LF.
        (true, true) if text.ends_with('\n') => Some(Format::Text),
        (true, _) => Some(Format::Json),
        (false, true) => Some(Format::Text),
        (false, false) => None,
    }
}
