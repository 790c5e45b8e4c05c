//! The command line and the environment, parsed once into a validated configuration.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::builder::{BoolishValueParser, NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use mapcast::client::{ClientConfig, Error, FollowConfig};
use mapcast::format::UnknownFormat;
use mapcast::{Format, display::units};

use crate::address::AddressArgs;
use crate::advice::advice;
use crate::commands::{self, CommandArgs, get::GetArgs};
use crate::conflicts;
use crate::deliver::{self, DeliverArgs, DeliverConfig};
use crate::duration::parse_nonzero;
use crate::line_args::LineArgs;
use crate::line_format::LineFormat;
use crate::print::{Output, PrintConfig};
use crate::selection::Selection;
use crate::timeout;
use crate::tls::TlsArgs;
use crate::tls_options::TLS_OPTIONS;
use crate::watch::{self, WatchArgs};

/// The validated configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) address: String,
    pub(crate) client: ClientConfig,
    /// Limit for the whole run, from the start of the program.
    pub(crate) timeout: Option<Duration>,
    /// How often `-v` was given, minus `-q`.
    pub(crate) verbosity: i16,
    /// Whether the address is a single word that may be a mistyped command.
    pub(crate) may_mean_command: bool,
    pub(crate) task: Task,
}

/// What the client does.
#[derive(Debug)]
pub(crate) enum Task {
    /// Print maps.
    Follow { follow: FollowConfig, print: PrintConfig, count: Option<u64> },
    /// Deliver maps to other programs.
    Deliver { follow: FollowConfig, selection: Selection, count: Option<u64>, deliver: DeliverConfig },
    /// Show the map on the whole screen.
    Watch { follow: FollowConfig, selection: Selection, is_colored: bool },
    /// Receive one map and report whether it is good.
    Check,
    /// Send this text, or standard input, to an echo server.
    Echo { text: Option<String> },
    /// Print the greeting.
    Greet,
    /// Read or change the map once, or describe the server.
    Command(commands::Command),
}

impl Task {
    /// True if and only if the task is pointless once standard output has no reader.
    pub(crate) fn prints(&self) -> bool {
        !matches!(self, Self::Watch { .. } | Self::Deliver { .. } | Self::Check | Self::Command(_))
    }

    /// True if and only if signals are for another program: they are forwarded to it, or it shares the keyboard.
    pub(crate) fn forwards_signals(&self) -> bool {
        match self {
            Self::Deliver { deliver, .. } => deliver.forwards_signals(),
            Self::Command(command) => command.shares_signals(),
            _ => false,
        }
    }
}

/// Returns the configuration from the command line and the environment. Prints the help and exits if it was requested;
/// prints an error and exits with code 2 if an option is wrong.
pub(crate) fn parse() -> Config {
    let mut command = CommandLine::command();
    let config = command_line(&mut command, std::env::args_os()).and_then(|line| {
        if let Some(time) = line.longest_time() {
            // Before any file is read.
            timeout::exit_after(time);
        }
        line.into_config()
    });
    config.unwrap_or_else(|error| error.format(&mut command).exit())
}

/// Returns the definition of the command line.
pub(crate) fn definition() -> clap::Command {
    CommandLine::command()
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
        let fresh = CommandLine::command();
        *command = overridden.into_iter().fold(fresh, |command, id| command.mut_arg(id, |arg| arg.env(None::<&str>)));
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

/// Print each map that a mapcast server sends, one line per map.
///
/// Data goes to standard output, the log to standard error. Exit codes: 0 done, 1 run-time error, 2 usage, 3 cannot
/// connect, 4 bad frame, frame too large or wrong format, 5 key missing, 124 timeout, 130 interrupted before any map.
#[derive(Debug, Parser)]
#[command(name = "mapcast-client", version, help_expected = true, max_term_width = 100, override_usage = USAGE)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    address: AddressArgs,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    common: CommonArgs,
    /// For [`Config::may_mean_command`].
    #[arg(skip)]
    may_mean_command: bool,
}

/// The commands beside printing maps.
#[derive(Debug, Subcommand)]
enum Command {
    /// Receive one map, print one line on standard error and exit: 0 if the map is good, within --timeout [default:
    /// 2s]
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
    /// Print values of the current map, one line each; exit with code 5 if a KEY is missing
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
    /// Send TEXT or standard input to an echo server, half-close, and print what comes back
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

/// Options of every command, accepted before and after its name.
#[derive(Debug, Args)]
struct CommonArgs {
    /// Exit with code 124 after this time [default: no limit]
    #[arg(short = 'W', long, global = true, value_name = "DURATION", env = "MAPCAST_TIMEOUT", value_parser = parse_nonzero)]
    timeout: Option<Duration>,
    /// Time limit for resolving the server's name, and then for each of its addresses to answer
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "MAPCAST_CONNECT_TIMEOUT",
        default_value = "2s",
        value_parser = parse_nonzero
    )]
    connect_timeout: Duration,
    #[command(flatten)]
    tls: TlsArgs,
    /// Log more: -v debug, -vv trace; RUST_LOG takes precedence
    #[arg(short, long, global = true, action = ArgAction::Count, env = "MAPCAST_VERBOSE")]
    verbose: u8,
    /// Log less: -q warnings, -qq errors, -qqq nothing
    #[arg(short, long, global = true, action = ArgAction::Count, env = "MAPCAST_QUIET")]
    quiet: u8,
}

