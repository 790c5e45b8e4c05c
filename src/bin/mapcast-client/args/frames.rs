//! How frames are read.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mapcast::format::UnknownFormat;
use mapcast::{Format, display::units};

/// The name of no particular format.
const AUTO: &str = "auto";

/// The value of `--format`; `None` is `auto`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChosenFormat(pub(super) Option<Format>);

fn parse_format(name: &str) -> Result<ChosenFormat, UnknownFormat> {
    if name == AUTO { Ok(ChosenFormat(None)) } else { name.parse().map(Some).map(ChosenFormat) }
}

/// How frames are read.
#[derive(Debug, Args)]
pub(super) struct FrameArgs {
    /// Format of the server's maps; auto takes it from the first map of each connection
    #[arg(
        short,
        long,
        env = "MAPCAST_FORMAT",
        default_value = AUTO,
        value_parser = PossibleValuesParser::new([AUTO].into_iter().chain(Format::ALL.map(Format::name))).try_map(|name| parse_format(&name))
    )]
    pub(super) format: ChosenFormat,
    /// Largest payload to accept
    #[arg(
        long,
        value_name = "SIZE",
        env = "MAPCAST_MAX_FRAME",
        default_value = "1MiB",
        value_parser = units::parse_size
    )]
    pub(super) max_frame: usize,
}
