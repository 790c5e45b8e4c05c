//! `mapcast-server`: sends the map to every client.

#![forbid(unsafe_code)]

#[path = "../common/advice.rs"]
mod advice;
mod args;
mod check;
#[path = "../common/entry_note.rs"]
mod entry_note;
#[path = "../common/environment.rs"]
mod environment;
mod followed_source;
#[path = "../common/habits.rs"]
mod habits;
#[path = "../common/help.rs"]
mod help;
mod hints;
mod http;
mod input_advice;
#[path = "../common/logging.rs"]
mod logging;
mod manual;
mod monitor;
#[path = "../common/nearest.rs"]
mod nearest;
#[cfg(test)]
#[path = "../common/packaged.rs"]
mod packaged;
mod ports;
#[cfg(unix)]
#[path = "../common/signals.rs"]
mod signals;
#[cfg(windows)]
#[path = "../common/signals_windows.rs"]
mod signals;
mod source;
mod systemd;
mod tips;
mod tls;
#[path = "../common/typed.rs"]
mod typed;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use mapcast::display::advice_suffix;
use mapcast::http::{MapPort, ShownSource};
use mapcast::server::Handle;
use mapcast::source::{Location, SyntaxError};
use mapcast::state::StateFile;
use mapcast::threads::{Threads, Worker};
use mapcast::{Cast, Echo, Feed, Format, Greet, Server, ServerConfig, Service, Shutdown};

use advice::advice;
use args::{Cli, MapTask, ServiceTask, Task};
use followed_source::{FollowedSource, LastMap, first_map};
use ports::Ports;
use systemd::{Listeners, ServerState, Supervisor};

/// Clients were cut off, a thread did not end, or a run-time error.
const FAILED: u8 = 1;
/// A usage error, or the server cannot start.
const USAGE: u8 = 2;
/// A second signal: immediate exit.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let cli = Cli::read();
    let dropped = Arc::<AtomicU64>::default();
    let _flush_on_drop = logging::start(cli.verbosity(), Arc::clone(&dropped));
    for warning in environment::unknown_variables().iter().chain(&cli.notes()) {
        log::warn!("{warning}");
    }
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

/// Starts the monitor before the first file is opened, so that a slow file is logged. Returns the threads, including
/// this one while it starts, and the stop.
fn begin(cli: &Cli) -> anyhow::Result<(Threads, Arc<Worker>, Shutdown)> {
    signals::survive_large_writes().context("cannot handle signals")?;
    let (threads, stop) = (Threads::default(), Shutdown::new().context("no descriptors left")?);
    let starting = threads.register_io("main", "starting, which reads the configured files");
    monitor::start(threads.clone(), stop.clone(), cli.drain_timeout(), FAILED)?;
    Ok((threads, starting, stop))
}

/// How long the exit waits for the source's and the supervisor's threads: 500 ms each. Only a hanging file system
/// delays the source; all its other waits end with the stop.
const JOIN_LIMIT: Duration = Duration::from_millis(500);

/// The longest round of an accept loop, for the monitor: 2 s, as for the other threads.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Everything that is set up before serving starts.
struct Prepared {
    server: Server,
    /// The HTTP server, with a stop of its own: it stops last.
    page: Option<(Server, Shutdown)>,
    /// The accept loops of both servers.
    accepting: Vec<Arc<Worker>>,
    followed: Option<FollowedSource>,
    /// Locked until the end, even if no further map comes.
    state: Option<StateFile>,
    supervised: Option<Supervised>,
    stop: Shutdown,
}

/// The service manager, and what is reported to it.
type Supervised = (Supervisor, ServerState);

/// Sets up everything that can fail before the first client: the source's first map, the listeners, the signals.
/// `dropped` counts lost log lines, for HTTP.
fn prepare(task: Task, dropped: Arc<AtomicU64>, threads: &Threads, stop: Shutdown) -> anyhow::Result<Prepared> {
    let listeners = Listeners::inherited()?;
    let supervisor = Supervisor::from_env();
    let drain_timeout = task.config.drain_timeout;
    // Two rounds between two checks of the monitor, or of a more frequent watchdog.
    let heartbeat = supervisor.as_ref().and_then(Supervisor::heartbeat).unwrap_or(HEARTBEAT).min(HEARTBEAT);
    let config = ServerConfig { heartbeat: Some(heartbeat), threads: threads.clone(), ..task.config };
    let room = format!("{}, {} allowed (--max-connections)", task.capacity, config.max_connections);
    let mut server = Server::new(config.clone());
    let (mut page, mut followed, mut state) = (None, None, None);
    match task.service {
        ServiceTask::Map(map) => {
            state = map.state.as_ref().map(StateFile::open).transpose()?;
            let last = state.as_ref().map_or(LastMap::Read(None), LastMap::Kept);
            let (feed, mut first) = first_map(&map, last, threads, &stop)?;
            let ports = bind_map(listeners, &mut server, &task.listen, (&map, &feed), task.is_bare, &config)?;
            first.source.listening_on(&server.local_addrs());
            input_advice::set_map_ports(ports.iter().map(|port| port.addr.port()).collect());
            if let Some(mut http) = map.http {
                http.config.map_ports.clone_from(&ports);
                let shown =
                    |at: &Location| ShownSource { name: at.to_string(), health: Arc::clone(first.sink.health()) };
                http.config.source = map.source.as_ref().map(shown);
                http.config.send = Some(map.send);
                http.config.state.clone_from(&state);
                http.config.dropped_log_lines = Some(dropped);
                http.config.threads = threads.clone();
                let may_fail = task.is_bare && http.config.token.is_none();
                match http.bind(&config, feed, &server, &stop) {
                    Ok(bound) => page = Some((bound, Shutdown::new().context("no descriptors left")?)),
                    Err(error) if may_fail => log::warn!("no web page: {error:#}"),
                    Err(error) => return Err(error),
                }
            }
            if task.is_bare && log::log_enabled!(log::Level::Info) && io::stderr().is_terminal() {
                let page = page.as_ref().and_then(|(page, _)| page.local_addrs().first().copied());
                for line in hints::lines(&ports, page) {
                    logging::write_line(&line);
                }
            }
            followed = Some(first);
        }
        ServiceTask::Echo => bind(listeners, &mut server, &task.listen, Echo::new())?,
        ServiceTask::Greet(text) => bind(listeners, &mut server, &task.listen, Greet::new(text))?,
    }
    let leave = || {
        logging::flush_at_once();
        std::process::exit(INTERRUPTED);
    };
    signals::handle(stop.clone(), leave).context("cannot handle signals")?;
    log::info!("room for {room}");
    let sink = followed.as_ref().map(|followed| followed.sink.clone());
    let server_state =
        ServerState { sink, stats: server.stats(), threads: threads.clone(), drain_timeout, stop: stop.clone() };
    let supervised = supervisor.map(|supervisor| (supervisor, server_state));
    // Registered last: their first round has not begun.
    let page_server = page.as_ref().map(|(page, _)| (page, "http-accept"));
    let loops = [Some((&server, "main")), page_server].into_iter().flatten();
    let accepting = loops.map(|(server, name)| count_rounds(server, name, threads)).collect();
    Ok(Prepared { server, page, accepting, followed, state, supervised, stop })
}

