//! Delivers the map to other programs: a file, a command for each change, or a program that runs with the map.

mod cache;
mod check;
mod debounce;
mod env_file;
mod event;
mod exec;
mod link;
mod log_once;
mod map_file;
mod maps;
mod object;
mod process;
mod rendering;
mod replace;
mod run;
mod start_limiter;
mod template;
mod template_file;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use mapcast::client::{Error, Follower};
use mapcast::{Map, Shutdown};

use crate::exit::Exit;
use crate::first_map::FirstMap;
use crate::platform;
use crate::selection::Selection;
use cache::CacheArgs;
use check::{Check, CheckArgs, CheckConfig};
use debounce::{DebounceArgs, DebounceConfig};
use event::{LatestMap, RunnerEvent};
use exec::{CommandRunner, ExecArgs, ExecConfig};
use log_once::LogOnce;
use maps::MapStream;
use object::{Object, object};
use run::{ProgramRunner, RunArgs, RunConfig};
use write::{WriteArgs, WriteConfig, WriteOutcome, Writer};

pub(crate) use maps::Limits;

/// Options of `--write`, `--exec` and `--run`.
#[derive(Debug, Args)]
pub(crate) struct DeliverArgs {
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    exec: ExecArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    debounce: DebounceArgs,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// How maps are delivered.
#[derive(Debug)]
pub(crate) struct DeliverConfig {
    write: Option<WriteConfig>,
    program: Option<ProgramConfig>,
    debounce: DebounceConfig,
    check: Option<CheckConfig>,
    cache: Option<PathBuf>,
}

/// The program to run.
#[derive(Debug)]
enum ProgramConfig {
    Exec(ExecConfig),
    Run(RunConfig),
}

/// The result of the program.
enum ProgramOutcome {
    /// Of `--exec`: the result of the last command.
    Command(anyhow::Result<()>),
    /// Of `--run`: the exit code to pass on, if the program has run.
    Program(Option<u8>),
}

/// Options that have no effect without at least one of some others.
pub(crate) const REQUIRED_OPTIONS: [(&str, &[&str]); 12] = [
    ("write_format", &["write"]),
    ("template", &["write"]),
    ("mode", &["write"]),
    ("exec_timeout", &["exec"]),
    ("splay", &["exec", "run"]),
    ("signal", &["run"]),
    ("kill_timeout", &["run"]),
    ("settle", &["write", "exec", "run"]),
    ("settle_max", &["settle"]),
    ("check", &["write", "exec", "run"]),
    ("check_timeout", &["check"]),
    ("cache", &["write", "exec", "run"]),
];

impl DeliverArgs {
    /// Returns how long the end of a program may delay the exit. With --exec and --count that includes another
    /// command, for the last map.
    pub(crate) fn longest_end(&self) -> Duration {
        let ExecArgs { exec, exec_timeout, splay } = &self.exec;
        let command = exec_timeout.saturating_add(exec::GRACE).saturating_mul(2).saturating_add(*splay);
        let of_exec = exec.as_ref().map(|_| command);
        let of_run = self.run.run.first().map(|_| self.run.kill_timeout);
        of_exec.into_iter().chain(of_run).max().unwrap_or_default().saturating_add(check::GRACE)
    }

    /// Returns how maps are delivered, or `None` if they are only printed.
    ///
    /// # Errors
    /// If options exclude each other, or a program or format is missing.
    pub(crate) fn into_config(self) -> Result<Option<DeliverConfig>, String> {
        let (ExecArgs { exec, exec_timeout, splay }, RunArgs { mut run, signal, kill_timeout }) = (self.exec, self.run);
        if run.first().is_some_and(|first| first == "--") {
            run.remove(0);
            if run.is_empty() {
                return Err("--run needs a program".to_owned());
            }
        }
        let program = match (exec, run.is_empty()) {
            (Some(_), false) => return Err("--exec and --run cannot be used together".to_owned()),
            (Some(command), true) => Some(ProgramConfig::Exec(ExecConfig { command, timeout: exec_timeout, splay })),
            (None, false) => Some(ProgramConfig::Run(RunConfig { command: run, signal, kill_timeout, splay })),
            (None, true) => None,
        };
        let (write, debounce, check) =
            (self.write.into_config()?, self.debounce.into_config()?, self.check.into_config()?);
        let cache = self.cache.cache;
        Ok((write.is_some() || program.is_some()).then_some(DeliverConfig { write, program, debounce, check, cache }))
    }
}

impl DeliverConfig {
    /// True if and only if signals are forwarded to the program.
    pub(crate) fn forwards_signals(&self) -> bool {
        matches!(self.program, Some(ProgramConfig::Run(_)))
    }
}

/// Delivers every map until `count` are delivered or the server closes the last connection. A map that could not be
/// written does not count. With a `count`, a last command that failed is an error.
pub(crate) fn deliver(
    follower: &mut Follower,
    first: &FirstMap,
    selection: &Selection,
    config: DeliverConfig,
    limits: Limits,
    shutdown: &Shutdown,
) -> anyhow::Result<ExitCode> {
    let DeliverConfig { write, program, debounce, check, cache } = config;
    let check = check.map(|check| Check::new(check, shutdown, limits.deadline));
    let mut delivery = Delivery::start(write, program, check, shutdown)?;
    let mut maps = MapStream::new(follower, selection, debounce, cache, limits);
    let (any, outcome) = maps.for_each(|map| {
        first.came();
        delivery.deliver(map)
    });
    let ended =
        delivery.finish(if outcome.is_ok() { RunnerEvent::Finish } else { RunnerEvent::Stop }, limits.deadline)?;
    let code = match ended {
        Some(ProgramOutcome::Command(last)) if outcome.is_ok() && limits.count.is_some() => {
            last?;
            None
        }
        Some(ProgramOutcome::Program(code)) => code,
        Some(ProgramOutcome::Command(_)) | None => None,
    };
    match outcome {
        Err(error) if !matches!(error.downcast_ref(), Some(Error::Stopped)) => Err(error),
        // A stop: the program has exited, or a signal came.
        Err(error) if code.is_none() && !any => Err(error),
        _ => Ok(code.map_or(Exit::Done.into(), ExitCode::from)),
    }
}

/// The file, and the thread that runs programs.
struct Delivery {
    writer: Option<Writer>,
    runner: Option<Runner>,
    check: Option<Check>,
    shutdown: Shutdown,
    /// The last delivered map.
    last: Option<Object>,
    failure: LogOnce,
}

/// The thread that runs programs, and the channels to it.
struct Runner {
    latest: LatestMap,
    events: mpsc::Sender<RunnerEvent>,
    thread: JoinHandle<anyhow::Result<ProgramOutcome>>,
    /// Whether the first map counts as a change, because the program is not running yet.
    needs_first_map: bool,
}

/// Stops the follower when the thread that runs programs ends, even by a panic.
struct StopOnDrop(Shutdown);

impl Delivery {
    fn start(
        write: Option<WriteConfig>,
        program: Option<ProgramConfig>,
        check: Option<Check>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let writer = write.map(Writer::new).transpose()?;
        if program.is_some() || check.is_some() || platform::is_init() {
            platform::start_reaper()?;
        }
        let runner = program.map(|program| Runner::start(program, shutdown)).transpose()?;
        let shutdown = shutdown.clone();
        Ok(Self { writer, runner, check, shutdown, last: None, failure: LogOnce::default() })
    }

