//! Parses the command line once into a validated task: no usage error can occur later.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use mapcast::backlog::LEAST_MAPS;
use mapcast::display::units::{format_duration, format_size, parse_duration, parse_size};
use mapcast::server::{Capacity, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_WAITING, IpNet, LimitNames};
use mapcast::source::Location;
use mapcast::{Backlog, Format, Key, SendMode, ServerConfig, Value, format};

use crate::advice::advice;
use crate::entry_note;
use crate::environment;
use crate::http::{HttpArgs, HttpTask};
use crate::input_advice;
use crate::manual::HELP;
use crate::ports::Ports;
use crate::source::SourceArgs;
use crate::tips;
use crate::tls::{self, TlsArgs};
use crate::typed::Typed;

/// The shortest interval and write timeout: 1 ms. A shorter one would keep the machine busy with sending alone.
const SHORTEST: Duration = Duration::from_millis(1);

/// Not the usage of the option that resembles a mistyped one most.
const USAGE: &str = "mapcast-server [OPTIONS] [FILE]
       mapcast-server <COMMAND>";

/// Send one map to every client: at once, on each change, and every N seconds
#[derive(Debug, Parser)]
#[command(name = "mapcast-server", version, args_conflicts_with_subcommands = true, override_usage = USAGE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    service: Option<ServiceCommand>,
    #[command(flatten)]
    map: MapArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// Whether no option has been given that changes which ports the server has.
    #[arg(skip)]
    is_bare: bool,
}

/// What a server without options serves besides the map: the map as JSON, and the page.
const BARE_JSON: &str = "json@127.0.0.1:8082";
const BARE_HTTP: &str = "127.0.0.1:8081";

/// The arguments that do not change which ports the server has.
const NEUTRAL: [&str; 5] = ["verbose", "quiet", "check_config", "http_token_file", "state"];

/// The smaller services.
#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Send back everything that a client sends until it half-closes, then close
    Echo {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Send TEXT without a header, then close
    Greet {
        /// The text, sent verbatim
        #[arg(env = "MAPCAST_TEXT")]
        text: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// The map, and how it is sent.
#[derive(Debug, Args)]
struct MapArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Add an entry, or replace the one with this key; may be repeated. VALUE is JSON or plain text
    #[arg(long, value_name = "KEY=VALUE", env = "MAPCAST_SET", value_delimiter = '\n', value_parser = parse_entry)]
    set: Vec<Entry>,
    /// Reject maps larger than this
    #[arg(long, value_name = "SIZE", env = "MAPCAST_MAX_FRAME", default_value = "1MiB", value_parser = parse_size)]
    max_frame: usize,
    /// Format of the map on ports without a format of their own: bincode, json, msgpack, pickle or text
    #[arg(short, long, value_name = "FORMAT", env = "MAPCAST_FORMAT", default_value_t)]
    format: Format,
    /// Close the slowest connections, including HTTP's, when the older maps still queued for them exceed this size in
    /// total [default: 32MiB, or 8 times --max-frame if that is more]
    #[arg(long, value_name = "SIZE", env = "MAPCAST_MAX_BACKLOG", value_parser = parse_size)]
    max_backlog: Option<usize>,
    /// Which threads send the map: publishers with many frames per system call (batch) or one (plain), or each client's own
    /// thread (thread) [default: batch, or plain if the system refuses it]
    #[arg(long, value_name = "MODE", env = "MAPCAST_SEND", value_parser = parse_send_mode)]
    send: Option<SendMode>,
    /// Repeat the map at least this often to each client
    #[arg(short, long, value_name = "DURATION", env = "MAPCAST_INTERVAL", default_value = "5s", value_parser = parse_interval)]
    interval: Duration,
    #[command(flatten)]
    http: HttpArgs,
}

/// Options of every service.
#[derive(Debug, Args)]
struct ServerArgs {
    /// Address to listen on; may be repeated. PORT alone is 127.0.0.1:PORT, :PORT is every address of this machine, and
    /// FORMAT@ in front is the format of the map there. Port 0 picks a free port, which is logged
    #[arg(
        short,
        long,
        value_name = "[FORMAT@]ADDR:PORT",
        env = "MAPCAST_LISTEN",
        default_value = "127.0.0.1:8080",
        value_delimiter = ','
    )]
    listen: Vec<String>,
    /// Maximum number of clients; further ones are closed after waiting 1 to 5 s for a free slot [default: 10000, or
    /// what this machine can hold]
    #[arg(long, value_name = "N", env = "MAPCAST_MAX_CONNECTIONS")]
    max_connections: Option<u64>,
    /// Maximum number of clients per address; IPv6 addresses count by their first 64 bits [default: no limit]
    #[arg(long, value_name = "N", env = "MAPCAST_MAX_CONNECTIONS_PER_IP", value_parser = clap::value_parser!(u64).range(1..))]
    max_connections_per_ip: Option<u64>,
    /// Accept clients only from this network, such as 10.0.0.0/8 or 192.0.2.7; may be repeated [default: accept all]
    #[arg(long, value_name = "CIDR", env = "MAPCAST_ALLOW", value_delimiter = ',', value_parser = parse_network)]
    allow: Vec<IpNet>,
    /// Probe a client with TCP keepalive after this much silence; 0 disables it
    #[arg(long, value_name = "DURATION", env = "MAPCAST_KEEPALIVE", default_value = "60s", value_parser = parse_duration)]
    keepalive: Duration,
    /// Let other servers of the same user listen on the same address; the kernel distributes the clients; not on Windows
    #[arg(long, env = "MAPCAST_REUSE_PORT", value_parser = BoolishValueParser::new())]
    reuse_port: bool,
    /// Close a client that takes longer than this to accept one whole frame
    #[arg(long, value_name = "DURATION", env = "MAPCAST_WRITE_TIMEOUT", default_value = "10s", value_parser = parse_interval)]
    write_timeout: Duration,
    /// Close remaining connections this long after shutdown was requested
    #[arg(long, value_name = "DURATION", env = "MAPCAST_DRAIN_TIMEOUT", default_value = "10s", value_parser = parse_duration)]
    drain_timeout: Duration,
    #[command(flatten)]
    tls: TlsArgs,
    /// Check the configuration without listening, writing or contacting a remote source, print what the server would
    /// do, and exit with 0, or 2 if it is not valid, or 1 if it cannot be printed
    #[arg(long, env = "MAPCAST_CHECK_CONFIG", value_parser = BoolishValueParser::new())]
    check_config: bool,
    /// Log more: -v debug, -vv trace
    #[arg(short, long, action = ArgAction::Count, env = "MAPCAST_VERBOSE")]
    verbose: u8,
    /// Log less: -q warnings, -qq errors, -qqq nothing
    #[arg(short, long, action = ArgAction::Count, env = "MAPCAST_QUIET")]
    quiet: u8,
}

