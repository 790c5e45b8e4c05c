//! Options of every command.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::time::Duration;

use clap::{ArgAction, Args};

use crate::duration::parse_nonzero;
use crate::tls::TlsArgs;

/// Options of every command, accepted before and after its name.
#[derive(Debug, Args)]
pub(super) struct CommonArgs {
    /// Exit with code 124 after this time [default: no limit]
    #[arg(short = 'W', long, global = true, value_name = "DURATION", env = "MAPCAST_TIMEOUT", value_parser = parse_nonzero)]
    pub(super) timeout: Option<Duration>,
    /// Time limit for resolving the server's name, and then for each of its addresses to answer
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "MAPCAST_CONNECT_TIMEOUT",
        default_value = "2s",
        value_parser = parse_nonzero
    )]
    pub(super) connect_timeout: Duration,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    /// Log more: -v debug, -vv trace; RUST_LOG takes precedence
    #[arg(short, long, global = true, action = ArgAction::Count, env = "MAPCAST_VERBOSE")]
    pub(super) verbose: u8,
    /// Log less: -q warnings, -qq errors, -qqq nothing
    #[arg(short, long, global = true, action = ArgAction::Count, env = "MAPCAST_QUIET")]
    pub(super) quiet: u8,
}