    /// Delivers a map. Returns false if and only if it could not be written, or the check refused it.
    fn deliver(&mut self, map: &Map) -> bool {
        let written = self.writer.as_mut().map(|writer| writer.write(map, self.check.as_mut()));
        if written == Some(WriteOutcome::Failed) {
            return false;
        }
        let Some(runner) = &mut self.runner else { return true };
        let object = match object(map) {
            Ok(object) => object,
            Err(error) => {
                self.failure.warn(format!("cannot deliver a map: {:#}", anyhow::Error::from(error)));
                return false;
            }
        };
        // With --write, only a change of the file is a change.
        let changed = written.map_or(self.last.as_ref() != Some(&object), |written| written == WriteOutcome::Changed);
        if changed || runner.needs_first_map {
            if written.is_none()
                && let Some(check) = &mut self.check
                && let Err(error) = check.approve_map(&object)
            {
                self.failure.warn(format!("the map is not delivered: {error:#}; retrying with the next map"));
                return false;
            }
            runner.needs_first_map = false;
            runner.latest.put(object.clone());
        }
        self.failure.clear();
        self.last = Some(object);
        true
    }

    /// Ends the program and returns its result; `None` if there is none. A stop or `deadline` ends the wait for a last
    /// command.
    ///
    /// # Errors
    /// The error of the thread; `TimedOut` if the last map was not delivered by `deadline`.
    fn finish(self, ending: RunnerEvent, deadline: Option<Instant>) -> anyhow::Result<Option<ProgramOutcome>> {
        let Some(runner) = self.runner else { return Ok(None) };
        // The receiver is gone only if the thread has ended.
        let _ = runner.events.send(ending);
        if ending == RunnerEvent::Finish {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            // The end of the thread triggers the stop, too.
            self.shutdown.wait(left);
            let _ = runner.events.send(RunnerEvent::Stop);
        }
        let Ok(outcome) = runner.thread.join() else {
            platform::kill_running();
            bail!("the thread that runs programs has panicked");
        };
        if ending == RunnerEvent::Finish
            && runner.latest.is_some()
            && deadline.is_some_and(|deadline| deadline <= Instant::now())
        {
            bail!(Error::TimedOut);
        }
        outcome.map(Some)
    }
}

impl Runner {
    fn start(start: ProgramConfig, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::channel();
        let latest = LatestMap::new(sender.clone());
        let needs_first_map = matches!(start, ProgramConfig::Run(_));
        let channel = (sender.clone(), events);
        let stop_on_drop = StopOnDrop(shutdown.clone());
        let work: Box<dyn FnOnce() -> anyhow::Result<ProgramOutcome> + Send> = match start {
            ProgramConfig::Exec(config) => {
                let exec = CommandRunner::new(config, latest.clone(), channel)?;
                Box::new(move || Ok(ProgramOutcome::Command(exec.run())))
            }
            ProgramConfig::Run(config) => {
                run::forward_signals(sender.clone())?;
                let run = ProgramRunner::new(config, latest.clone(), channel)?;
                Box::new(move || run.run().map(ProgramOutcome::Program))
            }
        };
        let work = move || {
            let _stop_on_drop = stop_on_drop;
            work()
        };
        let thread = thread::Builder::new().name("runner".to_owned()).spawn(work).context("cannot start a thread")?;
        Ok(Self { latest, events: sender, thread, needs_first_map })
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

/// Kills running programs and removes temporary files, for an immediate exit.
pub(crate) fn cleanup() {
    platform::kill_running();
    map_file::remove_all();
}