/// Serves the map on the inherited listeners or, if there are none, on `ports`, each with its format. Returns the ports. If
/// `is_bare`, a port but the first may be in use.
fn bind_map(
    listeners: Listeners,
    server: &mut Server,
    ports: &[Ports],
    (map, feed): (&MapTask, &Arc<Feed>),
    is_bare: bool,
    config: &ServerConfig,
) -> anyhow::Result<Vec<MapPort>> {
    let cast = |feed| Cast::new(feed, map.interval).with_send_mode(map.send).with_threads(&config.threads);
    let tls = config.tls.is_some();
    let shown = |format: Format| move |addr| MapPort { addr, format: format.name(), tls };
    if !listeners.is_empty() {
        listeners.serve(server, cast(Arc::clone(feed)))?;
        return Ok(server.local_addrs().into_iter().map(shown(feed.format())).collect());
    }
    let mut bound = Vec::new();
    for ports in ports {
        let Some(feed) = ports.format.and_then(|format| feed.in_format(format)) else { continue };
        let (format, earlier) = (feed.format(), server.local_addrs().len());
        match server.bind(&ports.addrs, cast(feed)) {
            Ok(()) => bound.extend(server.local_addrs().into_iter().skip(earlier).map(shown(format))),
            Err(error) if is_bare && earlier > 0 => {
                log::warn!("no map as {format}: {:#}", ports.explain(error, Some(map.default_format)));
            }
            Err(error) => return Err(ports.explain(error, Some(map.default_format))),
        }
    }
    Ok(bound)
}

/// Serves `service` on the inherited listeners or, if there are none, on `ports`.
fn bind(listeners: Listeners, server: &mut Server, ports: &[Ports], service: impl Service) -> anyhow::Result<()> {
    if !listeners.is_empty() {
        return listeners.serve(server, service);
    }
    // Without formats all ports are together.
    let Some(ports) = ports.first() else { return Ok(()) };
    server.bind(&ports.addrs, service).map_err(|error| ports.explain(error, None))
}

/// Serves until the stop. Returns true if and only if no client was cut off and all threads ended.
fn serve(prepared: Prepared, threads: &Threads) -> anyhow::Result<bool> {
    let Prepared { server, page, accepting, followed, state: _locked, supervised, stop } = prepared;
    // Dropped last: this writes the source's last map.
    let sink = followed.as_ref().map(|followed| followed.sink.clone());
    let source = followed.map(|followed| followed.start(threads, &stop)).transpose()?;
    let page = page.map(|(page, stop)| page.spawn(stop)).transpose()?;
    let supervisor = supervised.map(|(supervisor, state)| supervisor.follow(state)).transpose()?;
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
        log::error!("exiting with threads still running: {}", left.join(", "));
    }
    Ok(summary?.cut == 0 && all_joined && left.is_empty())
}

/// Registers the accept loop of `server`, in the thread `name`.
fn count_rounds(server: &Server, name: &str, threads: &Threads) -> Arc<Worker> {
    let stats = server.stats();
    threads.register_counter(name, "accepting connections", move || stats.heartbeats())
}

/// Prints `lines` and returns the exit code.
fn print(lines: &[String]) -> ExitCode {
    match writeln!(io::stdout(), "{}", lines.join("\n")) {
        // A closed reader is not an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(&anyhow::Error::new(error).context("standard output"), FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    let advice = advice_suffix(advice(error.as_ref(), &tls::SOURCE_ADVICE));
    logging::write_line(&format!("mapcast-server: {error:#}{advice}"));
    if io::stderr().is_terminal()
        && let Some(excerpt) = error.chain().find_map(|error| error.downcast_ref::<SyntaxError>()?.excerpt())
    {
        logging::write_line(&excerpt);
    }
    ExitCode::from(code)
}