/// The name of no particular format.
const AUTO: &str = "auto";

/// The value of `--format`; `None` is `auto`.
#[derive(Debug, Clone, Copy)]
struct ChosenFormat(Option<Format>);

fn parse_format(name: &str) -> Result<ChosenFormat, UnknownFormat> {
    if name == AUTO { Ok(ChosenFormat(None)) } else { name.parse().map(Some).map(ChosenFormat) }
}

/// How frames are read.
#[derive(Debug, Args)]
struct FrameArgs {
    /// Format of the server's maps; auto takes it from the first map of each connection
    #[arg(
        short,
        long,
        env = "MAPCAST_FORMAT",
        default_value = AUTO,
        value_parser = PossibleValuesParser::new([AUTO].into_iter().chain(Format::ALL.map(Format::name))).try_map(|name| parse_format(&name))
    )]
    format: ChosenFormat,
    /// Largest payload to accept
    #[arg(
        long,
        value_name = "SIZE",
        env = "MAPCAST_MAX_FRAME",
        default_value = "1MiB",
        value_parser = units::parse_size
    )]
    max_frame: usize,
}

/// Options for printing and delivering maps.
#[derive(Debug, Args)]
struct FollowArgs {
    #[command(flatten)]
    frames: FrameArgs,
    #[command(flatten)]
    screen: WatchArgs,
    #[command(flatten)]
    deliver: DeliverArgs,
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
            tls: self
                .common
                .tls
                .load()
                .map_err(|text| CommandLine::command().error(ErrorKind::ValueValidation, text))?,
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

impl FollowArgs {
    fn into_task(self, client: ClientConfig) -> Result<Task, clap::Error> {
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

/// Rejects an option for maps in front of `echo` or `greet`, where it would have no effect. In the environment it is
/// accepted: it is meant for another run.
fn reject_follow_options(command: &clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(name) = matches.subcommand_name() else { return Ok(()) };
    let stray = command.get_arguments().find(|arg| {
        !arg.is_global_set() && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    });
    let takes = |stray: &clap::Arg| {
        let subcommand = command.find_subcommand(name);
        subcommand.is_some_and(|subcommand| subcommand.get_arguments().any(|arg| arg.get_long() == stray.get_long()))
    };
    match stray {
        Some(stray) if stray.is_positional() => {
            Err(conflict(&format!("the address goes after '{name}', not before it")))
        }
        Some(stray) if takes(stray) => Err(conflict(&format!("'{stray}' goes after '{name}', not before it"))),
        Some(stray) => {
            Err(conflict(&format!("'{stray}' cannot be used with '{name}': it is for printing or delivering maps")))
        }
        None => Ok(()),
    }
}

/// Rejects an option that has no effect in combination with the others. In the environment it is accepted, as above.
fn reject_options_without_effect(matches: &ArgMatches) -> Result<(), clap::Error> {
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let option = |id: &str| format!("'--{}'", id.replace('_', "-"));
    let any = |ids: &[&'static str]| ids.iter().copied().find(|id| matches.contains_id(id));
    let instead = if matches.get_flag("watch") { Some("watch") } else { any(&["write", "exec", "run"]) };
    let lines: &[&str] = if instead == Some("watch") { &["count", "once"] } else { &[] };
    if let Some(instead) = instead
        && let Some(stray) = [&["output", "prefix", "changes_only", "line_format", "timestamps"], lines]
            .concat()
            .into_iter()
            .find(|id| typed(id))
    {
        return Err(conflict(&format!(
            "{} is for printed lines and cannot be used with {}",
            option(stray),
            option(instead)
        )));
    }
    if typed("output") && typed("line_format") && matches.get_one("output") != Some(&Output::Diff) {
        return Err(conflict("'--line-format' cannot be used with '--output', except with '--output diff'"));
    }
    for (idle, needed) in deliver::REQUIRED_OPTIONS {
        if typed(idle) && any(needed).is_none() {
            let needed: Vec<String> = needed.iter().map(|id| option(id)).collect();
            return Err(conflict(&format!("{} has no effect without {}", option(idle), needed.join(" or "))));
        }
    }
    Ok(())
}

fn conflict(text: &str) -> clap::Error {
    CommandLine::command().error(ErrorKind::ArgumentConflict, text)
}

/// True if and only if the address was typed as one word, as commands are: `chek`. A host may have that name, so this
/// matters only if the host cannot be found.
fn may_mean_command(matches: &ArgMatches) -> bool {
    let typed = matches.value_source("address") == Some(ValueSource::CommandLine);
    let address = matches.get_raw("address").filter(|_| typed).and_then(|mut words| words.next()?.to_str());
    address.is_some_and(|address| !address.contains(['.', ':']))
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

#[cfg(test)]
mod tests;