/// Returns the definition of the command line.
fn definition() -> clap::Command {
    HELP.arrange(Cli::command())
}

/// The validated task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) service: ServiceTask,
    /// At least one; without a format for the services without a map.
    pub(crate) listen: Vec<Ports>,
    /// Whether the page and all ports but the first may be left out if their port is in use.
    pub(crate) is_bare: bool,
    /// How many clients this machine can hold.
    pub(crate) capacity: Capacity,
    pub(crate) config: ServerConfig,
}

/// The service to run, with its settings.
#[derive(Debug)]
pub(crate) enum ServiceTask {
    Map(Box<MapTask>),
    Echo,
    Greet(String),
}

/// The map, and how it is sent and shown.
#[derive(Debug)]
pub(crate) struct MapTask {
    pub(crate) interval: Duration,
    /// The format of the page, and of inherited sockets.
    pub(crate) format: Format,
    /// The format of `--format`.
    pub(crate) default_format: Format,
    /// The formats of all ports.
    pub(crate) formats: Vec<Format>,
    pub(crate) source: Option<Location>,
    /// The file for the last good map.
    pub(crate) state: Option<PathBuf>,
    pub(crate) set: Vec<(Key, Value)>,
    pub(crate) max_frame: usize,
    pub(crate) max_backlog: usize,
    pub(crate) send: SendMode,
    pub(crate) http: Option<HttpTask>,
}

impl MapTask {
    /// True if and only if the map has entries of the operator's own, or may get some: the built-in ones are not sent then.
    pub(crate) fn has_entries(&self) -> bool {
        let is_writable = self.http.as_ref().is_some_and(|http| http.config.token.is_some());
        self.source.is_some() || self.state.is_some() || !self.set.is_empty() || is_writable
    }
}

impl Cli {
    /// Parses the command line and the environment. Prints the help and exits if it was requested; prints an error and exits
    /// with code 2 if an option is wrong.
    pub(crate) fn read() -> Self {
        let words: Vec<OsString> = std::env::args_os().collect();
        Self::parse_words(definition(), &words).unwrap_or_else(|error| {
            HELP.exit_if_short(&error, definition());
            let parse = |definition| Self::parse_words(definition, &words).map(drop);
            let error = environment::name_the_cause(error, &definition(), parse);
            Self::with_typed(&words, |typed| tips::explained(error, typed)).format(&mut definition()).exit()
        })
    }

