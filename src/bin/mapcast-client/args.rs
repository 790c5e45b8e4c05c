//! The command line and the environment, to a validated configuration, once.
#![allow(clippy::doc_markdown, reason = "these comments are the help text, which has no backticks")]

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::builder::{BoolishValueParser, NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use mapcast::client::{ClientConfig, Error, FollowConfig};
use mapcast::{Format, display::units};

use crate::address::AddressArgs;
use crate::advice::advice;
use crate::conflicts;
use crate::deliver::{self, DeliverArgs, DeliverConfig};
use crate::overdue;
use crate::print::{Output, PrintConfig};
use crate::selection::Selection;
use crate::tls::{self, TlsArgs};
use crate::watch::{self, WatchArgs};

/// What is to be done, in the library's own terms.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) address: String,
    pub(crate) client: ClientConfig,
    /// For all of it, from the start of the program.
    pub(crate) timeout: Option<Duration>,
    /// How often `-v`, less `-q`.
    pub(crate) verbosity: i16,
    /// The address was typed as one word, as commands are.
    pub(crate) may_mean_command: bool,
    pub(crate) task: Task,
}

/// What the server is asked for.
#[derive(Debug)]
pub(crate) enum Task {
    /// Its maps.
    Follow { follow: FollowConfig, print: PrintConfig, count: Option<u64> },
    /// Its maps, for other programs.
    Deliver { follow: FollowConfig, selection: Selection, count: Option<u64>, into: DeliverConfig },
    /// Its maps, on the whole screen.
    Watch { follow: FollowConfig, selection: Selection },
    /// One map, to see whether it is well.
    Check,
    /// This text, or else standard input, back.
    Echo { text: Option<String> },
    /// Its greeting.
    Greet,
}

impl Task {
    /// True if and only if it is of no more use when nobody reads standard output.
    pub(crate) fn prints(&self) -> bool {
        !matches!(self, Self::Watch { .. } | Self::Deliver { .. } | Self::Check)
    }

    /// True if and only if signals are for another program, and not for this one.
    pub(crate) fn passes_signals_on(&self) -> bool {
        matches!(self, Self::Deliver { into, .. } if into.passes_signals_on())
    }
}

/// Returns the configuration that the command line and the environment give, or leaves with the help that was asked for,
/// or with an error text and exit code 2.
pub(crate) fn parse() -> Config {
    let mut command = CommandLine::command();
    let config = command_line(&mut command, std::env::args_os()).and_then(|line| {
        if let Some(time) = line.longest_time() {
            // Before any file is read.
            overdue::end_after(time);
        }
        line.into_config()
    });
    config.unwrap_or_else(|error| error.format(&mut command).exit())
}

fn command_line<I>(command: &mut clap::Command, words: I) -> Result<CommandLine, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let mut matches = command.try_get_matches_from_mut(&words)?;
    let yielding = conflicts::yielding(&matches);
    if !yielding.is_empty() {
        let fresh = CommandLine::command();
        *command = yielding.into_iter().fold(fresh, |command, id| command.mut_arg(id, |arg| arg.env(None::<&str>)));
        matches = command.try_get_matches_from_mut(&words)?;
    }
    refuse_options_of_the_main_job(command, &matches)?;
    refuse_idle_options(&matches)?;
    let line = CommandLine::from_arg_matches(&matches)?;
    Ok(CommandLine { may_mean_command: may_mean_command(&matches), ..line })
}

/// A command stands before its address: `mapcast-client HOST check` is none.
const USAGE: &str = "mapcast-client [OPTIONS] [ADDR:PORT]
       mapcast-client <COMMAND> [OPTIONS] [ADDR:PORT]";

/// Prints each map that a mapcast server sends, one line a map.
///
/// The data goes to standard output, the log to standard error. Exit codes: 0 done, 1 run-time error, 2 usage, 3 cannot
/// connect, 4 bad or too large a frame, or another format, 5 key missing, 124 timeout, 130 interrupted before any map.
#[derive(Debug, Parser)]
#[command(name = "mapcast-client", version, help_expected = true, max_term_width = 100, override_usage = USAGE)]
struct CommandLine {
    #[command(subcommand)]
    talk: Option<Exchange>,
    #[command(flatten)]
    address: AddressArgs,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    common: CommonArgs,
    /// Of the configuration.
    #[arg(skip)]
    may_mean_command: bool,
}

/// The other talks.
#[derive(Debug, Subcommand)]
enum Exchange {
    /// Takes one map and leaves: 0 if it is good, within --timeout [default: 2s]; prints one line on standard error
    Check {
        #[command(flatten)]
        address: AddressArgs,
        #[command(flatten)]
        frames: FrameArgs,
        /// Leave with exit code 124 when this time is over, or with 3 if there is no connection by then
        // It stands in for the one of all talks, which has no end by itself.
        #[arg(
            short = 'W',
            long,
            value_name = "DURATION",
            env = "MAPCAST_TIMEOUT",
            default_value = "2s",
            value_parser = parse_wait
        )]
        timeout: Duration,
    },
    /// Sends TEXT, or standard input, to an echo server, half-closes, prints what comes back
    Echo {
        #[command(flatten)]
        address: AddressArgs,
        /// What to send; standard input if it is not given
        text: Option<String>,
    },
    /// Prints what a greeting server sends until it closes
    Greet {
        #[command(flatten)]
        address: AddressArgs,
    },
}

