//! `mapcast-client`: prints or delivers what a mapcast server sends.
#![forbid(unsafe_code)]

mod address;
#[path = "../common/advice.rs"]
mod advice;
mod args;
mod changes;
mod check;
mod color;
mod commands;
mod config;
mod conflicts;
mod deliver;
mod duration;
#[path = "../common/entry_note.rs"]
mod entry_note;
#[path = "../common/environment.rs"]
mod environment;
mod exit;
mod first_map;
#[path = "../common/habits.rs"]
mod habits;
#[path = "../common/help.rs"]
mod help;
mod hidden;
mod leave;
mod line_args;
mod line_format;
#[path = "../common/logging.rs"]
mod logging;
mod manual;
#[path = "../common/nearest.rs"]
mod nearest;
#[cfg(test)]
#[path = "../common/packaged.rs"]
mod packaged;
mod platform;
mod print;
mod raw_value;
mod refusal;
mod selection;
#[cfg(unix)]
#[path = "../common/signals.rs"]
mod signals;
#[cfg(windows)]
#[path = "../common/signals_windows.rs"]
mod signals;
mod stdout;
#[cfg(test)]
#[path = "../../../tests/testing/mod.rs"]
mod testing;
mod time_limit;
mod timeout;
mod timeout_hint;
mod tls;
mod tls_options;
#[path = "../common/typed.rs"]
mod typed;
mod watch;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use mapcast::Shutdown;
use mapcast::client::{self, Error, Follower, Input};

use config::{Config, Task};
use exit::Exit;
use first_map::FirstMap;
use print::Printer;
use stdout::{LastByteWriter, Stdout};

fn main() -> ExitCode {
    let config = args::parse();
    let _flush_on_drop = logging::start(config.verbosity, Arc::default());
    let hint = config.unknown_host_hint.clone();
    for notice in &config.notices {
        log::warn!("{notice}");
    }
    run(config).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        if !exit.is_quiet() {
            let hint = hint.filter(|_| is_unknown_host(&error)).map_or_else(String::new, |hint| format!("; {hint}"));
            logging::write_line(&format!("mapcast-client: {}{hint}", exit::describe(&error)));
        }
        exit.into()
    })
}

/// True if and only if the host is unknown: its name cannot be resolved, or not in time. A host that refuses the
/// connection or is unreachable has an error code of the system instead.
fn is_unknown_host(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Connect { source, .. }) if source.raw_os_error().is_none())
}

fn run(config: Config) -> anyhow::Result<ExitCode> {
    let deadline = config.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    signals::survive_large_writes().context("cannot handle signals")?;
    let shutdown = Shutdown::new().context("cannot create a pipe")?;
    if !config.task.forwards_signals() {
        signals::handle(shutdown.clone(), || leave::leave_at_once(Exit::Interrupted))
            .context("cannot handle signals")?;
    }
    let close_watcher = config.task.prints().then(|| stdout::CloseWatcher::start(&shutdown)).transpose();
    let close_watcher = close_watcher.context("cannot start a thread")?;
    let outcome = run_task(config, &shutdown, deadline);
    leave::wait_if_leaving();
    match outcome {
        Err(error)
            if close_watcher.is_some_and(|close_watcher| close_watcher.saw_close())
                && Exit::of(&error) == Exit::Interrupted =>
        {
            Ok(Exit::Done.into())
        }
        outcome => outcome,
    }
}

fn run_task(config: Config, shutdown: &Shutdown, deadline: Option<Instant>) -> anyhow::Result<ExitCode> {
    let stdout = || Stdout::start(shutdown, deadline).map_err(Error::Output);
    let (address, client) = (&config.address, &config.client);
    let is_encrypted = client.tls.is_some();
    match config.task {
        Task::Follow { follow, print, count } => {
            let mut follower = Follower::new(address, follow, shutdown);
            follower.set_deadline(deadline);
            let first = FirstMap::observe(&mut follower, address, is_encrypted);
            let printed = print_maps(&mut follower, &first, &mut Printer::new(print, stdout()?), count);
            return printed.map(Exit::into).map_err(|error| timeout_hint::explain(error, &follower, is_encrypted));
        }
        Task::Deliver { follow, selection, count, deliver } => {
            let until = deliver::Limits { count, deadline, reconnects: follow.reconnect };
            let mut follower = Follower::new(address, follow, shutdown);
            let first = FirstMap::observe(&mut follower, address, is_encrypted);
            let delivered = deliver::deliver(&mut follower, &first, &selection, deliver, until, shutdown);
            return delivered.map_err(|error| timeout_hint::explain(error, &follower, is_encrypted));
        }
        Task::Watch { follow, selection, is_colored } => {
            let mut follower = Follower::new(address, follow, shutdown);
            follower.set_deadline(deadline);
            let watched = watch::WatchConfig { address: address.clone(), is_encrypted, selection, is_colored };
            return Ok(watch::watch(follower, watched, shutdown, deadline)?.into());
        }
        Task::Check => {
            let is_verbose = config.verbosity > -2;
            return Ok(check::check(address, client.clone(), is_verbose, shutdown, deadline)?.into());
        }
        Task::Command(command) => {
            let limits = commands::Limits { shutdown, deadline, verbosity: config.verbosity };
            commands::run(command, client.clone(), args::definition(), limits)?;
        }
        Task::Echo { text } => {
            let input = match text {
                Some(text) => Input::Bytes(text.into_bytes()),
                None => Input::standard_input()?,
            };
            client::echo(address, input, stdout()?, client, shutdown, deadline).map_err(stdout::unwrap_write_error)?;
        }
        Task::Greet => {
            let mut out = LastByteWriter::new(stdout()?);
            client::greet(address, &mut out, client, shutdown, deadline).map_err(stdout::unwrap_write_error)?;
            if io::stdout().is_terminal() {
                out.end_line().map_err(stdout::write_error)?;
            }
        }
    }
    Ok(Exit::Done.into())
}

/// Prints maps until `count` are printed or the server closes the last connection.
fn print_maps(
    follower: &mut Follower,
    first: &FirstMap,
    printer: &mut Printer<Stdout>,
    count: Option<u64>,
) -> anyhow::Result<Exit> {
    let (mut any, mut done) = (false, 0);
    while count.is_none_or(|count| done < count) {
        match follower.next_payload() {
            Ok(Some(payload)) => {
                first.came();
                match printer.print(payload, |payload| follower.decode_map(payload)) {
                    Ok(counts) => {
                        any = true;
                        done += u64::from(counts);
                    }
                    Err(error) if any && matches!(error.downcast_ref(), Some(Error::Stopped)) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(None) => {
                first.explain_end();
                match count {
                    Some(count) => bail!("the server closed the connection after {done} of {count} maps"),
                    None => break,
                }
            }
            Err(Error::Stopped) if any => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Exit::Done)
}