    fn parse_words(definition: clap::Command, words: &[OsString]) -> Result<Self, clap::Error> {
        let mut command = definition;
        let matches = command.try_get_matches_from_mut(words)?;
        let file = matches.get_one::<String>("file").filter(|_| matches.subcommand_name().is_none());
        if let Some(error) = file.and_then(|file| Self::with_typed(words, |typed| tips::command_as_file(file, typed))) {
            return Err(error);
        }
        Self::from_matches(&command, &matches)
    }

    /// Calls `describe` with the typed words.
    fn with_typed<T>(words: &[OsString], describe: impl FnOnce(&Typed<'_>) -> T) -> T {
        let is_valid = |words: &[OsString]| Self::parse_words(definition(), words).is_ok();
        describe(&Typed::new("mapcast-server", words, &is_valid))
    }

    fn from_matches(command: &clap::Command, matches: &ArgMatches) -> Result<Self, clap::Error> {
        let source = |id: &str| matches.value_source(id).filter(|source| *source != ValueSource::DefaultValue);
        if source("file").is_some() && source("source") == Some(ValueSource::CommandLine) {
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, "FILE is --source FILE; give one of them"));
        }
        let mut cli = Self::from_arg_matches(matches)?;
        // Under a service manager a port that was not asked for is not wanted either.
        let is_managed = ["NOTIFY_SOCKET", "LISTEN_FDS"].iter().any(|name| std::env::var_os(name).is_some());
        let is_given = |id: &str| !NEUTRAL.contains(&id) && source(id).is_some();
        let mut arguments = command.get_arguments().map(|argument| argument.get_id().as_str());
        cli.is_bare = !is_managed && matches.subcommand_name().is_none() && !arguments.any(is_given);
        if cli.is_bare {
            cli.server.listen.push(BARE_JSON.to_owned());
            cli.map.http.serve_on(BARE_HTTP);
        }
        if matches.subcommand_name().is_none() && cli.map.http.lacks_address() {
            let message = "--http-token-file is for HTTP: add --http <ADDR:PORT>, such as --http 8081\n";
            return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, message));
        }
        Ok(cli)
    }

    /// How often `-v` was given, minus `-q`.
    pub(crate) fn verbosity(&self) -> i16 {
        let server = self.server_args();
        i16::from(server.verbose) - i16::from(server.quiet)
    }

    /// Returns a warning for each entry that was probably meant otherwise.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.map.set.iter().filter_map(|entry| entry.note.clone()).collect()
    }

    /// True if and only if only the configuration is to be checked.
    pub(crate) fn is_check(&self) -> bool {
        self.server_args().check_config
    }

    /// The value of `--drain-timeout`.
    pub(crate) fn drain_timeout(&self) -> Duration {
        self.server_args().drain_timeout
    }

    /// Resolves names, opens files and checks limits.
    pub(crate) fn into_task(self) -> anyhow::Result<Task> {
        let server = self.server_args();
        let default_format = self.service.is_none().then_some(self.map.format);
        let listen = Ports::parse(&server.listen, default_format)?;
        let mut capacity = Capacity::of_this_machine();
        let listeners = listen.iter().map(|ports| ports.addrs.len() as u64).sum::<u64>();
        capacity.descriptors = capacity.descriptors.saturating_sub(listeners.saturating_sub(SPARE_LISTENERS));
        capacity.clients = capacity.clients.min(capacity.descriptors);
        if self.service.is_none() {
            // An HTTP connection takes a thread and a descriptor, as a client does.
            let http = self.map.http.connections();
            capacity.clients = capacity.clients.saturating_sub(http);
            capacity.descriptors = capacity.descriptors.saturating_sub(http);
        }
        let max_connections = max_connections(server.max_connections, capacity)?;
        // Waiting connections must not take the descriptors of the source and the state.
        let spare_descriptors = usize::try_from(capacity.descriptors - max_connections).unwrap_or(usize::MAX);
        let config = ServerConfig {
            max_connections,
            max_waiting: DEFAULT_MAX_WAITING.min(spare_descriptors),
            max_connections_per_ip: server.max_connections_per_ip,
            allow: server.allow.clone(),
            limit_names: LimitNames {
                max_connections: "--max-connections",
                max_connections_per_ip: "--max-connections-per-ip",
                allow: "--allow",
            },
            keepalive: Some(server.keepalive).filter(|idle| !idle.is_zero()),
            write_timeout: server.write_timeout,
            drain_timeout: server.drain_timeout,
            tls: server.tls.load()?,
            handshake_advice: |error| advice(error, &tls::TLS_OPTIONS),
            input_advice: input_advice::advice,
            reuse_port: server.reuse_port,
            ..ServerConfig::default()
        };
        let service = match self.service {
            Some(_) if listen.iter().any(|ports| ports.format.is_some()) => {
                bail!("--listen FORMAT@ADDR:PORT is for the map; leave the format out")
            }
            Some(ServiceCommand::Echo { .. }) => ServiceTask::Echo,
            Some(ServiceCommand::Greet { text, .. }) => ServiceTask::Greet(text),
            None => {
                let MapArgs { interval, format, source, set, max_frame, max_backlog, send, http } = self.map;
                let max_backlog = max_backlog.map_or(Ok(Backlog::default_limit(max_frame)), |asked| {
                    let least = max_frame.saturating_mul(LEAST_MAPS);
                    let (given, fix) = (format_size(asked), format_size(least));
                    ensure!(
                        asked >= least,
                        "--max-backlog {given}: it has to hold {LEAST_MAPS} maps of --max-frame; give {fix} or more, or lower \
                         --max-frame"
                    );
                    Ok(asked)
                })?;
                let (source, state) = source.locate(interval, http.is_writable())?;
                let http = http.into_task(interval, &listen)?;
                let formats: Vec<Format> = listen.iter().filter_map(|ports| ports.format).collect();
                let is_served = |format| formats.contains(format);
                let shown = Some(&format).filter(|format| is_served(format)).or(formats.first());
                ServiceTask::Map(Box::new(MapTask {
                    interval,
                    format: shown.copied().unwrap_or(format),
                    default_format: format,
                    formats,
                    source,
                    state,
                    set: set.into_iter().map(|entry| (entry.key, entry.value)).collect(),
                    max_frame,
                    max_backlog,
                    send: send.unwrap_or_else(SendMode::detect),
                    http,
                }))
            }
        };
        Ok(Task { service, listen, is_bare: self.is_bare, capacity, config })
    }

    fn server_args(&self) -> &ServerArgs {
        match &self.service {
            Some(ServiceCommand::Echo { server } | ServiceCommand::Greet { server, .. }) => server,
            None => &self.server,
        }
    }
}

