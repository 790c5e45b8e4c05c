//! The command line and the environment, to a validated configuration, once.
#![allow(clippy::doc_markdown, reason = "these comments are the help text, which has no backticks")]

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use clap::builder::{BoolishValueParser, NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use mapcast::client::{ClientConfig, FollowConfig};
use mapcast::{Format, units};

use crate::print::{Output, PrintConfig};

/// The port of the server unless told otherwise; `mapcast-server` listens on it by default.
const DEFAULT_PORT: u16 = 8080;

/// What is to be done, in the library's own terms.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) address: String,
    pub(crate) client: ClientConfig,
    /// For all of it, from the start of the program.
    pub(crate) timeout: Option<Duration>,
    /// How often `-v`, less `-q`.
    pub(crate) verbosity: i16,
    pub(crate) task: Task,
}

/// What the server is asked for.
#[derive(Debug)]
pub(crate) enum Task {
    /// Its maps.
    Follow { follow: FollowConfig, print: PrintConfig, count: Option<u64> },
    /// This text, or else standard input, back.
    Echo { text: Option<String> },
    /// Its greeting.
    Greet,
}

/// Returns the configuration that the command line and the environment give, or leaves with the help that was asked for,
/// or with an error text and exit code 2.
pub(crate) fn parse() -> Config {
    let mut command = CommandLine::command();
    config_from(&mut command, std::env::args_os()).unwrap_or_else(|error| error.format(&mut command).exit())
}

fn config_from<I>(command: &mut clap::Command, words: I) -> Result<Config, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<std::ffi::OsString> + Clone,
{
    let matches = command.try_get_matches_from_mut(words)?;
    refuse_options_of_the_main_job(command, &matches)?;
    CommandLine::from_arg_matches(&matches)?.into_config()
}

/// Prints each map that a mapcast server sends, one line a map.
///
/// The data goes to standard output, the log to standard error. Exit codes: 0 done, 1 run-time error, 2 usage, 3 cannot
/// connect, 4 bad or too large a frame, or another format, 5 key missing, 124 timeout, 130 interrupted before any map.
#[derive(Debug, Parser)]
#[command(name = "mapcast-client", version, help_expected = true, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    talk: Option<Talk>,
    #[command(flatten)]
    address: AddressArgs,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// The other two talks.
#[derive(Debug, Subcommand)]
enum Talk {
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

#[derive(Debug, Args)]
struct AddressArgs {
    /// The server; port 8080 where only a host is given
    #[arg(
        value_name = "ADDR:PORT",
        env = "MAPCAST_ADDRESS",
        default_value = "127.0.0.1:8080",
        value_parser = parse_address
    )]
    address: String,
}

/// What every talk understands, before and behind its name.
#[derive(Debug, Args)]
struct CommonArgs {
    /// Leave with exit code 124 when this time is over
    #[arg(short = 'W', long, global = true, value_name = "DURATION", env = "MAPCAST_TIMEOUT", value_parser = parse_wait)]
    timeout: Option<Duration>,
    /// How long each address of the server may take to answer
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "MAPCAST_CONNECT_TIMEOUT",
        default_value = "2s",
        value_parser = parse_wait
    )]
    connect_timeout: Duration,
    /// More log: -v debug, -vv trace; RUST_LOG wins
    #[arg(short, long, global = true, action = ArgAction::Count, env = "MAPCAST_VERBOSE")]
    verbose: u8,
    /// Less log: -q warnings, -qq errors, -qqq nothing
    #[arg(short, long, global = true, action = ArgAction::Count, env = "MAPCAST_QUIET")]
    quiet: u8,
}

/// What the main job understands.
#[derive(Debug, Args)]
struct FollowArgs {
    /// How the server writes its maps
    #[arg(
        short,
        long,
        env = "MAPCAST_FORMAT",
        default_value = "bincode",
        value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
    )]
    format: Format,
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
        value_parser = clap::value_parser!(u64).range(1..)
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
    /// Leave when the connection ends [default: reconnect after 1s doubling to 30s, full jitter]
    #[arg(long, env = "MAPCAST_NO_RECONNECT", value_parser = BoolishValueParser::new())]
    no_reconnect: bool,
    /// Reconnect after this much silence [default: three times the longest gap seen, at least 10s]
    #[arg(long, value_name = "DURATION", env = "MAPCAST_STALE_AFTER", value_parser = parse_wait)]
    stale_after: Option<Duration>,
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

