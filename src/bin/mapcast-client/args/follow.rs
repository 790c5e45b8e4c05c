//! Options for printing and delivering maps.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use clap::builder::{BoolishValueParser, NonEmptyStringValueParser};
use mapcast::client::{ClientConfig, Error, FollowConfig};

use super::conflict::conflict;
use super::frames::FrameArgs;
use crate::advice::advice;
use crate::config::Task;
use crate::deliver::DeliverArgs;
use crate::duration::parse_nonzero;
use crate::line_args::LineArgs;
use crate::line_format::LineFormat;
use crate::print::{Output, PrintConfig};
use crate::selection::Selection;
use crate::tls_options::TLS_OPTIONS;
use crate::watch::{self, WatchArgs};

/// Options for printing and delivering maps.
#[derive(Debug, Args)]
pub(super) struct FollowArgs {
    /// How to print a map
    #[arg(short, long, env = "MAPCAST_OUTPUT", default_value = "json", value_enum)]
    output: Output,
    #[command(flatten)]
    lines: LineArgs,
    /// Prefix each line with this text, to distinguish several clients in one terminal
    #[arg(long, value_name = "TEXT", env = "MAPCAST_PREFIX", allow_hyphen_values = true)]
    prefix: Option<String>,
    /// Exit after N printed maps
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        env = "MAPCAST_COUNT",
        value_parser = parse_count
    )]
    count: Option<u64>,
    /// Print a map only if it differs from the previously printed one
    #[arg(long, env = "MAPCAST_CHANGES_ONLY", value_parser = BoolishValueParser::new())]
    changes_only: bool,
    /// Print only this entry; may be repeated; exit with code 5 if it is missing
    #[arg(
        short,
        long = "key",
        value_name = "KEY",
        env = "MAPCAST_KEY",
        allow_hyphen_values = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    keys: Vec<String>,
    #[command(flatten)]
    screen: WatchArgs,
    #[command(flatten)]
    pub(super) frames: FrameArgs,
    /// Exit when the connection ends [default: reconnect after a random time up to 1s, doubling to 5s]
    #[arg(long, env = "MAPCAST_NO_RECONNECT", value_parser = BoolishValueParser::new())]
    no_reconnect: bool,
    /// Retry the first connection for this long, or for ever without a value, instead of exiting with code 3
    #[arg(
        long,
        value_name = "DURATION",
        env = "MAPCAST_WAIT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = parse_wait
    )]
    wait: Option<Duration>,
    /// Reconnect after this much silence [default: three intervals, as learned from the server's repeats, from 10s to
    /// 3m]
    #[arg(long, value_name = "DURATION", env = "MAPCAST_STALE_AFTER", value_parser = parse_nonzero)]
    stale_after: Option<Duration>,
    #[command(flatten)]
    pub(super) deliver: DeliverArgs,
}

impl FollowArgs {
    pub(super) fn into_task(self, client: ClientConfig) -> Result<Task, clap::Error> {
        if self.output == Output::Raw && !self.keys.is_empty() {
            return Err(conflict("--key cannot be used with --output raw, which does not decode the payload"));
        }
        if self.output == Output::Raw && self.prefix.is_some() {
            return Err(conflict("--prefix cannot be used with --output raw, which has no lines"));
        }
        if self.output == Output::Raw && self.lines.timestamps {
            return Err(conflict("--timestamps cannot be used with --output raw, which has no lines"));
        }
        let LineArgs { line_format, timestamps, once, color } = self.lines;
        if self.output != Output::Diff && line_format.as_ref().is_some_and(LineFormat::needs_changes) {
            return Err(conflict("%c and %o of --line-format need --output diff"));
        }
        if once && self.count.is_some() {
            return Err(conflict("--once cannot be used with --count"));
        }
        let count = if once { Some(1) } else { self.count };
        let draws = self.screen.watch && watch::can_draw();
        // The screen says what it waits for.
        let patience = if draws && !self.no_reconnect { Duration::MAX } else { Duration::ZERO };
        let wait = self.wait.unwrap_or(patience);
        let (reconnect, stale_after) = (!self.no_reconnect, self.stale_after);
        let advice = |error: &Error| advice(error, &TLS_OPTIONS);
        let follow = FollowConfig { client, reconnect, stale_after, wait, advice };
        let selection = Selection::new(self.keys);
        if let Some(deliver) = self.deliver.into_config().map_err(|text| conflict(&text))? {
            if self.screen.watch {
                return Err(conflict("--watch cannot be used with --write, --exec or --run"));
            }
            if count.is_some() && deliver.forwards_signals() {
                let option = if once { "--once" } else { "--count" };
                return Err(conflict(&format!(
                    "{option} cannot be used with --run, which lasts as long as its program"
                )));
            }
            return Ok(Task::Deliver { follow, selection, count, deliver });
        }
        if draws {
            return Ok(Task::Watch { follow, selection, is_colored: color.palette().is_colored() });
        }
        let print = PrintConfig {
            output: if self.screen.watch { Output::Pretty } else { self.output },
            prefix: self.prefix.unwrap_or_default(),
            timestamps,
            line_format: line_format.filter(|_| !self.screen.watch),
            palette: color.palette(),
            changes_only: self.changes_only,
            is_terminal: io::stdout().is_terminal(),
            selection,
        };
        Ok(Task::Follow { follow, print, count })
    }
}

/// Parses a number of maps, at least 1.
fn parse_count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("write an integer, at least 1".to_owned()),
    }
}

/// Parses how long to retry the first connection; `true` is for ever, `false` is not at all.
fn parse_wait(text: &str) -> Result<Duration, String> {
    match text {
        "true" => Ok(Duration::MAX),
        "false" => Ok(Duration::ZERO),
        text => parse_nonzero(text),
    }
}
