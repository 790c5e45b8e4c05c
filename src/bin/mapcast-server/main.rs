//! `mapcast-server`: sends the map to every client.

#![forbid(unsafe_code)]

#[path = "../common/advice.rs"]
mod advice;
mod args;
mod check;
mod http;
#[path = "../common/logging.rs"]
mod logging;
mod monitor;
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
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use mapcast::server::Handle;
use mapcast::service::http::ShownSource;
use mapcast::source::{Fixed, Location, Sink, Source};
use mapcast::state::StateFile;
use mapcast::threads::{Thread, Threads, Worker};
use mapcast::{Cast, Echo, Feed, Greet, Map, Server, ServerConfig, Shutdown};

use advice::advice;
use args::{Chosen, Cli, MapTask, Task};
use systemd::{Listeners, Subject, Supervisor};

/// Clients had to be cut, a thread had to be left behind, or it could not go on.
const FAILED: u8 = 1;
/// What was asked for cannot be begun.
const USAGE: u8 = 2;
/// A second signal: at once.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let dropped = Arc::<AtomicU64>::default();
    let _flush_on_drop = logging::start(cli.verbosity(), Arc::clone(&dropped));
    let (threads, starting, stop) = match begin(&cli) {
        Ok(begun) => begun,
        Err(error) => return fail(&error, USAGE),
    };
    if cli.is_check() {
        return match cli.into_task().and_then(check::describe) {
            Ok(lines) => print(&lines),
            Err(error) => fail(&error, USAGE),
        };
    }
    let prepared = match cli.into_task().and_then(|task| prepare(task, dropped, &threads, stop)) {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error, USAGE),
    };
    starting.end();
    match serve(prepared, &threads) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => fail(&error, FAILED),
    }
}

/// What comes before the first file is opened: the monitor, so that the log says if that takes long. Returns the threads, this
/// one among them while it starts, and the stop.
fn begin(cli: &Cli) -> anyhow::Result<(Threads, Arc<Worker>, Shutdown)> {
    signals::survive_large_writes().context("cannot handle signals")?;
    let (threads, stop) = (Threads::default(), Shutdown::new().context("no descriptors left")?);
    let starting = threads.register_io("main", "starting, which reads the files that the options name");
    monitor::start(threads.clone(), stop.clone(), cli.drain_timeout(), FAILED)?;
    Ok((threads, starting, stop))
}

/// How long the end waits for the source's thread and for the supervisor's: 500 ms each. A file system that hangs holds the
/// source; whatever else they wait for ends with the stop.
const JOIN_LIMIT: Duration = Duration::from_millis(500);

/// How often the accept loops come round at least, for the monitor: every 2 s, as the other threads.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A source, where its maps go, and what it does, in words.
struct Followed {
    source: Box<dyn Source>,
    sink: Sink,
    task: String,
}

/// Everything that has been begun, but for the serving.
struct Prepared {
    server: Server,
    /// The server of the page, with a stop of its own: it is the last to go.
    page: Option<(Server, Shutdown)>,
    /// The accept loops of both.
    accepting: Vec<Arc<Worker>>,
    followed: Option<Followed>,
    /// Nobody else's until the end, though no map should come any more.
    state: Option<StateFile>,
    supervised: Option<Supervised>,
    stop: Shutdown,
}

/// The service manager, and what it is told of.
type Supervised = (Supervisor, Subject);

