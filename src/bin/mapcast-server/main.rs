//! `mapcast-server`: sends the map to every client.

#![forbid(unsafe_code)]

mod args;
#[path = "../common/logging.rs"]
mod logging;
#[cfg(test)]
#[path = "../common/packaged.rs"]
mod packaged;
mod systemd;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use clap::Parser;
use mapcast::source::{Fixed, Sink, Source};
use mapcast::{Cast, Echo, Feed, Greet, Server, ServerConfig, Shutdown};

use args::{Chosen, Cli, Task};
use systemd::{Listeners, Subject, Supervisor};

/// Clients had to be cut, or it could not go on.
const FAILED: u8 = 1;
/// What was asked for cannot be begun.
const USAGE: u8 = 2;
/// A second signal: at once.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.verbosity());
    log_panics();
    let prepared = cli.into_task().and_then(prepare);
    let (server, followed, supervised, stop) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error, USAGE),
    };
    match serve(server, followed, supervised, &stop) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(FAILED),
        Err(error) => fail(&error, FAILED),
    }
}

/// A source, and where its maps go.
type Followed = (Box<dyn Source>, Sink);

/// The service manager, and what it is told of.
type Supervised = (Supervisor, Subject);

/// Everything that can be refused before the first client: the source's first map, the listeners, the signals.
fn prepare(task: Task) -> anyhow::Result<(Server, Option<Followed>, Option<Supervised>, Shutdown)> {
    let listeners = Listeners::inherited()?;
    let supervisor = Supervisor::from_env();
    let stop = Shutdown::new().context("no descriptors left")?;
    let drain_timeout = task.config.drain_timeout;
    let heartbeat = supervisor.as_ref().and_then(Supervisor::heartbeat);
    let mut server = Server::new(ServerConfig { heartbeat, ..task.config });
    let followed = match task.service {
        Chosen::Map { interval, format, source, set, max_frame } => {
            let feed = Arc::new(Feed::new(format, max_frame));
            let sink = Sink::new(Arc::clone(&feed), set);
            let mut source =
                source.map_or_else(|| Ok(Box::new(Fixed::default()) as Box<dyn Source>), |at| at.open())?;
            source.load(&sink, &stop)?;
            listeners.serve(&mut server, &task.listen, Cast::new(feed, interval))?;
            Some((source, sink))
        }
        Chosen::Echo => {
            listeners.serve(&mut server, &task.listen, Echo::new())?;
            None
        }
        Chosen::Greet(text) => {
            listeners.serve(&mut server, &task.listen, Greet::new(text))?;
            None
        }
    };
    let requested = stop.clone();
    ctrlc::set_handler(move || {
        if !requested.trigger() {
            std::process::exit(INTERRUPTED);
        }
    })
    .context("cannot handle signals")?;
    let sink = followed.as_ref().map(|(_, sink)| sink.clone());
    let subject = Subject { sink, stats: server.stats(), drain_timeout, stop: stop.clone() };
    Ok((server, followed, supervisor.map(|supervisor| (supervisor, subject)), stop))
}

/// Serves until the stop. Returns how many clients had to be cut.
fn serve(
    server: Server,
    followed: Option<Followed>,
    supervised: Option<Supervised>,
    stop: &Shutdown,
) -> anyhow::Result<u64> {
    let requested = stop.clone();
    let source = followed
        .map(|(mut source, sink)| {
            let builder = thread::Builder::new().name("source".to_owned());
            builder.spawn(move || source.follow(&sink, &requested)).context("no thread for the source")
        })
        .transpose()?;
    let supervisor = supervised.map(|(supervisor, subject)| supervisor.follow(subject)).transpose()?;
    let summary = server.run(stop)?;
    if supervisor.is_some_and(|supervisor| supervisor.join().is_err()) {
        anyhow::bail!("the thread of the service manager's messages panicked");
    }
    if source.is_some_and(|source| source.join().is_err()) {
        anyhow::bail!("the source's thread panicked");
    }
    Ok(summary.cut)
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("mapcast-server: {error:#}");
    ExitCode::from(code)
}

/// Panics go to the log like everything else, on one line.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        log::error!("thread {} panicked: {}", thread.name().unwrap_or("unnamed"), panic.to_string().escape_debug());
    }));
}
