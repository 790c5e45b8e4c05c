//! Options for the form of printed lines.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::color::ColorChoice;
use crate::line_format::LineFormat;

/// Options for the form of printed lines.
#[derive(Debug, Args)]
pub(crate) struct LineArgs {
    /// Print a line in this form for each entry, with --output diff for each change: %k key, %v value, %j value as JSON,
    /// %n number of the map, %I time, %U Unix time, %c mark and %o old value of a change
    #[arg(short = 'F', long, value_name = "FORMAT", env = "MAPCAST_LINE_FORMAT", allow_hyphen_values = true, value_parser = LineFormat::parse)]
    pub(crate) line_format: Option<LineFormat>,
    /// Begin each line with the time, in UTC
    #[arg(long, env = "MAPCAST_TIMESTAMPS", value_parser = BoolishValueParser::new())]
    pub(crate) timestamps: bool,
    /// Exit after one printed map, as --count 1 does
    #[arg(long, env = "MAPCAST_ONCE", value_parser = BoolishValueParser::new())]
    pub(crate) once: bool,
    /// When lines have colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", env = "MAPCAST_COLOR", default_value = "auto", value_enum)]
    pub(crate) color: ColorChoice,
}