/// How many listeners fit into the descriptors that [`Capacity`] reserves for the program itself: 8. Without them the
/// program uses 20 of those 32 (measured, with HTTP and a state). Further listeners take the descriptors of clients.
const SPARE_LISTENERS: u64 = 8;

/// Returns the limit on connections: the requested one if the machine can hold it, otherwise the default, reduced to
/// what the machine can hold.
fn max_connections(asked: Option<u64>, capacity: Capacity) -> anyhow::Result<u64> {
    ensure!(capacity.clients > 0, "this machine cannot hold any client, because {}", capacity.limit);
    let Some(asked) = asked else {
        return Ok(DEFAULT_MAX_CONNECTIONS.min(capacity.clients));
    };
    ensure!(asked > 0, "--max-connections 0: no client could connect; use at least 1");
    if asked > capacity.clients {
        bail!("--max-connections {asked}: this machine can hold {}, because {}", capacity.clients, capacity.limit);
    }
    Ok(asked)
}

/// Parses a mode of sending and checks that the system allows it.
fn parse_send_mode(text: &str) -> anyhow::Result<SendMode> {
    let modes = [SendMode::Thread, SendMode::Plain, SendMode::Batch];
    let mode = modes.into_iter().find(|mode| mode.to_string() == text).context("write thread, plain or batch")?;
    mode.check().context("the system refuses io_uring; write plain")?;
    Ok(mode)
}

fn parse_interval(text: &str) -> anyhow::Result<Duration> {
    let interval = parse_duration(text)?;
    ensure!(interval >= SHORTEST, "must be at least {}; write 100ms, 5s or 1m", format_duration(SHORTEST));
    Ok(interval)
}

/// Parses a network or a single address.
fn parse_network(text: &str) -> anyhow::Result<IpNet> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.context("write an address or a network: 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")
}

/// A value of `--set`.
#[derive(Debug, Clone)]
struct Entry {
    key: Key,
    value: Value,
    /// A warning if it was probably meant otherwise.
    note: Option<String>,
}

fn parse_entry(text: &str) -> anyhow::Result<Entry> {
    // clap shows an error without its sources.
    let (key, value) = format::parse_entry(text).map_err(|error| anyhow!("{:#}", anyhow::Error::new(error)))?;
    let note = entry_note::note(text, &key, &value);
    Ok(Entry { key, value, note })
}

#[cfg(test)]
mod tests;
