//! `--run`: a program with the map in its environment, restarted or signalled when the map changes.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use log::info;

use super::event::{LatestMap, RunnerEvent, next_event};
use super::log_once::{LogOnce, list};
use super::map_file::MapFile;
use super::object::{Object, skipped, variables};
use super::process::Termination;
use super::start_limiter::StartLimiter;
use crate::duration::parse_nonzero;
use crate::platform::{
    self, Process, SIGHUP, SIGINT, SIGNALS, SIGQUIT, SIGTERM, Signal, StartError, check_start, exit_code, is_init,
};

/// Options of `--run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Run this program with the map in its environment and restart it on each change; all following words are its
    /// arguments
    #[arg(long, value_name = "CMD", env = "MAPCAST_RUN", num_args = 1.., allow_hyphen_values = true)]
    pub(crate) run: Vec<OsString>,
    /// Send the program of --run this signal on each change, with the map in MAPCAST_FILE; not on Windows [default: restart it]
    #[arg(long, value_name = "SIGNAL", env = "MAPCAST_SIGNAL", value_parser = parse_signal)]
    pub(crate) signal: Option<Signal>,
    /// Kill the program of --run if it is still running this long after it was asked to exit
    #[arg(long, value_name = "DURATION", env = "MAPCAST_KILL_TIMEOUT", default_value = "10s", value_parser = parse_nonzero)]
    pub(crate) kill_timeout: Duration,
}

/// The program, and how it receives a change.
#[derive(Debug)]
pub(crate) struct RunConfig {
    /// The program and its arguments; not empty.
    pub(crate) command: Vec<OsString>,
    /// `None` restarts the program.
    pub(crate) signal: Option<Signal>,
    pub(crate) kill_timeout: Duration,
    pub(crate) splay: Duration,
}

/// Runs the program, and restarts or signals it on each change.
#[derive(Debug)]
pub(super) struct ProgramRunner {
    config: RunConfig,
    latest: LatestMap,
    sender: Sender<RunnerEvent>,
    events: Receiver<RunnerEvent>,
    file: MapFile,
    /// The path of the map's file in the program's environment.
    program_file: PathBuf,
    process: Option<Process>,
    /// The termination in progress, and what follows it.
    termination: Option<(Termination, AfterExit)>,
    /// A map that is not delivered yet.
    pending_map: Option<Object>,
    /// When to deliver it.
    due: Option<Instant>,
    start_limiter: StartLimiter,
    /// Whether the program has been started at least once.
    has_started: bool,
    failure: LogOnce,
    skipped: LogOnce,
}

/// What follows the exit of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterExit {
    Restart,
    /// The client exits with the program's exit code.
    PassCode,
    /// The client exits for a reason of its own.
    Leave,
}

/// The exit code to pass on; `None` is the client's own.
type Code = Option<u8>;