/// Everything that can be refused before the first client: the source's first map, the listeners, the signals. What HTTP
/// shows includes `dropped`, the lines that the log has lost.
fn prepare(task: Task, dropped: Arc<AtomicU64>, threads: &Threads, stop: Shutdown) -> anyhow::Result<Prepared> {
    let listeners = Listeners::inherited()?;
    let supervisor = Supervisor::from_env();
    let drain_timeout = task.config.drain_timeout;
    // Twice between two looks of the monitor, or of a watchdog that looks more often.
    let heartbeat = supervisor.as_ref().and_then(Supervisor::heartbeat).unwrap_or(HEARTBEAT).min(HEARTBEAT);
    let config = ServerConfig { heartbeat: Some(heartbeat), threads: threads.clone(), ..task.config };
    let room = format!("{}, {} allowed (--max-connections)", task.capacity, config.max_connections);
    let mut server = Server::new(config.clone());
    let (mut page, mut followed, mut state) = (None, None, None);
    match task.service {
        Chosen::Map(map) => {
            state = map.state.as_ref().map(StateFile::open).transpose()?;
            let last = state.as_ref().map_or(LastMap::Read(None), LastMap::Kept);
            let (feed, mut first) = first_map(&map, last, threads, &stop)?;
            listeners.serve(
                &mut server,
                &task.listen,
                Cast::new(Arc::clone(&feed), map.interval).with_threads(threads),
            )?;
            first.source.listening_on(&server.local_addrs());
            if let Some(mut http) = map.http {
                let shown =
                    |at: &Location| ShownSource { name: at.to_string(), health: Arc::clone(first.sink.health()) };
                http.config.source = map.source.as_ref().map(shown);
                http.config.state.clone_from(&state);
                http.config.dropped_log_lines = Some(dropped);
                http.config.threads = threads.clone();
                let bound = http.bind(&config, feed, &server, &stop)?;
                page = Some((bound, Shutdown::new().context("no descriptors left")?));
            }
            followed = Some(first);
        }
        Chosen::Echo => listeners.serve(&mut server, &task.listen, Echo::new())?,
        Chosen::Greet(text) => listeners.serve(&mut server, &task.listen, Greet::new(text))?,
    }
    let leave = || {
        logging::flush_at_once();
        std::process::exit(INTERRUPTED);
    };
    signals::handle(stop.clone(), leave).context("cannot handle signals")?;
    log::info!("room for {room}");
    let sink = followed.as_ref().map(|followed| followed.sink.clone());
    let subject = Subject { sink, stats: server.stats(), threads: threads.clone(), drain_timeout, stop: stop.clone() };
    let supervised = supervisor.map(|supervisor| (supervisor, subject));
    // Not before: their first round is yet to come.
    let page_server = page.as_ref().map(|(page, _)| (page, "http-accept"));
    let loops = [Some((&server, "main")), page_server].into_iter().flatten();
    let accepting = loops.map(|(server, name)| count_rounds(server, name, threads)).collect();
    Ok(Prepared { server, page, accepting, followed, state, supervised, stop })
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
fn first_map(
    map: &MapTask,
    last: LastMap<'_>,
    threads: &Threads,
    stop: &Shutdown,
) -> anyhow::Result<(Arc<Feed>, Followed)> {
    let feed = Arc::new(Feed::new(map.format, map.max_frame).with_max_backlog(map.max_backlog));
    let sink = Sink::new(Arc::clone(&feed), map.set.clone());
    let mut sink = sink.with_advice(|error| advice(error, &tls::SOURCE_ADVICE));
    let fixed = |last: Option<Map>, age| Box::new(last.map_or_else(Fixed::default, |last| Fixed::kept(last, age)));
    let mut source: Box<dyn Source> = match (&map.source, last) {
        (Some(at), LastMap::Kept(state)) => {
            let source = at.open()?;
            if let Some(published) = sink.keep(state, threads)? {
                log::info!("{}: the last good map of {at}: {published}", state.name());
            }
            source
        }
        (Some(at), LastMap::Read(last)) => {
            let source = at.open()?;
            last.map(|last| sink.publish(last)).transpose().context("--state: the map cannot be sent")?;
            source
        }
        (None, LastMap::Kept(state)) => fixed(state.load(map.max_frame)?, state.age()),
        (None, LastMap::Read(last)) => fixed(last, Duration::ZERO),
    };
    source.load(&sink, stop)?;
    let task = match &map.source {
        Some(Location::StandardInput) => "reading standard input".to_owned(),
        Some(at @ (Location::Json(_) | Location::Toml(_))) => format!("reading {at}"),
        Some(at) => format!("following {at}"),
        None => "publishing the map".to_owned(),
    };
    Ok((feed, Followed { source, sink, task }))
}

/// Serves until the stop. Returns true if and only if no client had to be cut and no thread left behind.
fn serve(prepared: Prepared, threads: &Threads) -> anyhow::Result<bool> {
    let Prepared { server, page, accepting, followed, state: _locked, supervised, stop } = prepared;
    // The last one to go: what the source gave last is written then.
    let sink = followed.as_ref().map(|followed| followed.sink.clone());
    let source = followed.map(|followed| followed.start(threads, &stop)).transpose()?;
    let page = page.map(|(page, stop)| page.spawn(stop)).transpose()?;
    let supervisor = supervised.map(|(supervisor, subject)| supervisor.follow(subject)).transpose()?;
    let summary = server.run(&stop);
    page.map(Handle::stop).transpose()?;
    for worker in accepting {
        worker.end();
    }
    let joined = [supervisor, source].into_iter().flatten().map(|thread| thread.join(JOIN_LIMIT));
    let all_joined = joined.filter(|has_ended| !has_ended).count() == 0;
    drop(sink);
    let left = threads.unfinished();
    if all_joined && !left.is_empty() {
        log::error!("leaving threads behind: {}", left.join(", "));
    }
    Ok(summary?.cut == 0 && all_joined && left.is_empty())
}

/// The accept loop of `server`, in the thread called `name`, is one of `threads`.
fn count_rounds(server: &Server, name: &str, threads: &Threads) -> Arc<Worker> {
    let stats = server.stats();
    threads.register_counter(name, "accepting connections", move || stats.heartbeats())
}

impl Followed {
    /// Follows the source in a thread of its own until the stop, again after a panic.
    fn start(self, threads: &Threads, stop: &Shutdown) -> anyhow::Result<Thread> {
        let Self { mut source, sink, task } = self;
        let worker = threads.register_io("source", &task);
        sink.health().watch(&worker);
        let stop = stop.for_worker(&worker);
        let follow = move || worker.run(|pause| stop.wait(pause), || source.follow(&sink, &stop));
        Thread::start("source", follow).context("no thread for the source")
    }
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
    let advice = advice(error.as_ref(), &tls::SOURCE_ADVICE).map_or_else(String::new, |advice| format!("; {advice}"));
    logging::write_line(&format!("mapcast-server: {error:#}{advice}"));
    ExitCode::from(code)
}