/// What every talk understands, before and behind its name.
#[derive(Debug, Args)]
struct CommonArgs {
    /// Leave with exit code 124 when this time is over
    #[arg(short = 'W', long, global = true, value_name = "DURATION", env = "MAPCAST_TIMEOUT", value_parser = parse_wait)]
    timeout: Option<Duration>,
    /// How long the lookup of the server's name may take, and then each of its addresses to answer
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "MAPCAST_CONNECT_TIMEOUT",
        default_value = "2s",
        value_parser = parse_wait
    )]
    connect_timeout: Duration,
    #[command(flatten)]
    tls: TlsArgs,
    /// More log: -v debug, -vv trace; RUST_LOG wins
    #[arg(short, long, global = true, action = ArgAction::Count, env = "MAPCAST_VERBOSE")]
    verbose: u8,
    /// Less log: -q warnings, -qq errors, -qqq nothing
    #[arg(short, long, global = true, action = ArgAction::Count, env = "MAPCAST_QUIET")]
    quiet: u8,
}

/// How a map is read.
#[derive(Debug, Args)]
struct FrameArgs {
    /// How the server writes its maps
    #[arg(
        short,
        long,
        env = "MAPCAST_FORMAT",
        default_value = "bincode",
        value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
    )]
    format: Format,
    /// The largest payload that is read
    #[arg(
        long,
        value_name = "SIZE",
        env = "MAPCAST_MAX_FRAME",
        default_value = "1MiB",
        value_parser = units::parse_size
    )]
    max_frame: usize,
}

/// What the main job understands.
#[derive(Debug, Args)]
struct FollowArgs {
    #[command(flatten)]
    frames: FrameArgs,
    #[command(flatten)]
    screen: WatchArgs,
    #[command(flatten)]
    into: DeliverArgs,
    /// How to print a map
    #[arg(short, long, env = "MAPCAST_OUTPUT", default_value = "json", value_enum)]
    output: Output,
    /// Put this before each line, to tell several clients in one shell apart
    #[arg(long, value_name = "TEXT", env = "MAPCAST_PREFIX", allow_hyphen_values = true)]
    prefix: Option<String>,
    /// Leave after N printed maps
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        env = "MAPCAST_COUNT",
        value_parser = parse_count
    )]
    count: Option<u64>,
    /// Print a map only if it differs from the one printed before
    #[arg(long, env = "MAPCAST_CHANGES_ONLY", value_parser = BoolishValueParser::new())]
    changes_only: bool,
    /// Print only this entry; may be repeated; exit code 5 if it is missing
    #[arg(
        short,
        long = "key",
        value_name = "KEY",
        env = "MAPCAST_KEY",
        allow_hyphen_values = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    keys: Vec<String>,
    /// Leave when the connection ends [default: reconnect after 1s doubling to 5s, full jitter]
    #[arg(long, env = "MAPCAST_NO_RECONNECT", value_parser = BoolishValueParser::new())]
    no_reconnect: bool,
    /// Try the first connection again, for ever or for this long, instead of leaving with exit code 3
    #[arg(
        long,
        value_name = "DURATION",
        env = "MAPCAST_WAIT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = parse_patience
    )]
    wait: Option<Duration>,
    /// Reconnect after this much silence [default: three intervals, as learned from the server's repeats, from 10s to 3m]
    #[arg(long, value_name = "DURATION", env = "MAPCAST_STALE_AFTER", value_parser = parse_wait)]
    stale_after: Option<Duration>,
}

impl CommandLine {
    /// Returns how long all of it may take, with the end of what it starts; `None` is for ever.
    fn longest_time(&self) -> Option<Duration> {
        match &self.talk {
            Some(Exchange::Check { timeout, .. }) => Some(*timeout),
            Some(_) => self.common.timeout,
            None => Some(self.common.timeout?.saturating_add(self.follow.into.longest_end())),
        }
    }