impl CommandLine {
    fn into_config(self) -> Result<Config, clap::Error> {
        let client = ClientConfig {
            format: self.follow.format,
            max_frame: self.follow.max_frame,
            connect_timeout: self.common.connect_timeout,
        };
        let (address, task) = match self.talk {
            None => (self.address, self.follow.into_task(client.clone())?),
            Some(Talk::Echo { address, text }) => (address, Task::Echo { text }),
            Some(Talk::Greet { address }) => (address, Task::Greet),
        };
        Ok(Config {
            address: address.address,
            client,
            timeout: self.common.timeout,
            verbosity: i16::from(self.common.verbose) - i16::from(self.common.quiet),
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
        let print = PrintConfig {
            output: self.output,
            format: client.format,
            prefix: self.prefix.unwrap_or_default(),
            changes_only: self.changes_only,
            keys: self.keys,
        };
        let follow = FollowConfig { client, reconnect: !self.no_reconnect, stale_after: self.stale_after };
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
        Some(stray) => Err(conflict(&format!("'{stray}' belongs to the main job and cannot be used with '{talk}'"))),
        None => Ok(()),
    }
}

fn conflict(text: &str) -> clap::Error {
    CommandLine::command().error(ErrorKind::ArgumentConflict, text)
}

/// Returns the duration that `text` names; no wait of no length is of any use.
fn parse_wait(text: &str) -> Result<Duration, String> {
    let duration = units::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(duration)
}

/// Returns `HOST:PORT` for an address as people write it: with or without a port, IPv6 with or without brackets.
fn parse_address(text: &str) -> Result<String, String> {
    let refused = || format!("\"{}\" is no address: write HOST, HOST:PORT or [::1]:PORT", text.escape_debug());
    if let Ok(bare) = text.parse::<Ipv6Addr>() {
        return Ok(format!("[{bare}]:{DEFAULT_PORT}"));
    }
    if text.starts_with('[') {
        let with_port = if text.ends_with(']') { format!("{text}:{DEFAULT_PORT}") } else { text.to_owned() };
        return with_port.parse::<SocketAddrV6>().map(|address| address.to_string()).map_err(|_| refused());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().map_err(|_| refused())?),
        None => (text, DEFAULT_PORT),
    };
    if host.is_empty() || host.contains(|c: char| c == ':' || c == '/' || c.is_whitespace()) {
        return Err(refused());
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(words: &[&str]) -> Result<Config, clap::Error> {
        config_from(&mut CommandLine::command(), [&["mapcast-client"], words].concat())
    }

    fn refusal(words: &[&str]) -> String {
        let error = config(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words:?}");
        error.to_string()
    }

    #[test]
    fn the_command_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_packaged_pages_are_those_of_this_command_line() {
        crate::packaged::hold(&CommandLine::command());
    }

    #[test]
    fn every_option_and_every_address_has_an_environment_twin() {
        let command = CommandLine::command();
        for command in [&command].into_iter().chain(command.get_subcommands()) {
            for arg in command.get_arguments() {
                let id = arg.get_id().as_str();
                if ["help", "version", "text"].contains(&id) {
                    continue;
                }
                let twin = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
                let name = arg.get_long().unwrap_or(id).replace('-', "_").to_uppercase();
                assert_eq!(twin, format!("MAPCAST_{name}"), "{} {id}", command.get_name());
            }
        }
    }

    #[test]
    fn without_a_word_it_prints_the_maps_of_this_machine_for_ever() {
        let config = config(&[]).unwrap();
        assert_eq!((config.address.as_str(), config.timeout, config.verbosity), ("127.0.0.1:8080", None, 0));
        let Task::Follow { follow, print, count } = config.task else { panic!("{config:?}") };
        assert_eq!((follow.reconnect, follow.stale_after, count), (true, None, None));
        assert_eq!((follow.client.format, follow.client.max_frame), (Format::Bincode, mapcast::DEFAULT_MAX_FRAME));
        assert_eq!(follow.client.connect_timeout, Duration::from_secs(2));
        assert_eq!((print.output, print.changes_only, print.keys.len()), (Output::Json, false, 0));
    }

    #[test]
    fn the_options_of_every_talk_stand_before_or_behind_its_name() {
        for words in [["-W", "5", "-q", "echo", "h:1", "Hola"], ["echo", "-W", "5", "-q", "h:1", "Hola"]] {
            let config = config(&words).unwrap();
            assert_eq!((config.timeout, config.verbosity), (Some(Duration::from_secs(5)), -1));
            assert!(matches!(config.task, Task::Echo { text: Some(text) } if text == "Hola"));
            assert_eq!(config.address, "h:1");
        }
        assert!(matches!(config(&["greet"]).unwrap().task, Task::Greet));
    }

    #[test]
    fn options_of_the_main_job_are_refused_elsewhere() {
        for words in [["-n", "3", "echo"], ["-k", "x", "greet"], ["h:1", "-v", "echo"]] {
            assert!(refusal(&words).contains("belongs to the main job"), "{words:?}");
        }
    }

    #[test]
    fn a_payload_that_is_not_looked_into_has_no_keys_and_no_lines() {
        assert!(refusal(&["-o", "raw", "-k", "x"]).contains("--key"));
        assert!(refusal(&["-o", "raw", "--prefix", "x"]).contains("--prefix"));
    }

    #[test]
    fn keys_may_be_negative_numbers() {
        let Task::Follow { print, .. } = config(&["-k", "-1", "-k", "x"]).unwrap().task else { panic!() };
        assert_eq!(print.keys, ["-1", "x"]);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for words in [
            ["-f", "yaml"],
            ["-o", "xml"],
            ["-n", "0"],
            ["-W", "0"],
            ["-W", "soon"],
            ["--stale-after", "0s"],
            ["--max-frame", "much"],
            ["--connect-timeout", "-1"],
            ["-k", ""],
        ] {
            refusal(&words);
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("localhost", "localhost:8080"),
            ("localhost:1", "localhost:1"),
            ("10.0.0.1", "10.0.0.1:8080"),
            ("::1", "[::1]:8080"),
            ("[::1]", "[::1]:8080"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(parse_address(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in ["", ":1", "h:", "h:x", "h:65536", "h h", "http://h:1", "h:1/", "[::1", "[h]:1", "1:2:3"] {
            assert!(parse_address(text).is_err_and(|error| error.contains("HOST:PORT")), "{text}");
        }
    }
}
