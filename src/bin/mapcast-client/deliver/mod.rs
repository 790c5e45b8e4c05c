//! The map into other programs: a file, a command on each change, a program that lives with it.

mod cache;
mod check;
mod env_file;
mod event;
mod exec;
mod link;
mod log_once;
mod map_file;
mod maps;
mod object;
mod pace;
mod process;
mod rendering;
mod replace;
mod run;
mod settle;
mod splay;
mod startable;
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
use crate::selection::Selection;
use cache::CacheArgs;
use check::{Check, CheckArgs, CheckConfig};
use event::{Event, Latest};
use exec::{Exec, ExecArgs, ExecConfig};
use log_once::LogOnce;
use maps::Maps;
use object::{Object, object};
use run::{Run, RunArgs, RunConfig};
use settle::{SettleArgs, SettleConfig};
use write::{WriteArgs, WriteConfig, Writer, Written};

pub(crate) use maps::Until;

/// The options of all three.
#[derive(Debug, Args)]
pub(crate) struct DeliverArgs {
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    exec: ExecArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    settle: SettleArgs,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// What becomes of a map.
#[derive(Debug)]
pub(crate) struct DeliverConfig {
    write: Option<WriteConfig>,
    start: Option<Start>,
    settle: SettleConfig,
    check: Option<CheckConfig>,
    cache: Option<PathBuf>,
}

/// What is started.
#[derive(Debug)]
enum Start {
    Exec(ExecConfig),
    Run(RunConfig),
}

/// What has become of what was started.
enum Ended {
    /// The last command of `--exec`: why it failed, if it did.
    Command(anyhow::Result<()>),
    /// The program of `--run`: the exit code that it passes on, if it has run.
    Program(Option<u8>),
}

/// Which options mean nothing without at least one of some others.
pub(crate) const NEEDED: [(&str, &[&str]); 12] = [
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
    /// Returns how long what is started may take to end when the client is to leave: with --exec and --count also another
    /// command, for the last map.
    pub(crate) fn longest_end(&self) -> Duration {
        let ExecArgs { exec, exec_timeout, splay } = &self.exec;
        let command = exec_timeout.saturating_add(exec::GRACE).saturating_mul(2).saturating_add(*splay);
        let of_exec = exec.as_ref().map(|_| command);
        let of_run = self.run.run.first().map(|_| self.run.kill_timeout);
        of_exec.into_iter().chain(of_run).max().unwrap_or_default().saturating_add(check::GRACE)
    }

    /// Returns what becomes of a map, or `None` if it is only to be shown.
    ///
    /// # Errors
    /// If what was asked for cannot be done together, or is not there.
    pub(crate) fn into_config(self) -> Result<Option<DeliverConfig>, String> {
        let (ExecArgs { exec, exec_timeout, splay }, RunArgs { mut run, signal, kill_timeout }) = (self.exec, self.run);
        if run.first().is_some_and(|first| first == "--") {
            run.remove(0);
            if run.is_empty() {
                return Err("--run needs a program".to_owned());
            }
        }
        let start = match (exec, run.is_empty()) {
            (Some(_), false) => return Err("--exec and --run cannot be used together".to_owned()),
            (Some(command), true) => Some(Start::Exec(ExecConfig { command, timeout: exec_timeout, splay })),
            (None, false) => Some(Start::Run(RunConfig { command: run, signal, kill_timeout, splay })),
            (None, true) => None,
        };
        let (write, settle, check) = (self.write.into_config()?, self.settle.into_config()?, self.check.into_config()?);
        let cache = self.cache.cache;
        Ok((write.is_some() || start.is_some()).then_some(DeliverConfig { write, start, settle, check, cache }))
    }
}

impl DeliverConfig {
    /// True if and only if signals are another program's.
    pub(crate) fn passes_signals_on(&self) -> bool {
        matches!(self.start, Some(Start::Run(_)))
    }
}

/// Hands every map over until `count` are, or no more come. A map that could not be written does not count. Where there
/// is a `count`, the client is asked for what it does, and not to watch: a last command that failed is a failure then.
pub(crate) fn deliver(
    follower: &mut Follower,
    selection: &Selection,
    config: DeliverConfig,
    until: Until,
    shutdown: &Shutdown,
) -> anyhow::Result<ExitCode> {
    let DeliverConfig { write, start, settle, check, cache } = config;
    let check = check.map(|check| Check::new(check, shutdown, until.deadline));
    let mut delivery = Delivery::start(write, start, check, shutdown)?;
    let mut maps = Maps::new(follower, selection, settle, cache, until);
    let (any, outcome) = maps.for_each(|map| delivery.hand_over(map));
    let ended = delivery.finish(if outcome.is_ok() { Event::Finish } else { Event::Stop }, until.deadline)?;
    let code = match ended {
        Some(Ended::Command(last)) if outcome.is_ok() && until.count.is_some() => {
            last?;
            None
        }
        Some(Ended::Program(code)) => code,
        Some(Ended::Command(_)) | None => None,
    };
    match outcome {
        Err(error) if !matches!(error.downcast_ref(), Some(Error::Stopped)) => Err(error),
        // A stop: the program's end, or a signal.
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
    /// The last map that was handed over.
    last: Option<Object>,
    failure: LogOnce,
}

/// The thread that runs programs, and the way to it.
struct Runner {
    latest: Latest,
    events: mpsc::Sender<Event>,
    thread: JoinHandle<anyhow::Result<Ended>>,
    /// Whether a program is to run from the first map on, and not only from a change on.
    at_once: bool,
}

/// Ends the following when the thread that runs programs ends, however it does.
struct StopAtEnd(Shutdown);

impl Delivery {
    fn start(
        write: Option<WriteConfig>,
        start: Option<Start>,
        check: Option<Check>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let writer = write.map(Writer::new).transpose()?;
        if start.is_some() || check.is_some() || process::is_init() {
            process::start_reaper()?;
        }
        let runner = start.map(|start| Runner::start(start, shutdown)).transpose()?;
        let shutdown = shutdown.clone();
        Ok(Self { writer, runner, check, shutdown, last: None, failure: LogOnce::default() })
    }

    /// Hands a map over. Returns false if and only if it could not be written, or was refused.
    fn hand_over(&mut self, map: &Map) -> bool {
        let written = self.writer.as_mut().map(|writer| writer.write(map, self.check.as_mut()));
        if written == Some(Written::Failed) {
            return false;
        }
        let Some(runner) = &mut self.runner else { return true };
        let object = match object(map) {
            Ok(object) => object,
            Err(error) => {
                self.failure.say(format!("a map cannot be handed over: {:#}", anyhow::Error::from(error)));
                return false;
            }
        };
        // Beside a file, a change is one of the file.
        let changed = written.map_or(self.last.as_ref() != Some(&object), |written| written == Written::Changed);
        if changed || runner.at_once {
            if written.is_none()
                && let Some(check) = &mut self.check
                && let Err(error) = check.approve_map(&object)
            {
                self.failure.say(format!("the map is not handed over: {error:#}; trying again with the next map"));
                return false;
            }
            runner.at_once = false;
            runner.latest.put(object.clone());
        }
        self.failure.settle();
        self.last = Some(object);
        true
    }

    /// Ends what runs, and returns what has become of it; `None` if there was nothing to start. A stop or `deadline` ends the
    /// wait before a last command.
    ///
    /// # Errors
    /// What the thread failed with; `TimedOut` if the last map was not handed over by `deadline`.
    fn finish(self, ending: Event, deadline: Option<Instant>) -> anyhow::Result<Option<Ended>> {
        let Some(runner) = self.runner else { return Ok(None) };
        // Nobody listens only if it has ended.
        let _ = runner.events.send(ending);
        if ending == Event::Finish {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            // The end of the thread is a stop, too.
            self.shutdown.wait(left);
            let _ = runner.events.send(Event::Stop);
        }
        let Ok(outcome) = runner.thread.join() else {
            process::kill_running();
            bail!("the thread that runs programs has panicked");
        };
        if ending == Event::Finish
            && runner.latest.is_there()
            && deadline.is_some_and(|deadline| deadline <= Instant::now())
        {
            bail!(Error::TimedOut);
        }
        outcome.map(Some)
    }
}

impl Runner {
    fn start(start: Start, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::channel();
        let latest = Latest::new(sender.clone());
        let at_once = matches!(start, Start::Run(_));
        let channel = (sender.clone(), events);
        let stop_at_end = StopAtEnd(shutdown.clone());
        let work: Box<dyn FnOnce() -> anyhow::Result<Ended> + Send> = match start {
            Start::Exec(config) => {
                let exec = Exec::new(config, latest.clone(), channel)?;
                Box::new(move || Ok(Ended::Command(exec.run())))
            }
            Start::Run(config) => {
                run::tell_signals(sender.clone())?;
                let run = Run::new(config, latest.clone(), channel)?;
                Box::new(move || run.run().map(Ended::Program))
            }
        };
        let work = move || {
            let _stop_at_end = stop_at_end;
            work()
        };
        let thread = thread::Builder::new().name("runner".to_owned()).spawn(work).context("cannot start a thread")?;
        Ok(Self { latest, events: sender, thread, at_once })
    }
}

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

/// Leaves nothing behind that runs or lies about: the client leaves at once.
pub(crate) fn cleanup() {
    process::kill_running();
    map_file::remove_all();
}
