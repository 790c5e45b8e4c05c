//! The map into other programs: a file, a command on each change, a program that lives with it.

mod complaint;
mod event;
mod exec;
mod map_file;
mod object;
mod process;
mod rendering;
mod replace;
mod run;
mod splay;
mod template;
mod write;

use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use clap::Args;
use mapcast::client::{Error, Follower};
use mapcast::{Map, Shutdown};

use crate::exit::Exit;
use crate::selection::Selection;
use complaint::Complaint;
use event::{Event, Latest};
use exec::{Exec, ExecArgs, ExecConfig};
use object::{Object, object};
use run::{Run, RunArgs, RunConfig};
use write::{WriteArgs, WriteConfig, Writer, Written};

/// The options of all three.
#[derive(Debug, Args)]
pub(crate) struct IntoArgs {
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    exec: ExecArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// What becomes of a map.
#[derive(Debug)]
pub(crate) struct IntoConfig {
    write: Option<WriteConfig>,
    start: Option<Start>,
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
pub(crate) const NEEDED: [(&str, &[&str]); 7] = [
    ("write_format", &["write"]),
    ("template", &["write"]),
    ("mode", &["write"]),
    ("exec_timeout", &["exec"]),
    ("splay", &["exec", "run"]),
    ("signal", &["run"]),
    ("kill_timeout", &["run"]),
];

impl IntoArgs {
    /// Returns what becomes of a map, or `None` if it is only to be shown.
    ///
    /// # Errors
    /// If what was asked for cannot be done together, or is not there.
    pub(crate) fn into_config(self) -> Result<Option<IntoConfig>, String> {
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
        let write = self.write.into_config()?;
        Ok((write.is_some() || start.is_some()).then_some(IntoConfig { write, start }))
    }
}

impl IntoConfig {
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
    config: IntoConfig,
    count: Option<u64>,
    shutdown: &Shutdown,
) -> anyhow::Result<ExitCode> {
    let mut delivery = Delivery::start(config, shutdown)?;
    let (mut any, mut done) = (false, 0);
    let outcome = loop {
        if count.is_some_and(|count| done >= count) {
            break Ok(());
        }
        match follower.next_map().map_err(anyhow::Error::from) {
            Ok(Some(map)) => {
                any = true;
                match selection.pick(map) {
                    Ok(map) => done += u64::from(delivery.hand_over(&map)),
                    Err(missing) => break Err(missing.into()),
                }
            }
            Ok(None) if count.is_some() => break Err(anyhow::anyhow!("the server closed the connection too early")),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let ended = delivery.finish(if outcome.is_ok() { Event::Finish } else { Event::Stop })?;
    let code = match ended {
        Some(Ended::Command(last)) if outcome.is_ok() && count.is_some() => {
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
    /// The last map that was handed over.
    last: Option<Object>,
    failure: Complaint,
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
    fn start(config: IntoConfig, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let runner = config.start.map(|start| Runner::start(start, shutdown)).transpose()?;
        let writer = config.write.map(Writer::new);
        Ok(Self { writer, runner, last: None, failure: Complaint::default() })
    }

    /// Hands a map over. Returns false if and only if it could not be written.
    fn hand_over(&mut self, map: &Map) -> bool {
        let written = self.writer.as_mut().map(|writer| writer.write(map));
        if written == Some(Written::Failed) {
            return false;
        }
        let Some(runner) = &mut self.runner else { return true };
        let object = match object(map) {
            Ok(object) => object,
            Err(error) => {
                self.failure.say(format!("nobody is told of a map: {:#}", anyhow::Error::from(error)));
                return false;
            }
        };
        self.failure.settle();
        // Beside a file, a change is one of the file.
        let changed = written.map_or(self.last.as_ref() != Some(&object), |written| written == Written::Changed);
        if changed || runner.at_once {
            runner.at_once = false;
            runner.latest.put(object.clone());
        }
        self.last = Some(object);
        true
    }

    /// Ends what runs, and returns what has become of it; `None` if there was nothing to start.
    fn finish(self, ending: Event) -> anyhow::Result<Option<Ended>> {
        let Some(runner) = self.runner else { return Ok(None) };
        // Nobody listens only if it has ended.
        let _ = runner.events.send(ending);
        let Ok(outcome) = runner.thread.join() else {
            process::kill_running();
            bail!("the thread that runs programs has panicked");
        };
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
pub(crate) fn abandon() {
    process::kill_running();
    map_file::remove_all();
}
