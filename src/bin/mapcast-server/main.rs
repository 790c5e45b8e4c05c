//! `mapcast-server`: sends the map to every client.

#![forbid(unsafe_code)]

mod args;
#[path = "../common/logging.rs"]
mod logging;
mod source;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use clap::Parser;
use mapcast::source::{Fixed, Sink, Source};
use mapcast::{Cast, Echo, Feed, Greet, Server, Shutdown};

use args::{Chosen, Cli, Task};

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
    let (server, followed, stop) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error, USAGE),
    };
    match serve(server, followed, &stop) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(FAILED),
        Err(error) => fail(&error, FAILED),
    }
}

/// A source, and where its maps go.
type Followed = (Box<dyn Source>, Sink);

/// Everything that can be refused before the first client: the source's first map, the listeners, the signals.
fn prepare(task: Task) -> anyhow::Result<(Server, Option<Followed>, Shutdown)> {
    let stop = Shutdown::new().context("no descriptors left")?;
    let mut server = Server::new(task.config);
    let followed = match task.service {
        Chosen::Map { interval, format, source, set, max_frame } => {
            let feed = Arc::new(Feed::new(format, max_frame));
            let sink = Sink::new(Arc::clone(&feed), set);
            let mut source =
                source.map_or_else(|| Ok(Box::new(Fixed::default()) as Box<dyn Source>), |at| at.open())?;
            source.load(&sink, &stop)?;
            server.bind(&task.listen, Cast::new(feed, interval))?;
            source.listening_on(&server.local_addrs());
            Some((source, sink))
        }
        Chosen::Echo => {
            server.bind(&task.listen, Echo::new())?;
            None
        }
        Chosen::Greet(text) => {
            server.bind(&task.listen, Greet::new(text))?;
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
    Ok((server, followed, stop))
}

/// Serves until the stop. Returns how many clients had to be cut.
fn serve(server: Server, followed: Option<Followed>, stop: &Shutdown) -> anyhow::Result<u64> {
    let requested = stop.clone();
    let source = followed
        .map(|(mut source, sink)| {
            let builder = thread::Builder::new().name("source".to_owned());
            builder.spawn(move || source.follow(&sink, &requested)).context("no thread for the source")
        })
        .transpose()?;
    let summary = server.run(stop)?;
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
