//! `--exec`: a command for each change, one at a time, always with the newest map.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use log::{debug, info, warn};
use mapcast::display::units;

use super::event::{LatestMap, RunnerEvent, next_event};
use super::map_file::MapFile;
use super::object::Object;
use super::process::Termination;
use super::start_limiter::StartLimiter;
use crate::duration::parse_nonzero;
use crate::platform::{Process, Signal, is_init, shell};

/// How long a command may take to exit after SIGTERM before it is killed. Shorter than with `docker stop` and systemd,
/// which end services.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Options of `--exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Run this shell command on each change, one at a time, with the map in the file MAPCAST_FILE and on standard
    /// input
    #[arg(long, value_name = "CMD", env = "MAPCAST_EXEC", allow_hyphen_values = true)]
    pub(crate) exec: Option<String>,
    /// Terminate a command of --exec that takes longer than this; if --timeout expires, a running command may finish
    #[arg(long, value_name = "DURATION", env = "MAPCAST_EXEC_TIMEOUT", default_value = "30s", value_parser = parse_nonzero)]
    pub(crate) exec_timeout: Duration,
    /// Wait for a random time up to this before each command of --exec and each restart or signal of --run
    #[arg(
        long,
        value_name = "DURATION",
        env = "MAPCAST_SPLAY",
        default_value = "0s",
        value_parser = units::parse_duration
    )]
    pub(crate) splay: Duration,
}

/// The command, and its delays.
#[derive(Debug)]
pub(crate) struct ExecConfig {
    pub(crate) command: String,
    pub(crate) timeout: Duration,
    pub(crate) splay: Duration,
}

/// Runs the command on each change.
#[derive(Debug)]
pub(super) struct CommandRunner {
    config: ExecConfig,
    latest: LatestMap,
    sender: Sender<RunnerEvent>,
    events: Receiver<RunnerEvent>,
    file: MapFile,
    /// `Finish` or `Stop`, once received.
    termination: Option<RunnerEvent>,
    /// A map whose command could not be started.
    failed_map: Option<Object>,
    start_limiter: StartLimiter,
}

impl CommandRunner {
    pub(super) fn new(
        config: ExecConfig,
        latest: LatestMap,
        (sender, events): (Sender<RunnerEvent>, Receiver<RunnerEvent>),
    ) -> anyhow::Result<Self> {
        let file = MapFile::new()?;
        Ok(Self {
            config,
            latest,
            sender,
            events,
            file,
            termination: None,
            failed_map: None,
            start_limiter: StartLimiter::default(),
        })
    }

    /// Runs the command for the newest map, again and again, until `Finish` or `Stop`. A running command keeps its
    /// time limit; a change before `Finish` is still delivered. Returns the result of the last command.
    ///
    /// # Errors
    /// If the last command failed, or could not be started. Each such error has been logged.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let mut last = Ok(());
        while self.wait_map() {
            let Some(object) = self.latest.take().or_else(|| self.failed_map.take()) else { continue };
            self.failed_map = None;
            self.start_limiter.record_start();
            last = match self.run_command(&object) {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(anyhow!("the last command failed: {status}")),
                Err(error) => {
                    let delay = units::format_duration(self.start_limiter.record_failure());
                    warn!("cannot run the command: {error:#}; retrying in {delay}, and with the next map");
                    self.failed_map = Some(object);
                    Err(error.context("cannot run the last command"))
                }
            };
            if self.failed_map.is_none() {
                self.start_limiter.record_success();
            }
        }
        last
    }

    /// Waits for a map, and until its command may start. Returns false if and only if no further command is to start.
    fn wait_map(&mut self) -> bool {
        loop {
            // A map may have come while the last command ran, and its event with it.
            if self.latest.is_some() {
                let splay = self.config.splay.mul_f64(fastrand::f64());
                let due = Instant::now().checked_add(splay).max(self.start_limiter.next_start());
                while self.termination != Some(RunnerEvent::Stop) && self.wait_event(due).is_some() {}
                return self.termination != Some(RunnerEvent::Stop);
            }
            if self.termination.is_some() {
                return false;
            }
            let retry_at = self.failed_map.as_ref().and(self.start_limiter.next_retry());
            if self.wait_event(retry_at).is_none() {
                return true;
            }
        }
    }

    fn wait_event(&mut self, deadline: Option<Instant>) -> Option<RunnerEvent> {
        let event = next_event(&self.events, deadline)?;
        if matches!(event, RunnerEvent::Finish | RunnerEvent::Stop) {
            self.termination = Some(event);
        }
        Some(event)
    }

    fn run_command(&mut self, object: &Object) -> anyhow::Result<ExitStatus> {
        self.file.write(object)?;
        let mut command = shell(&self.config.command);
        self.file.set_env(&mut command);
        let ended = self.sender.clone();
        // The file itself is the standard input: a command that does not read it delays nothing.
        command.stdin(self.file.open()?);
        let started = Instant::now();
        let process = Process::start(&mut command, move || {
            // The receiver is gone only if the exit no longer matters.
            let _ = ended.send(RunnerEvent::Exited);
        });
        let process = process.context("cannot start the shell")?;
        debug!("the command runs");
        let status = self.wait_end(&process, started.checked_add(self.config.timeout));
        let took = started.elapsed().as_secs_f64();
        if status.success() {
            info!("the command succeeded after {took:.1}s");
        } else {
            warn!("the command failed after {took:.1}s: {status}");
        }
        Ok(status)
    }

    /// Waits until the command has exited; terminates it at `deadline` (`None` never comes). Returns its status.
    fn wait_end(&mut self, process: &Process, deadline: Option<Instant>) -> ExitStatus {
        let mut termination: Option<Termination> = None;
        loop {
            let is_over = match &mut termination {
                Some(termination) => termination.poll(process),
                // Its background processes may keep running, unless they would end with this process.
                None => {
                    process.status().is_some()
                        && (!is_init() || self.termination.is_none() || process.has_group_ended())
                }
            };
            if let Some(status) = process.status().filter(|_| is_over) {
                return status;
            }
            if termination.is_none() && process.status().is_some() {
                process.signal(Signal::TERM);
                termination = Some(Termination::new("the command", GRACE));
            }
            match self.wait_event(termination.as_ref().map_or(deadline, |termination| Some(termination.next_check()))) {
                Some(RunnerEvent::Finish | RunnerEvent::Stop) => info!("exiting after the command"),
                None if termination.is_none() => {
                    let timeout = units::format_duration(self.config.timeout);
                    warn!("the command exceeded {timeout} and was terminated");
                    process.signal(Signal::TERM);
                    termination = Some(Termination::new("the command", GRACE));
                }
                Some(_) | None => {}
            }
        }
    }
}
