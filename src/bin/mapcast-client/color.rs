//! Colours on a terminal.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};

use clap::ValueEnum;

use crate::platform::terminal_type;

/// When the output has colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    // On a terminal, unless `NO_COLOR` is set or `TERM` is dumb. Not a help text: the names are enough there.
    #[default]
    Auto,
    Always,
    Never,
}

/// A colour, by its code in a terminal (ECMA-48, section 8.3.117).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Color {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// Adds colours, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Palette {
    is_colored: bool,
}

impl Palette {
    /// Adds no colours.
    pub(crate) const PLAIN: Self = Self { is_colored: false };

    pub(crate) fn is_colored(self) -> bool {
        self.is_colored
    }

    /// Returns `text`, which is one line, in this colour.
    pub(crate) fn paint(self, color: Color, text: &str) -> String {
        if self.is_colored { format!("\x1b[{}m{text}\x1b[0m", color as u8) } else { text.to_owned() }
    }
}

impl Palette {
    /// Returns `json` with the keys of its objects coloured.
    pub(crate) fn paint_json_keys(self, json: &str) -> String {
        let (mut painted, mut rest) = (String::with_capacity(json.len()), json);
        while let Some(start) = rest.find('"').filter(|_| self.is_colored) {
            let (before, from_quote) = rest.split_at(start);
            let (string, after) = from_quote.split_at(end_of_string(from_quote));
            painted.push_str(before);
            painted.push_str(&if after.starts_with(':') { self.paint(Color::Cyan, string) } else { string.to_owned() });
            rest = after;
        }
        painted + rest
    }

    /// Returns `lines` in the format `text` with their keys coloured.
    pub(crate) fn paint_line_keys(self, lines: &str) -> String {
        let key_end = |line: &str| {
            let quoted = line.starts_with('"').then(|| end_of_string(line));
            quoted.or_else(|| line.find('=')).unwrap_or(0)
        };
        let paint = |line: &str| {
            let (key, value) = line.split_at(key_end(line));
            self.paint(Color::Cyan, key) + value
        };
        lines.split_inclusive('\n').map(|line| if line == "\n" { line.to_owned() } else { paint(line) }).collect()
    }
}

/// Returns the end of the JSON string that `text` begins with.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    let is_end = |(_, character): &(usize, char)| {
        let is_end = *character == '"' && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        is_end
    };
    text.char_indices().skip(1).find(is_end).map_or(text.len(), |(end, _)| end + 1)
}

impl ColorChoice {
    /// Returns the palette for standard output.
    pub(crate) fn palette(self) -> Palette {
        let is_colored = match self {
            Self::Auto => io::stdout().is_terminal() && wants_colors(env::var_os("NO_COLOR"), terminal_type()),
            Self::Always => true,
            Self::Never => false,
        };
        Palette { is_colored }
    }
}

/// True if and only if the variables `NO_COLOR` (<https://no-color.org>) and `TERM` permit colours.
fn wants_colors(no_color: Option<OsString>, term: Option<OsString>) -> bool {
    no_color.is_none_or(|value| value.is_empty()) && term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_can_refuse_colours() {
        let wants = |no_color: Option<&str>, term: Option<&str>| {
            wants_colors(no_color.map(OsString::from), term.map(OsString::from))
        };
        assert!(wants(None, Some("xterm")) && wants(Some(""), Some("xterm")));
        assert!(!wants(Some("1"), Some("xterm")) && !wants(None, Some("dumb")) && !wants(None, None));
    }

    const COLORED: Palette = Palette { is_colored: true };

    #[test]
    fn only_keys_of_json_are_coloured() {
        let json = "{\"a\\\"b\":[\"x\",{\n  \"c\": \"d:e\"}]}";
        let painted = COLORED.paint_json_keys(json);
        assert_eq!(painted, "{\x1b[36m\"a\\\"b\"\x1b[0m:[\"x\",{\n  \x1b[36m\"c\"\x1b[0m: \"d:e\"}]}");
        assert_eq!(Palette::PLAIN.paint_json_keys(json), json);
    }

    #[test]
    fn only_keys_of_lines_are_coloured() {
        let painted = COLORED.paint_line_keys("a=b=c\n\"x=y\"=1\n");
        assert_eq!(painted, "\x1b[36ma\x1b[0m=b=c\n\x1b[36m\"x=y\"\x1b[0m=1\n");
        assert_eq!(COLORED.paint_line_keys("\n"), "\n");
        assert_eq!(Palette::PLAIN.paint_line_keys("a=b\n"), "a=b\n");
    }
}