impl ProgramRunner {
    pub(super) fn new(
        config: RunConfig,
        latest: LatestMap,
        (sender, events): (Sender<RunnerEvent>, Receiver<RunnerEvent>),
    ) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            latest,
            sender,
            events,
            file: MapFile::new()?,
            program_file: PathBuf::new(),
            process: None,
            termination: None,
            pending_map: None,
            due: None,
            start_limiter: StartLimiter::default(),
            has_started: false,
            failure: LogOnce::default(),
            skipped: LogOnce::default(),
        })
    }

    /// Runs the program until it exits by itself, by a forwarded signal, or by `Finish` or `Stop`. Returns the exit
    /// code in the first two cases, and `None` otherwise, also if the program was never started.
    ///
    /// # Errors
    /// If the program does not exist at its first start. A later failure leaves the program as it is and is retried.
    pub(super) fn run(mut self) -> anyhow::Result<Code> {
        loop {
            let deadline =
                self.termination.as_ref().map_or(self.due, |(termination, _)| Some(termination.next_check()));
            match next_event(&self.events, deadline) {
                Some(RunnerEvent::Map) => self.schedule(),
                Some(
                    RunnerEvent::Finish | RunnerEvent::Stop | RunnerEvent::Signal(SIGHUP | SIGINT | SIGQUIT | SIGTERM),
                ) if self.process.is_none() => {
                    return Ok(None);
                }
                Some(RunnerEvent::Signal(number)) => self.forward(number),
                Some(RunnerEvent::Finish | RunnerEvent::Stop) => self.end(AfterExit::Leave),
                None if self.termination.is_none() => self.hand_over()?,
                // Checked below.
                Some(RunnerEvent::Exited) | None => {}
            }
            if let Some(code) = self.poll_exit()? {
                return Ok(code);
            }
        }
    }

    /// Schedules the delivery of a new map: the first one at once, later ones after a random delay, and at least one
    /// second after the previous delivery.
    fn schedule(&mut self) {
        let wait = if self.has_started { self.config.splay.mul_f64(fastrand::f64()) } else { Duration::ZERO };
        let due = Instant::now().checked_add(wait).max(self.start_limiter.next_start());
        // A scheduled retry may be later than the new map; the earlier time counts.
        self.due = self.due.into_iter().chain(due).min();
    }

    /// Delivers the newest map by a start, a signal, or a restart. Prepares everything that may fail before a restart.
    fn hand_over(&mut self) -> anyhow::Result<()> {
        self.due = None;
        let (object, earlier) = match (self.latest.take(), self.pending_map.take()) {
            (Some(newer), earlier) => (newer, earlier),
            (None, Some(object)) => (object, None),
            (None, None) => return Ok(()),
        };
        self.start_limiter.record_start();
        if let Err(error) = self.prepare(&object) {
            let is_program_error = error.downcast_ref().is_some_and(StartError::is_program_error);
            if !self.has_started && is_program_error {
                return Err(error);
            }
            return self.recover(object, earlier, &error);
        }
        if self.process.is_none() {
            return self.start(object);
        }
        if let Some(signal) = self.config.signal.filter(|_| self.has_current_path()) {
            info!("the map has changed: sending signal {}", signal.as_raw());
            self.signal(signal);
            self.succeeded();
        } else {
            info!("the map has changed: restarting");
            self.pending_map = Some(object);
            self.end(AfterExit::Restart);
        }
        Ok(())
    }

    /// Writes the file, and checks that the program can be started with `object` unless it is only signalled.
    fn prepare(&mut self, object: &Object) -> anyhow::Result<()> {
        self.write_file(object)?;
        if self.process.is_some() && self.config.signal.is_some() && self.has_current_path() {
            return Ok(());
        }
        Ok(check_start(&self.command(object)?)?)
    }

    /// True if and only if the file is at the path in the program's environment.
    fn has_current_path(&self) -> bool {
        self.program_file == self.file.path()
    }

    /// Handles a failure to deliver `object`: the program keeps running, or starts with an `earlier` map that is still
    /// pending.
    fn recover(&mut self, object: Object, earlier: Option<Object>, error: &anyhow::Error) -> anyhow::Result<()> {
        if self.process.is_none()
            && let Some(earlier) = earlier
        {
            self.start(earlier)?;
            if self.process.is_none() {
                // The start with the earlier map failed too; it is retried, and so is the new map, which comes first.
                self.latest.put(object);
                return Ok(());
            }
        }
        self.failed(object, error);
        Ok(())
    }

    /// Returns the command for the program with the map `object`.
    fn command(&self, object: &Object) -> anyhow::Result<Command> {
        let (program, args) = self.config.command.split_first().context("no program to run")?;
        let mut command = Command::new(program);
        command.args(args).envs(variables(object));
        self.file.set_env(&mut command);
        Ok(command)
    }

    fn start(&mut self, object: Object) -> anyhow::Result<()> {
        let mut command = self.command(&object)?;
        let ended = self.sender.clone();
        let process = Process::start(&mut command, move || {
            // The receiver is gone only if the exit no longer matters.
            let _ = ended.send(RunnerEvent::Exited);
        });
        let program = command.get_program().display();
        match process {
            Ok(process) => {
                info!("started {program}, pid {}", process.id());
                self.process = Some(process);
                self.has_started = true;
                self.file.path().clone_into(&mut self.program_file);
                self.succeeded();
            }
            Err(error) => {
                let error = anyhow::Error::new(error).context(format!("cannot run {program}"));
                self.failed(object, &error);
            }
        }
        Ok(())
    }

    /// Logs `error`, keeps `object` as pending and schedules a retry.
    fn failed(&mut self, object: Object, error: &anyhow::Error) {
        let state =
            if self.process.is_some() { "the program keeps running unchanged" } else { "the program is not running" };
        self.failure.warn(format!("{state}: {error:#}; retrying, also with the next map"));
        self.pending_map = Some(object);
        self.start_limiter.record_failure();
        self.due = self.start_limiter.next_retry();
    }

    fn succeeded(&mut self) {
        self.start_limiter.record_success();
        self.failure.clear();
    }

    fn write_file(&mut self, object: &Object) -> anyhow::Result<()> {
        let skipped = skipped(object, &variables(object));
        if skipped.is_empty() {
            self.skipped.clear();
        } else {
            self.skipped
                .warn(format!("only in MAPCAST_FILE, because a variable cannot represent them: {}", list(&skipped)));
        }
        self.file.write(object)
    }

    /// Asks the program to exit, unless that has been done already.
    fn end(&mut self, then: AfterExit) {
        match &mut self.termination {
            // The program will not be restarted.
            Some((_, pending)) if *pending == AfterExit::Restart => *pending = then,
            Some(_) => {}
            None => {
                self.signal(Signal::TERM);
                self.expect_end(then);
            }
        }
    }

    fn expect_end(&mut self, then: AfterExit) {
        self.termination = Some((Termination::new("the program", self.config.kill_timeout), then));
    }

    /// Forwards a signal. SIGINT, SIGQUIT and SIGTERM start the termination.
    fn forward(&mut self, number: i32) {
        if let Some(signal) = Signal::from_named_raw(number) {
            self.signal(signal);
        }
        if ![SIGINT, SIGQUIT, SIGTERM].contains(&number) {
            return;
        }
        match &mut self.termination {
            Some((_, then)) => *then = AfterExit::PassCode,
            None => self.expect_end(AfterExit::PassCode),
        }
    }

    /// Checks whether the program has exited, and does what follows. Returns the code if the client is to exit.
    fn poll_exit(&mut self) -> anyhow::Result<Option<Code>> {
        let Some(process) = &self.process else { return Ok(None) };
        let has_ended = process.status().is_some();
        let then = match &mut self.termination {
            // Waits for the whole process group, so that nothing of it runs beside its successor.
            Some((termination, then)) => termination.poll(process).then_some(*then),
            None if has_ended && is_init() && !process.has_group_ended() => {
                // The kernel would kill the program's children when this process exits.
                self.end(AfterExit::PassCode);
                return Ok(None);
            }
            None => has_ended.then_some(AfterExit::PassCode),
        };
        let Some(then) = then else { return Ok(None) };
        let status = process.status();
        (self.process, self.termination) = (None, None);
        match then {
            AfterExit::Restart => self.hand_over().map(|()| None),
            AfterExit::Leave => Ok(Some(None)),
            AfterExit::PassCode => {
                if let Some(status) = status {
                    info!("the program has exited: {status}");
                }
                Ok(Some(status.map(exit_code)))
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }
}

/// Sends the signals to `events` instead of letting them end the client. Ignored signals stay ignored.
///
/// # Errors
/// If the system refuses a handler or a thread.
pub(super) fn forward_signals(events: Sender<RunnerEvent>) -> anyhow::Result<()> {
    platform::on_signals(platform::FORWARDED, move |signal| events.send(RunnerEvent::Signal(signal)).is_ok())
}

/// Parses the name of a signal, with or without `SIG`, in upper or lower case.
fn parse_signal(text: &str) -> Result<Signal, String> {
    if SIGNALS.is_empty() {
        return Err("this system has no signals; leave the option out, to restart the program".to_owned());
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let found = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal);
    found.ok_or_else(|| {
        format!(
            "{text:?} is not a signal; write {}",
            SIGNALS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_names_are_parsed_in_all_common_forms() {
        for text in ["HUP", "hup", "SIGHUP", "sighup"] {
            assert_eq!(parse_signal(text), Ok(Signal::HUP));
        }
        for text in ["", "1", "SIG", "KILL", "hang up"] {
            assert!(parse_signal(text).is_err_and(|error| error.contains("USR1")), "{text}");
        }
    }
}
