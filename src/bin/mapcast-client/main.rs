//! `mapcast-client`: prints what a mapcast server sends.
#![forbid(unsafe_code)]

mod address;
#[path = "../common/advice.rs"]
mod advice;
mod args;
mod check;
mod conflicts;
mod deliver;
mod exit;
mod hidden;
#[path = "../common/logging.rs"]
mod logging;
mod overdue;
#[cfg(test)]
#[path = "../common/packaged.rs"]
mod packaged;
mod print;
mod selection;
#[path = "../common/signals.rs"]
mod signals;
mod stdout;
#[cfg(test)]
#[path = "../../../tests/testing/mod.rs"]
mod testing;
mod timeout_hint;
mod tls;
mod watch;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use mapcast::Shutdown;
use mapcast::client::{self, Error, Follower, Input};

use args::{Config, Task};
use exit::Exit;
use print::Printer;
use stdout::{LastByte, Stdout};

fn main() -> ExitCode {
    let config = args::parse();
    let _flush_on_drop = logging::start(config.verbosity, Arc::default());
    let may_mean_command = config.may_mean_command;
    run(config).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        if !exit.is_quiet() {
            let hint =
                if may_mean_command && is_nobody(&error) { "; the commands are check, echo and greet" } else { "" };
            logging::write_line(&format!("mapcast-client: {}{hint}", exit::describe(&error)));
        }
        exit.into()
    })
}

/// True if and only if there is nobody to connect to: the name is not known, or does not answer in time. A machine that
/// refuses, or cannot be reached, is an error of the system's.
fn is_nobody(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Connect { source, .. }) if source.raw_os_error().is_none())
}

fn run(config: Config) -> anyhow::Result<ExitCode> {
    let deadline = config.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    signals::survive_large_writes().context("cannot handle signals")?;
    let shutdown = Shutdown::new().context("cannot make a pipe")?;
    if !config.task.passes_signals_on() {
        signals::handle(shutdown.clone(), || exit::leave_at_once(Exit::Interrupted))
            .context("cannot handle signals")?;
    }
    let watch = config.task.prints().then(|| stdout::Watch::start(&shutdown)).transpose();
    let watch = watch.context("cannot start a thread")?;
    match talk(config, &shutdown, deadline) {
        Err(error) if watch.is_some_and(|watch| watch.saw_close()) && Exit::of(&error) == Exit::Interrupted => {
            Ok(Exit::Done.into())
        }
        outcome => outcome,
    }
}

fn talk(config: Config, shutdown: &Shutdown, deadline: Option<Instant>) -> anyhow::Result<ExitCode> {
    let stdout = || Stdout::start(shutdown, deadline).map_err(Error::Output);
    let (address, client) = (&config.address, &config.client);
    let is_encrypted = client.tls.is_some();
    match config.task {
        Task::Follow { follow, print, count } => {
            let mut follower = Follower::new(address, follow, shutdown);
            follower.set_deadline(deadline);
            let printed = print_maps(&mut follower, &mut Printer::new(print, stdout()?), count);
            return printed.map(Exit::into).map_err(|error| timeout_hint::explain(error, &follower, is_encrypted));
        }
        Task::Deliver { follow, selection, count, into } => {
            let until = deliver::Until { count, deadline, reconnects: follow.reconnect };
            let mut follower = Follower::new(address, follow, shutdown);
            let delivered = deliver::deliver(&mut follower, &selection, into, until, shutdown);
            return delivered.map_err(|error| timeout_hint::explain(error, &follower, is_encrypted));
        }
        Task::Watch { follow, selection } => {
            let mut follower = Follower::new(address, follow, shutdown);
            follower.set_deadline(deadline);
            let (address, format) = (address.clone(), client.format);
            let watched = watch::Watched { address, format, is_encrypted, selection };
            return Ok(watch::watch(follower, watched, shutdown, deadline)?.into());
        }
        Task::Check => {
            let told = config.verbosity > -2;
            return Ok(check::check(address, client.clone(), told, shutdown, deadline)?.into());
        }
        Task::Echo { text } => {
            let input = match text {
                Some(text) => Input::Bytes(text.into_bytes()),
                None => Input::Stream(io::stdin().as_fd().try_clone_to_owned().map_err(Error::Input)?.into()),
            };
            client::echo(address, input, stdout()?, client, shutdown, deadline).map_err(stdout::meaning)?;
        }
        Task::Greet => {
            let mut out = LastByte::new(stdout()?);
            client::greet(address, &mut out, client, shutdown, deadline).map_err(stdout::meaning)?;
            if io::stdout().is_terminal() {
                out.end_line().map_err(stdout::failure)?;
            }
        }
    }
    Ok(Exit::Done.into())
}

/// Prints maps until there are enough, or no more come.
fn print_maps(follower: &mut Follower, printer: &mut Printer<Stdout>, count: Option<u64>) -> anyhow::Result<Exit> {
    let (mut any, mut done) = (false, 0);
    while count.is_none_or(|count| done < count) {
        match follower.next_payload() {
            Ok(Some(payload)) => match printer.print(payload) {
                Ok(counts) => {
                    any = true;
                    done += u64::from(counts);
                }
                Err(error) if any && matches!(error.downcast_ref(), Some(Error::Stopped)) => break,
                Err(error) => return Err(error),
            },
            Ok(None) => match count {
                Some(count) => bail!("the server closed the connection after {done} of {count} maps"),
                None => break,
            },
            Err(Error::Stopped) if any => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Exit::Done)
}
