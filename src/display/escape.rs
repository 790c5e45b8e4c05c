//! Escapes external text for output.

/// Returns `text` with control characters, invisible characters and line breaks escaped. Quotes and backslashes stay:
/// quoted text has been escaped before, and other text is not in quotes.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        push_escaped(&mut escaped, character);
        escaped
    })
}

/// Returns the first `most` characters of `text`, escaped as by [`escape`], followed by `...` if there are more: external
/// text may have any length.
pub(crate) fn escape_start(text: &str, most: usize) -> String {
    let end = text.char_indices().nth(most).map(|(end, _)| end);
    let mut escaped = escape(&text[..end.unwrap_or(text.len())]);
    if end.is_some() {
        escaped.push_str("...");
    }
    escaped
}

/// Appends `character` to `text`, escaped as by [`escape`].
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
    fn control_characters_are_escaped_and_letters_stay() {
        assert_eq!(escape("\x1b[2J\n\u{9b}\u{7f}\u{202e}ñ\"'\\"), "\\u{1b}[2J\\n\\u{9b}\\u{7f}\\u{202e}ñ\"'\\");
    }

    #[test]
    fn only_text_above_the_limit_is_truncated_and_marked() {
        for (text, wanted) in [("", ""), ("ñ\n", "ñ\\n"), ("ñ\n\u{9b}", "ñ\\n\\u{9b}"), ("ñ\nxy", "ñ\\nx...")] {
            assert_eq!(escape_start(text, 3), wanted);
        }
    }
}
