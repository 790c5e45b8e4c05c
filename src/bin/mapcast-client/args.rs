//! The command line and the environment, parsed once into a validated configuration.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

mod common;
mod conflict;
mod follow;
mod frames;

use std::ffi::OsString;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use mapcast::client::ClientConfig;

use crate::address::AddressArgs;
use crate::commands::{self, CommandArgs, get::GetArgs};
use crate::config::{Config, Task};
use crate::conflicts;
use crate::duration::parse_nonzero;
use crate::manual::HELP;
use crate::timeout;
use common::CommonArgs;
use conflict::{conflict, reject_follow_options, reject_options_without_effect};
use follow::FollowArgs;
use frames::FrameArgs;

/// Returns the configuration from the command line and the environment. Prints the help and exits if it was requested;
/// prints an error and exits with code 2 if an option is wrong.
pub(crate) fn parse() -> Config {
    let mut command = definition();
    let config = command_line(&mut command, std::env::args_os()).and_then(|line| {
        if let Some(time) = line.longest_time() {
            // Before any file is read.
            timeout::exit_after(time);
        }
        line.into_config()
    });
    config.unwrap_or_else(|error| {
        HELP.exit_if_short(&error, definition());
        error.format(&mut command).exit()
    })
}

/// Returns the definition of the command line.
pub(crate) fn definition() -> clap::Command {
    HELP.arrange(CommandLine::command())
}

fn command_line<I>(command: &mut clap::Command, words: I) -> Result<CommandLine, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let mut matches = command.try_get_matches_from_mut(&words)?;
    let overridden = conflicts::overridden(&matches);
    if !overridden.is_empty() {
        *command =
            overridden.into_iter().fold(definition(), |command, id| command.mut_arg(id, |arg| arg.env(None::<&str>)));
        matches = command.try_get_matches_from_mut(&words)?;
    }
    reject_follow_options(command, &matches)?;
    reject_options_without_effect(&matches)?;
    commands::tls_conflict(command, &matches).map_or(Ok(()), |text| Err(conflict(&text)))?;
    let line = CommandLine::from_arg_matches(&matches)?;
    Ok(CommandLine { may_mean_command: may_mean_command(&matches), ..line })
}

/// A command precedes its address: in `mapcast-client HOST check`, `check` is not a command.
const USAGE: &str = "mapcast-client [OPTIONS] [ADDR:PORT]
       mapcast-client <COMMAND> [OPTIONS] [ADDR:PORT]";

/// Print each map that a mapcast server sends, one line per map
#[derive(Debug, Parser)]
#[command(name = "mapcast-client", version, help_expected = true, override_usage = USAGE)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    address: AddressArgs,
    #[command(flatten)]
    common: CommonArgs,
    /// For [`Config::may_mean_command`].
    #[arg(skip)]
    may_mean_command: bool,
}

/// The commands beside printing maps.
#[derive(Debug, Subcommand)]
enum Command {
    /// Receive one map, and exit with 0 if it is good
    ///
    /// Prints one line on standard error, within --timeout [default: 2s].
    Check {
        #[command(flatten)]
        address: AddressArgs,
        #[command(flatten)]
        frames: FrameArgs,
        /// Exit with code 124 after this time, or with 3 if not connected by then
        // Replaces the global option, which has no default.
        #[arg(
            short = 'W',
            long,
            value_name = "DURATION",
            env = "MAPCAST_TIMEOUT",
            default_value = "2s",
            value_parser = parse_nonzero
        )]
        timeout: Duration,
    },
    /// Print values of the current map
    ///
    /// One line each. Exit code 5 if a KEY is missing.
    Get {
        #[command(flatten)]
        get: GetArgs,
        #[command(flatten)]
        frames: FrameArgs,
        /// Exit with code 124 after this time
        // Replaces the global option, which has no default.
        #[arg(
            short = 'W',
            long,
            value_name = "DURATION",
            env = "MAPCAST_TIMEOUT",
            default_value = "10s",
            value_parser = parse_nonzero
        )]
        timeout: Duration,
    },
    #[command(flatten)]
    Other(CommandArgs),
    /// Send TEXT to an echo server, and print what comes back
    ///
    /// Without TEXT, standard input is sent. The connection is half-closed at its end.
    Echo {
        #[command(flatten)]
        address: AddressArgs,
        /// Text to send [default: standard input]
        text: Option<String>,
    },
    /// Print what a greeting server sends until it closes
    Greet {
        #[command(flatten)]
        address: AddressArgs,
    },
}

impl CommandLine {
    /// Returns the longest time that the run may take, including the end of what it starts; `None` is no limit.
    fn longest_time(&self) -> Option<Duration> {
        match &self.command {
            Some(Command::Check { timeout, .. } | Command::Get { timeout, .. }) => Some(*timeout),
            Some(Command::Other(command)) if command.is_interactive() => None,
            Some(_) => self.common.timeout,
            None => Some(self.common.timeout?.saturating_add(self.follow.deliver.longest_end())),
        }
    }

    fn into_config(self) -> Result<Config, clap::Error> {
        let frames = match &self.command {
            Some(Command::Check { frames, .. } | Command::Get { frames, .. }) => frames,
            _ => &self.follow.frames,
        };
        let client = ClientConfig {
            format: frames.format.0,
            max_frame: frames.max_frame,
            connect_timeout: self.common.connect_timeout,
            tls: self.common.tls.load().map_err(|text| clap::Error::raw(ErrorKind::ValueValidation, text))?,
        };
        let (mut timeout, mut verbosity) =
            (self.common.timeout, i16::from(self.common.verbose) - i16::from(self.common.quiet));
        let (address, task) = match self.command {
            None => (self.address, self.follow.into_task(client.clone())?),
            Some(Command::Check { address, timeout: own, .. }) => {
                timeout = Some(own);
                // `check` prints a line of its own.
                verbosity -= 1;
                (address, Task::Check)
            }
            Some(Command::Get { get, timeout: own, .. }) => {
                timeout = Some(own);
                // `get` has no log of its connection.
                verbosity -= 1;
                (self.address, Task::Command(commands::Command::Get(get)))
            }
            Some(Command::Other(command)) => {
                timeout = timeout.filter(|_| !command.is_interactive());
                (self.address, Task::Command(command.into_command(self.common.connect_timeout, self.common.timeout)))
            }
            Some(Command::Echo { address, text }) => (address, Task::Echo { text }),
            Some(Command::Greet { address }) => (address, Task::Greet),
        };
        Ok(Config {
            address: address.address,
            client,
            timeout,
            verbosity,
            may_mean_command: self.may_mean_command,
            task,
        })
    }
}

/// True if and only if the address was typed as one word, as commands are: `chek`. A host may have that name, so this
/// matters only if the host cannot be found.
fn may_mean_command(matches: &ArgMatches) -> bool {
    let typed = matches.value_source("address") == Some(ValueSource::CommandLine);
    let address = matches.get_raw("address").filter(|_| typed).and_then(|mut words| words.next()?.to_str());
    address.is_some_and(|address| !address.contains(['.', ':']))
}

#[cfg(test)]
mod tests;
