//! `mapcast-server`: sends the map to every client.

#![forbid(unsafe_code)]

mod args;
mod check;
mod http;
#[path = "../common/logging.rs"]
mod logging;
#[cfg(test)]
#[path = "../common/packaged.rs"]
mod packaged;
#[path = "../common/signals.rs"]
mod signals;
mod source;
mod systemd;
mod tls;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use clap::Parser;
use mapcast::server::Handle;
use mapcast::service::http::ShownSource;
use mapcast::source::{Fixed, Location, Sink, Source};
use mapcast::state::StateFile;
use mapcast::{Cast, Echo, Feed, Greet, Map, Server, ServerConfig, Shutdown};

use args::{Chosen, Cli, MapTask, Task};
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
    if let Err(error) = signals::survive_large_writes() {
        return fail(&anyhow::Error::new(error).context("cannot handle signals"), USAGE);
    }
    if cli.is_check() {
        return match cli.into_task().and_then(check::describe) {
            Ok(lines) => print(&lines),
            Err(error) => fail(&error, USAGE),
        };
    }
    let prepared = match cli.into_task().and_then(prepare) {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error, USAGE),
    };
    match serve(prepared) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(FAILED),
        Err(error) => fail(&error, FAILED),
    }
}

/// A source, and where its maps go.
type Followed = (Box<dyn Source>, Sink);

/// Everything that has been begun, but for the serving.
struct Prepared {
    server: Server,
    /// The server of the page, with a stop of its own: it is the last to go.
    page: Option<(Server, Shutdown)>,
    followed: Option<Followed>,
    /// Nobody else's until the end, though no map should come any more.
    state: Option<StateFile>,
    supervised: Option<Supervised>,
    stop: Shutdown,
}

/// The service manager, and what it is told of.
type Supervised = (Supervisor, Subject);

/// Everything that can be refused before the first client: the source's first map, the listeners, the signals.
fn prepare(task: Task) -> anyhow::Result<Prepared> {
    let listeners = Listeners::inherited()?;
    let supervisor = Supervisor::from_env();
    let stop = Shutdown::new().context("no descriptors left")?;
    let (drain_timeout, heartbeat) = (task.config.drain_timeout, supervisor.as_ref().and_then(Supervisor::heartbeat));
    let room = format!("{}, {} allowed (--max-connections)", task.ceiling, task.config.max_connections);
    let mut server = Server::new(ServerConfig { heartbeat, ..task.config.clone() });
    let (mut page, mut followed, mut state) = (None, None, None);
    match task.service {
        Chosen::Map(map) => {
            state = map.state.as_ref().map(StateFile::open).transpose()?;
            let last = state.as_ref().map_or(LastMap::Read(None), LastMap::Kept);
            let (feed, (mut source, sink)) = first_map(&map, last, &stop)?;
            listeners.serve(&mut server, &task.listen, Cast::new(Arc::clone(&feed), map.interval))?;
            source.listening_on(&server.local_addrs());
            if let Some(mut http) = map.http {
                let shown = |at: &Location| ShownSource { name: at.to_string(), health: Arc::clone(sink.health()) };
                http.config.source = map.source.as_ref().map(shown);
                http.config.state.clone_from(&state);
                let bound = http.bind(&task.config, feed, &server, &stop)?;
                page = Some((bound, Shutdown::new().context("no descriptors left")?));
            }
            followed = Some((source, sink));
        }
        Chosen::Echo => listeners.serve(&mut server, &task.listen, Echo::new())?,
        Chosen::Greet(text) => listeners.serve(&mut server, &task.listen, Greet::new(text))?,
    }
    signals::handle(stop.clone(), || std::process::exit(INTERRUPTED)).context("cannot handle signals")?;
    log::info!("room for {room}");
    let sink = followed.as_ref().map(|(_, sink)| sink.clone());
    let subject = Subject { sink, stats: server.stats(), drain_timeout, stop: stop.clone() };
    let supervised = supervisor.map(|supervisor| (supervisor, subject));
    Ok(Prepared { server, page, followed, state, supervised, stop })
}

/// The last good map of an earlier server.
enum LastMap<'a> {
    /// It is in the state, if there is one, and the next ones go there too.
    Kept(&'a StateFile),
    /// It was read, if there is one. Nothing is kept.
    Read(Option<Map>),
}

/// Opens the source, or takes up what was written last, and publishes the first map. Where a source may be away, that is the
/// last one that it gave.
fn first_map(map: &MapTask, last: LastMap<'_>, stop: &Shutdown) -> anyhow::Result<(Arc<Feed>, Followed)> {
    let feed = Arc::new(Feed::new(map.format, map.max_frame));
    let mut sink = Sink::new(Arc::clone(&feed), map.set.clone());
    let fixed = |last: Option<Map>| Box::new(last.map_or_else(Fixed::default, Fixed::new));
    let mut source: Box<dyn Source> = match (&map.source, last) {
        (Some(at), LastMap::Kept(state)) => {
            let source = at.open()?;
            if let Some(published) = sink.keep(state)? {
                log::info!("{}: the last good map of {at}: {published}", state.name());
            }
            source
        }
        (Some(at), LastMap::Read(last)) => {
            let source = at.open()?;
            last.map(|last| sink.publish(last)).transpose().context("--state: the map cannot be sent")?;
            source
        }
        (None, LastMap::Kept(state)) => fixed(state.load(map.max_frame)?),
        (None, LastMap::Read(last)) => fixed(last),
    };
    source.load(&sink, stop)?;
    Ok((feed, (source, sink)))
}

/// Serves until the stop. Returns how many clients had to be cut.
fn serve(prepared: Prepared) -> anyhow::Result<u64> {
    let Prepared { server, page, followed, state: _locked, supervised, stop } = prepared;
    let requested = stop.clone();
    let source = followed
        .map(|(mut source, sink)| {
            let builder = thread::Builder::new().name("source".to_owned());
            builder.spawn(move || source.follow(&sink, &requested)).context("no thread for the source")
        })
        .transpose()?;
    let page = page.map(|(page, stop)| page.spawn(stop)).transpose()?;
    let supervisor = supervised.map(|(supervisor, subject)| supervisor.follow(subject)).transpose()?;
    let summary = server.run(&stop);
    page.map(Handle::stop).transpose()?;
    if supervisor.is_some_and(|supervisor| supervisor.join().is_err()) {
        anyhow::bail!("the thread of the service manager's messages panicked");
    }
    if source.is_some_and(|source| source.join().is_err()) {
        anyhow::bail!("the source's thread panicked");
    }
    Ok(summary?.cut)
}

/// Prints `lines`, and returns how that leaves the program.
fn print(lines: &[String]) -> ExitCode {
    match writeln!(io::stdout(), "{}", lines.join("\n")) {
        // A reader that has gone has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(&anyhow::Error::new(error).context("standard output"), FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // A standard error that is full or closed leaves nobody to tell.
    let _ = writeln!(io::stderr(), "mapcast-server: {error:#}");
    ExitCode::from(code)
}

/// Panics go to the log like everything else, on one line.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        log::error!("thread {} panicked: {}", thread.name().unwrap_or("unnamed"), panic.to_string().escape_debug());
    }));
}
