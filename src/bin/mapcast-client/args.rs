//! The command line and the environment, parsed once into a validated configuration.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

mod aliases;
mod common;
mod conflict;
mod follow;
mod frames;
mod tips;

use std::ffi::OsString;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use mapcast::client::ClientConfig;

use crate::address::AddressArgs;
use crate::commands::{self, CommandArgs, get::GetArgs};
use crate::config::{Config, Task};
use crate::conflicts;
use crate::duration::parse_nonzero;
use crate::environment;
use crate::manual::HELP;
use crate::timeout;
use crate::typed::Typed;
use common::CommonArgs;
use conflict::{conflict, reject_follow_options, reject_options_without_effect};
use follow::FollowArgs;
use frames::FrameArgs;

/// Returns the configuration from the command line and the environment. Prints the help and exits if it was requested;
/// prints an error and exits with code 2 if an option is wrong.
pub(crate) fn parse() -> Config {
    let words: Vec<OsString> = std::env::args_os().collect();
    let config = command_line(definition(), &words).and_then(|line| {
        if let Some(time) = line.longest_time() {
            // Before any file is read.
            timeout::exit_after(time);
        }
        line.into_config()
    });
    config.unwrap_or_else(|error| {
        HELP.exit_if_short(&error, definition());
        explained(error, &words).format(&mut definition()).exit()
    })
}

/// Returns the definition of the command line.
pub(crate) fn definition() -> clap::Command {
    HELP.arrange(CommandLine::command())
}

/// Returns `error` with the variable that causes it, or with what to type instead of `words`.
fn explained(error: clap::Error, words: &[OsString]) -> clap::Error {
    let parse = |definition| command_line(definition, words).map(drop);
    let mut error = environment::name_the_cause(error, &definition(), parse);
    let is_valid = |words: &[OsString]| command_line(definition(), words).is_ok();
    tips::explain(&mut error, &definition(), &Typed::new("mapcast-client", words, &is_valid), words);
    error
}

fn command_line(definition: clap::Command, words: &[OsString]) -> Result<CommandLine, clap::Error> {
    let (name, _) = tips::rough(definition.clone(), words);
    let definition = applicable(definition, name.as_deref());
    let mut command = definition.clone();
    let mut matches = command.try_get_matches_from_mut(words)?;
    let without_tls = without_tls(&matches);
    let overridden = [conflicts::overridden(&matches), without_tls.clone()].concat();
    if !overridden.is_empty() {
        command = environment::without(definition, |arg| overridden.contains(&arg.get_id().as_str()));
        matches = command.try_get_matches_from_mut(words)?;
    }
    reject_follow_options(&command, &matches)?;
    reject_options_without_effect(&matches)?;
    commands::tls_conflict(&command, &matches).map_or(Ok(()), |text| Err(conflict(&text)))?;
    let line = CommandLine::from_arg_matches(&matches)?;
    let of_tls = |id: &str| {
        let name = id.to_uppercase();
        format!("the variable MAPCAST_{name} has no effect without MAPCAST_TLS: the connection is not encrypted")
    };
    let unknown_host_hint = unknown_host_hint(&matches, words);
    let mut notices: Vec<String> = without_tls.into_iter().map(of_tls).collect();
    // A shell reads completions at each start.
    if name.as_deref() != Some("completions") {
        notices.extend(environment::unknown_variables());
    }
    // Before the name is resolved, which may take a while.
    notices.extend(host_notice(&command, &matches));
    Ok(CommandLine { unknown_host_hint, notices, ..line })
}

/// Returns `definition` without the variables that do not apply to the command `name`.
fn applicable(definition: clap::Command, name: Option<&str>) -> clap::Command {
    let Some(name) = name else { return definition };
    let unused = (HELP.unused)(name);
    let is_unused = |arg: &Arg| unused.contains(&arg.get_id().as_str());
    let strip = |arg: Arg, is_unused| if is_unused { arg.env(None::<&str>) } else { arg };
    let of_command = |command: clap::Command| {
        command.mut_args(|arg| {
            let is_unused = is_unused(&arg);
            strip(arg, is_unused)
        })
    };
    let definition = definition.mut_args(|arg| {
        let is_unused = !arg.is_global_set() || is_unused(&arg);
        strip(arg, is_unused)
    });
    if definition.find_subcommand(name).is_some() { definition.mut_subcommand(name, of_command) } else { definition }
}

/// Returns the options of TLS that are set in the environment alone, if TLS is off.
fn without_tls(matches: &ArgMatches) -> Vec<&'static str> {
    // Without the feature `tls` there are no such options.
    if !matches.try_get_one("tls").is_ok_and(|tls| tls == Some(&false)) {
        return Vec::new();
    }
    let is_set = |id: &&str| matches.value_source(id) == Some(ValueSource::EnvVariable);
    ["tls_ca", "tls_name", "tls_cert", "tls_key"].into_iter().filter(is_set).collect()
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
    /// For [`Config::unknown_host_hint`].
    #[arg(skip)]
    unknown_host_hint: Option<String>,
    /// For [`Config::notices`].
    #[arg(skip)]
    notices: Vec<String>,
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
            unknown_host_hint: self.unknown_host_hint,
            notices: self.notices,
            task,
        })
    }
}

/// Returns what to type if the host is unknown: the address was typed as one word, as commands and texts are. A host may
/// have that name too.
fn unknown_host_hint(matches: &ArgMatches, words: &[OsString]) -> Option<String> {
    let of_echo = matches.subcommand_matches("echo");
    let word = one_word_address(of_echo.unwrap_or(matches))?;
    match matches.subcommand_name() {
        Some("echo") => {
            let typed = Typed::new("mapcast-client", words, &|_| true);
            let text = of_echo?
                .get_one::<String>("text")
                .filter(|text| typed.position(text) == typed.position(word).map(|place| place + 1));
            let sent = [Some(word), text.map(String::as_str)].into_iter().flatten().collect::<Vec<_>>();
            let line = typed.with_words(typed.position(word)?, sent.len(), &["127.0.0.1:8080", &sent.join(" ")])?;
            Some(format!("to send it as text: {line}"))
        }
        Some(_) => None,
        None => Some("mapcast-client --help lists the commands".to_owned()),
    }
}

/// Returns a warning if the address is probably a mistyped command.
fn host_notice(command: &clap::Command, matches: &ArgMatches) -> Option<String> {
    if matches.subcommand_name().is_some() {
        return None;
    }
    if let Some(entry) = typed_address(matches).filter(|word| word.contains('=')) {
        return Some(format!("{entry} is taken for a host; to set an entry use the command set"));
    }
    let word = one_word_address(matches)?;
    let meant = aliases::meant(command, word)?;
    Some(format!("{word} is taken for a host; {}", meant.question()))
}

/// Returns the address if it was typed as one word.
fn one_word_address(matches: &ArgMatches) -> Option<&str> {
    typed_address(matches).filter(|word| !word.contains(['.', ':']))
}

/// Returns the address if it was typed.
fn typed_address(matches: &ArgMatches) -> Option<&str> {
    let is_typed = matches.value_source("address") == Some(ValueSource::CommandLine);
    matches.get_raw("address").filter(|_| is_typed)?.next()?.to_str()
}

#[cfg(test)]
mod tests;
