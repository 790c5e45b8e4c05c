//! One line of the screen: safe to print, and no wider than the terminal.

use std::ops::Range;

use unicode_width::UnicodeWidthStr;

/// A line on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Safe to print, and cut to the width.
    pub(super) text: String,
    pub(super) style: Style,
    /// The bytes of `text` that are a key; empty in a line without one.
    pub(super) key: Range<usize>,
}

/// How a line is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    /// The title.
    Strong,
    /// Less important text.
    Faint,
    /// Recent changes.
    Added,
    Changed,
    Removed,
    /// A problem.
    Error,
}

impl Line {
    /// Returns any `text` as a line of at most `columns`.
    pub(super) fn new(text: &str, style: Style, columns: usize) -> Self {
        Self { text: fit(text, columns), style, key: 0..0 }
    }

    /// Sets the bytes that are a key, unless the line is too short for all of it.
    pub(super) fn with_key(mut self, key: Range<usize>) -> Self {
        self.key = if self.text.get(key.clone()).is_some() { key } else { 0..0 };
        self
    }
}

/// Returns `text` with control characters escaped, cut to `columns`; `…` marks a cut.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let (mut fitted, mut used) = (String::new(), 0);
    // The length of `fitted` that leaves a column for `…`.
    let mut visible_rows = 0;
    for character in text.chars() {
        let piece = printable(character);
        used += piece.width();
        if used > columns {
            fitted.truncate(visible_rows);
            if columns > 0 {
                fitted.push('…');
            }
            return fitted;
        }
        fitted.push_str(&piece);
        if used < columns {
            visible_rows = fitted.len();
        }
    }
    fitted
}

/// As [`fit`], with the cut in the middle: the end of a key or of an error distinguishes it.
pub(super) fn fit_middle(text: &str, columns: usize) -> String {
    let pieces: Vec<String> = text.chars().map(printable).collect();
    if pieces.iter().map(|piece| piece.width()).sum::<usize>() <= columns {
        return pieces.concat();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let (mut tail, mut used) = (pieces.len(), 0);
    while tail > 0 && used + pieces[tail - 1].width() <= room / 2 {
        tail -= 1;
        used += pieces[tail].width();
    }
    let (mut head, mut used) = (0, used);
    while used + pieces[head].width() <= room {
        used += pieces[head].width();
        head += 1;
    }
    format!("{}…{}", pieces[..head].concat(), pieces[tail..].concat())
}

/// Escapes a character. Quotes and backslashes stay: values are JSON and are escaped already.
fn printable(character: char) -> String {
    match character {
        '"' | '\'' | '\\' => character.to_string(),
        character => character.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_the_column_with_an_ellipsis() {
        for (columns, wanted) in [(0, ""), (1, "…"), (3, "Ho…"), (4, "Hola"), (9, "Hola")] {
            assert_eq!(fit("Hola", columns), wanted, "{columns}");
        }
    }

    #[test]
    fn wide_characters_take_two_columns_and_are_not_split() {
        for (columns, wanted) in [(1, "…"), (2, "…"), (3, "日…"), (4, "日…"), (5, "日本…"), (6, "日本語")]
        {
            assert_eq!(fit("日本語", columns), wanted, "{columns}");
        }
    }

    #[test]
    fn a_long_key_is_cut_in_the_middle() {
        for (columns, wanted) in
            [(0, ""), (1, "…"), (2, "s…"), (9, "sens…/001"), (15, "sensor/…one/001"), (99, "sensor/a/one/001")]
        {
            assert_eq!(fit_middle("sensor/a/one/001", columns), wanted, "{columns}");
        }
        for columns in 0..9 {
            assert!(fit_middle("日本\x1b語日", columns).width() <= columns, "{columns}");
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(fit("\x1b[2J\n\u{9b}\u{202e}ñ\"\\", 80), "\\u{1b}[2J\\n\\u{9b}\\u{202e}ñ\"\\");
        assert_eq!(fit("\x1b[2J", 4), "…");
    }
}
