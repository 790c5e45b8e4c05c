//! Errors of the format libraries, made safe to print.

use std::error::Error;
use std::fmt;

use crate::display::escape::push_escaped;

/// The longest text in characters. A longer one keeps its start and its end, because `serde_json` puts the position at the
/// end.
const MAX_CHARS: usize = 240;

/// The text of an error and of its sources. serde quotes unexpected values at any length, and unknown fields and variants
/// without escaping them.
#[derive(Debug)]
pub(super) struct Escaped {
    text: String,
    source: Option<Box<Self>>,
}

impl Escaped {
    pub(super) fn new(error: &(dyn Error + 'static)) -> Self {
        Self { text: escape(&error.to_string()), source: error.source().map(|source| Box::new(Self::new(source))) }
    }
}

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Escaped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Escapes what [`push_escaped`] escapes, and leaves out the middle of a longer text.
fn escape(text: &str) -> String {
    let count = text.chars().count();
    let mut escaped = String::with_capacity(text.len().min(MAX_CHARS));
    for (index, character) in text.chars().enumerate() {
        let left = count - index;
        match character {
            _ if count > MAX_CHARS && index == MAX_CHARS / 2 => escaped.push_str(" ... "),
            _ if count > MAX_CHARS && index > MAX_CHARS / 2 && left > MAX_CHARS / 2 => {}
            _ => push_escaped(&mut escaped, character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_escaped() {
        assert_eq!(
            escape("no \x1b[2J\u{9b}\u{7f}\n in \"\\u{1b}\" ñ"),
            "no \\u{1b}[2J\\u{9b}\\u{7f}\\n in \"\\u{1b}\" ñ"
        );
    }

    #[test]
    fn a_long_message_keeps_its_start_and_end() {
        let escaped = escape(&format!("invalid type: string \"{}\" at line 1 column 9", "x".repeat(1 << 20)));
        assert!(escaped.starts_with("invalid type") && escaped.ends_with("column 9"), "{escaped}");
        assert!(escaped.chars().count() < MAX_CHARS + 10, "{escaped}");
    }
}
