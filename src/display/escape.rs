//! Text from outside, made safe to print.

/// Returns `text` with everything that could move a cursor, hide itself or begin a new line spelled out. Quotes and
/// backslashes stay: what is quoted here has been escaped before, and the rest stands in no quotes.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        push_escaped(&mut escaped, character);
        escaped
    })
}

/// Returns the first `most` characters of `text` as [`escape`] does, with `...` behind them if there are more: what others
/// have written may be of any length.
pub(crate) fn escape_start(text: &str, most: usize) -> String {
    let end = text.char_indices().nth(most).map(|(end, _)| end);
    let mut escaped = escape(&text[..end.unwrap_or(text.len())]);
    if end.is_some() {
        escaped.push_str("...");
    }
    escaped
}

/// Adds `character` to `text`, spelled out where [`escape`] spells it out.
pub(crate) fn push_escaped(text: &mut String, character: char) {
    match character {
        '"' | '\'' | '\\' => text.push(character),
        character => text.extend(character.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out_and_letters_stay() {
        assert_eq!(escape("\x1b[2J\n\u{9b}\u{7f}\u{202e}ñ\"'\\"), "\\u{1b}[2J\\n\\u{9b}\\u{7f}\\u{202e}ñ\"'\\");
    }

    #[test]
    fn only_what_is_too_long_is_cut_and_marked() {
        for (text, wanted) in [("", ""), ("ñ\n", "ñ\\n"), ("ñ\n\u{9b}", "ñ\\n\\u{9b}"), ("ñ\nxy", "ñ\\nx...")] {
            assert_eq!(escape_start(text, 3), wanted);
        }
    }
}
