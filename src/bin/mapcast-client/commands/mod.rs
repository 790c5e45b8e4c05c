//! Commands that read or change the map once, or describe the server.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

mod clients;
mod completions;
mod del;
mod edit;
mod entry;
pub(crate) mod get;
pub(crate) mod http;
mod map_access;
mod path;
mod set;
mod status;
mod table;
mod token;
mod url;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Subcommand, ValueEnum};
use clap_complete::Shell;
use mapcast::Shutdown;
use mapcast::client::{ClientConfig, Error};

use crate::logging;
use crate::stdout::{Stdout, write_error};
use entry::{Entry, parse_entry};
use get::GetArgs;
use http::{HttpClient, REQUEST_LIMIT};
use map_access::Summary;
use url::{Url, parse_url};

/// The commands whose options do not depend on those of printing maps.
#[derive(Debug, Subcommand)]
pub(crate) enum CommandArgs {
    /// Set entries over HTTP, all in one change
    ///
    /// The server needs --http and --http-token-file.
    Set {
        #[command(flatten)]
        http: HttpArgs,
        /// VALUE is JSON or plain text; an object replaces the old value
        #[arg(value_name = "KEY=VALUE", required = true, allow_negative_numbers = true, value_parser = parse_entry)]
        entries: Vec<Entry>,
    },
    /// Remove entries over HTTP, all in one change
    ///
    /// Exit code 5 if one is missing; then none is removed. The server needs --http and --http-token-file.
    Del {
        #[command(flatten)]
        http: HttpArgs,
        /// Keys as they are, without paths or patterns
        #[arg(value_name = "KEY", required = true, allow_negative_numbers = true)]
        keys: Vec<String>,
    },
    /// Edit the map, or one entry, in an editor, over HTTP
    ///
    /// As JSON, in $VISUAL or $EDITOR, otherwise in vi or notepad. --timeout limits each request. The server needs --http and
    /// --http-token-file.
    Edit {
        #[command(flatten)]
        http: HttpArgs,
        /// The entry to edit; exit with code 5 if it is missing [default: the whole map]
        #[arg(value_name = "KEY", allow_negative_numbers = true)]
        key: Option<String>,
    },
    /// Print the server's status
    Status {
        #[command(flatten)]
        http: HttpArgs,
        /// How to print it
        #[arg(short, long, default_value = "table", value_enum)]
        output: TableOutput,
    },
    /// List the server's newest clients
    Clients {
        #[command(flatten)]
        http: HttpArgs,
        /// How to print them
        #[arg(short, long, default_value = "table", value_enum)]
        output: TableOutput,
        /// List at most this many, 1000 at most
        #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u64).range(0..=1000))]
        limit: u64,
    },
    /// Print completions for a shell
    ///
    /// For bash: source <(mapcast-client completions bash). For PowerShell: mapcast-client completions powershell | Out-String |
    /// Invoke-Expression.
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The server's HTTP listener, and the permission to write.
#[derive(Debug, Args)]
pub(crate) struct HttpArgs {
    /// The server's --http: HOST:PORT (default port 8081) or http://HOST:PORT (default port 80); without TLS
    #[arg(long, value_name = "URL", env = "MAPCAST_HTTP", default_value = "http://127.0.0.1:8081", value_parser = parse_url)]
    http: Url,
    /// File with the token of the server's --http-token-file
    #[arg(long, value_name = "FILE", env = "MAPCAST_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// How a status or a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableOutput {
    /// Aligned columns
    Table,
    /// The server's JSON
    Json,
}

/// What a command does.
#[derive(Debug)]
pub(crate) enum Command {
    /// Print values.
    Get(GetArgs),
    /// Print completions.
    Completions(Shell),
    /// Send requests.
    Http { server: HttpServer, request: HttpCommand },
}

/// A server's HTTP listener.
#[derive(Debug)]
pub(crate) struct HttpServer {
    args: HttpArgs,
    connect_timeout: Duration,
    request_limit: Duration,
}

/// What is requested over HTTP.
#[derive(Debug)]
pub(crate) enum HttpCommand {
    Set(Vec<Entry>),
    Del(Vec<String>),
    Edit(Option<String>),
    Status(TableOutput),
    Clients(TableOutput, u64),
}

/// The end of a command, and how much it logs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'s> {
    pub(crate) shutdown: &'s Shutdown,
    pub(crate) deadline: Option<Instant>,
    /// How often `-v` was given, minus `-q`.
    pub(crate) verbosity: i16,
}

impl CommandArgs {
    /// True if and only if the user decides when the command ends: `--timeout` limits its requests.
    pub(crate) fn is_interactive(&self) -> bool {
        matches!(self, Self::Edit { .. })
    }

