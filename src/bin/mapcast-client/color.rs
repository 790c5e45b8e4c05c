//! Colours on a terminal.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::env;
use std::io::{self, IsTerminal};

use clap::ValueEnum;

/// When the output has colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// A colour, by its code in a terminal (ECMA-48, section 8.3.117).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Color {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Adds colours, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Palette {
    is_colored: bool,
}

impl Palette {
    /// Adds no colours.
    pub(crate) const PLAIN: Self = Self { is_colored: false };

    /// Returns `text`, which is one line, in this colour.
    pub(crate) fn paint(self, color: Color, text: &str) -> String {
        if self.is_colored { format!("\x1b[{}m{text}\x1b[0m", color as u8) } else { text.to_owned() }
    }
}

impl ColorChoice {
    /// Returns the palette for standard output.
    pub(crate) fn palette(self) -> Palette {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let is_colored = match self {
            Self::Auto => io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb,
            Self::Always => true,
            Self::Never => false,
        };
        Palette { is_colored }
    }
}