    fn into_config(self) -> Result<Config, clap::Error> {
        let frames = match &self.talk {
            Some(Exchange::Check { frames, .. }) => frames,
            _ => &self.follow.frames,
        };
        let client = ClientConfig {
            format: frames.format,
            max_frame: frames.max_frame,
            connect_timeout: self.common.connect_timeout,
            tls: self
                .common
                .tls
                .load()
                .map_err(|text| CommandLine::command().error(ErrorKind::ValueValidation, text))?,
        };
        let (mut timeout, mut verbosity) =
            (self.common.timeout, i16::from(self.common.verbose) - i16::from(self.common.quiet));
        let (address, task) = match self.talk {
            None => (self.address, self.follow.into_task(client.clone())?),
            Some(Exchange::Check { address, timeout: own, .. }) => {
                timeout = Some(own);
                // Its one line says it all.
                verbosity -= 1;
                (address, Task::Check)
            }
            Some(Exchange::Echo { address, text }) => (address, Task::Echo { text }),
            Some(Exchange::Greet { address }) => (address, Task::Greet),
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

impl FollowArgs {
    fn into_task(self, client: ClientConfig) -> Result<Task, clap::Error> {
        if self.output == Output::Raw && !self.keys.is_empty() {
            return Err(conflict("--key cannot be used with --output raw, which does not look into the payload"));
        }
        if self.output == Output::Raw && self.prefix.is_some() {
            return Err(conflict("--prefix cannot be used with --output raw, which has no lines"));
        }
        let format = client.format;
        let wait = self.wait.unwrap_or_default();
        let (reconnect, stale_after) = (!self.no_reconnect, self.stale_after);
        let advice = |error: &Error| advice(error, &tls::ADVICE);
        let follow = FollowConfig { client, reconnect, stale_after, wait, advice };
        let selection = Selection::new(self.keys);
        if let Some(into) = self.into.into_config().map_err(|text| conflict(&text))? {
            if self.screen.watch {
                return Err(conflict("--watch cannot be used with --write, --exec or --run"));
            }
            if self.count.is_some() && into.passes_signals_on() {
                return Err(conflict("--count cannot be used with --run, which lasts as long as its program"));
            }
            return Ok(Task::Deliver { follow, selection, count: self.count, into });
        }
        if self.screen.watch && watch::can_draw() {
            return Ok(Task::Watch { follow, selection });
        }
        let print = PrintConfig {
            output: if self.screen.watch { Output::Pretty } else { self.output },
            format,
            prefix: self.prefix.unwrap_or_default(),
            changes_only: self.changes_only,
            is_terminal: io::stdout().is_terminal(),
            selection,
        };
        Ok(Task::Follow { follow, print, count: self.count })
    }
}

/// An option of the main job before `echo` or `greet` would be taken and do nothing. In the environment it may stand: it
/// is meant for another run.
fn refuse_options_of_the_main_job(command: &clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(talk) = matches.subcommand_name() else { return Ok(()) };
    let stray = command.get_arguments().find(|arg| {
        !arg.is_global_set() && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    });
    match stray {
        Some(stray) if stray.is_positional() => {
            Err(conflict(&format!("the address stands behind '{talk}', not before it")))
        }
        Some(stray) => Err(conflict(&format!("'{stray}' belongs to the main job and cannot be used with '{talk}'"))),
        None => Ok(()),
    }
}

/// An option that would be taken and do nothing beside the others. In the environment it may stand, as above.
fn refuse_idle_options(matches: &ArgMatches) -> Result<(), clap::Error> {
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let option = |id: &str| format!("'--{}'", id.replace('_', "-"));
    let any = |ids: &[&'static str]| ids.iter().copied().find(|id| matches.contains_id(id));
    let instead = if matches.get_flag("watch") { Some("watch") } else { any(&["write", "exec", "run"]) };
    let lines: &[&str] = if instead == Some("watch") { &["count"] } else { &[] };
    if let Some(instead) = instead
        && let Some(stray) = [&["output", "prefix", "changes_only"], lines].concat().into_iter().find(|id| typed(id))
    {
        return Err(conflict(&format!("{} is about lines and cannot be used with {}", option(stray), option(instead))));
    }
    for (idle, needed) in deliver::NEEDED {
        if typed(idle) && any(needed).is_none() {
            let needed: Vec<String> = needed.iter().map(|id| option(id)).collect();
            return Err(conflict(&format!("{} does nothing without {}", option(idle), needed.join(" or "))));
        }
    }
    Ok(())
}

fn conflict(text: &str) -> clap::Error {
    CommandLine::command().error(ErrorKind::ArgumentConflict, text)
}

/// True if and only if the address was typed as one word, as commands are: `chek`. A machine may have that name too, so it
/// only counts when none answers to it.
fn may_mean_command(matches: &ArgMatches) -> bool {
    let typed = matches.value_source("address") == Some(ValueSource::CommandLine);
    let address = matches.get_raw("address").filter(|_| typed).and_then(|mut words| words.next()?.to_str());
    address.is_some_and(|address| !address.contains(['.', ':']))
}

/// Returns the number of maps that `text` names; none is no task.
fn parse_count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("write an integer of maps, at least 1".to_owned()),
    }
}

/// Returns the duration that `text` names; no wait of no length is of any use.
pub(crate) fn parse_wait(text: &str) -> Result<Duration, String> {
    let duration = units::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(duration)
}

/// Returns how long `text` says to wait for the first connection; `true` is for ever.
fn parse_patience(text: &str) -> Result<Duration, String> {
    match text {
        "true" => Ok(Duration::MAX),
        "false" => Ok(Duration::ZERO),
        text => parse_wait(text),
    }
}

#[cfg(test)]
mod tests;