    /// Returns what the command does. `timeout` is the value of `--timeout`.
    pub(crate) fn into_command(self, connect_timeout: Duration, timeout: Option<Duration>) -> Command {
        let request_limit =
            timeout.filter(|_| self.is_interactive()).map_or(REQUEST_LIMIT, |limit| limit.min(REQUEST_LIMIT));
        let (args, request) = match self {
            Self::Set { http, entries } => (http, HttpCommand::Set(entries)),
            Self::Del { http, keys } => (http, HttpCommand::Del(keys)),
            Self::Edit { http, key } => (http, HttpCommand::Edit(key)),
            Self::Status { http, output } => (http, HttpCommand::Status(output)),
            Self::Clients { http, output, limit } => (http, HttpCommand::Clients(output, limit)),
            Self::Completions { shell } => return Command::Completions(shell),
        };
        Command::Http { server: HttpServer { args, connect_timeout, request_limit }, request }
    }
}

impl Command {
    /// True if and only if another program gets the signals from the keyboard, while it runs.
    pub(crate) fn shares_signals(&self) -> bool {
        matches!(self, Self::Http { request: HttpCommand::Edit(_), .. })
    }
}

impl HttpServer {
    /// Returns a client with the token of its file.
    fn client(self, limits: Limits<'_>) -> anyhow::Result<HttpClient> {
        let Self { args: HttpArgs { http: url, token_file }, connect_timeout, request_limit } = self;
        let token = token_file.map(|path| token::read_token(&path)).transpose()?;
        if token.is_some() && !url.is_loopback() {
            log::warn!("the token is sent unencrypted to {}; use a tunnel, such as ssh -L", url.authority());
        }
        let (deadline, shutdown) = (limits.deadline, limits.shutdown.clone());
        Ok(HttpClient { url, token, connect_timeout, request_limit, deadline, shutdown })
    }
}

/// Returns a message if `--tls` is typed for a command over HTTP, which would send the token unencrypted.
pub(crate) fn tls_conflict(program: &clap::Command, matches: &ArgMatches) -> Option<String> {
    let (name, of_command) = matches.subcommand()?;
    let is_http = program.find_subcommand(name)?.get_arguments().any(|arg| arg.get_id() == "http");
    let is_typed = |id| {
        // Without the feature `tls` there is no such option.
        of_command.try_contains_id(id).is_ok() && of_command.value_source(id) == Some(ValueSource::CommandLine)
    };
    (is_http && is_typed("tls")).then(|| format!("'--tls' cannot be used with '{name}': HTTP is sent without TLS"))
}

/// Runs a command. `client` is how the map's port is read; `definition` is the command line of this program.
pub(crate) fn run(
    command: Command,
    client: ClientConfig,
    definition: clap::Command,
    limits: Limits<'_>,
) -> anyhow::Result<()> {
    let Limits { shutdown, deadline, .. } = limits;
    let mut out = Stdout::start(shutdown, deadline).map_err(Error::Output)?;
    let printed = match command {
        Command::Get(args) => return get::get(&args, client, &mut out, shutdown, deadline),
        Command::Completions(shell) => completions::completions(shell, definition),
        Command::Http { server, request } => run_http(request, &server.client(limits)?, limits)?,
    };
    if !printed.is_empty() {
        out.write_all(&printed).map_err(write_error)?;
    }
    Ok(())
}

/// Sends the requests of a command. Returns what it prints.
fn run_http(command: HttpCommand, http: &HttpClient, limits: Limits<'_>) -> anyhow::Result<Vec<u8>> {
    Ok(match command {
        HttpCommand::Set(entries) => {
            report(&set::set(http, entries)?, limits);
            Vec::new()
        }
        HttpCommand::Del(keys) => {
            report(&del::del(http, &keys)?, limits);
            Vec::new()
        }
        HttpCommand::Edit(key) => {
            if let Some(edited) = edit::edit(http, key)? {
                report(&edited.summary, limits);
                edited.lines.into_bytes()
            } else {
                say("unchanged: nothing is written", limits);
                Vec::new()
            }
        }
        HttpCommand::Status(TableOutput::Json) => status::status_json(http)?,
        HttpCommand::Status(TableOutput::Table) => status::status_table(http)?.into_bytes(),
        HttpCommand::Clients(TableOutput::Json, limit) => clients::clients_json(http, limit)?,
        HttpCommand::Clients(TableOutput::Table, limit) => {
            let table = clients::clients_table(http, limit)?;
            if table.left_out > 0 {
                say(&format!("not listed: {} older", table.left_out), limits);
            }
            table.text.into_bytes()
        }
    })
}

/// Reports a change that was made.
fn report(summary: &Summary, limits: Limits<'_>) {
    let Summary { version, entries, changed } = summary;
    let what = if *changed { "changed" } else { "unchanged" };
    let plural = if *entries == 1 { "entry" } else { "entries" };
    say(&format!("{what}: version {version}, {entries} {plural}"), limits);
}

/// Writes a line for people to standard error, unless `-q` is given.
fn say(line: &str, limits: Limits<'_>) {
    if limits.verbosity >= 0 {
        logging::write_line(line);
    }
}
