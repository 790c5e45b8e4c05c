//! `--check`: a command that approves each new file before it replaces the old one.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use log::debug;
use mapcast::{Shutdown, display::units};

use super::map_file::MapFile;
use super::object::Object;
use super::process::Termination;
use crate::duration::parse_nonzero;
use crate::platform::{Process, Signal, WakeReader, insert_path, shell, wake_pair};

/// Stands for the file's path in the command.
const PLACEHOLDER: &str = "{}";

/// How long a check may take to exit after SIGTERM before it is killed.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// How long a refusal is remembered: after that the same content is checked again, because the check may depend on
/// more than the file.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(10);

/// Options of `--check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Run this shell command before a new file replaces the old one, with {} replaced by the new file's path; if it
    /// fails, nothing changes
    #[arg(
        long,
        value_name = "CMD",
        env = "MAPCAST_CHECK",
        allow_hyphen_values = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    check: Option<String>,
    /// Terminate a command of --check that takes longer than this, and refuse the file
    #[arg(long, value_name = "DURATION", env = "MAPCAST_CHECK_TIMEOUT", default_value = "10s", value_parser = parse_nonzero)]
    check_timeout: Duration,
}

/// The command that approves a file.
#[derive(Debug)]
pub(crate) struct CheckConfig {
    command: String,
    timeout: Duration,
}

impl CheckArgs {
    /// Returns the check; `None` without `--check`.
    ///
    /// # Errors
    /// If the command has no placeholder for the path.
    pub(crate) fn into_config(self) -> Result<Option<CheckConfig>, String> {
        let Some(command) = self.check else { return Ok(None) };
        if !command.contains(PLACEHOLDER) {
            return Err("--check does not contain {}; write {} where the path of the new file belongs".to_owned());
        }
        Ok(Some(CheckConfig { command, timeout: self.check_timeout }))
    }
}

/// Runs the check.
#[derive(Debug)]
pub(super) struct Check {
    config: CheckConfig,
    shutdown: Shutdown,
    /// When the client is to exit.
    deadline: Option<Instant>,
    /// The map's own file, if there is no other to check.
    file: Option<MapFile>,
    /// The content refused last, the reason, and when.
    refused: Option<(Vec<u8>, String, Instant)>,
}

impl Check {
    /// Returns the check. It ends with the stop and at `deadline`; `None` never comes.
    pub(super) fn new(config: CheckConfig, shutdown: &Shutdown, deadline: Option<Instant>) -> Self {
        Self { config, shutdown: shutdown.clone(), deadline, file: None, refused: None }
    }

    /// Checks the map, written as in `MAPCAST_FILE`.
    ///
    /// # Errors
    /// If the map is refused, or cannot be checked.
    pub(super) fn approve_map(&mut self, object: &Object) -> anyhow::Result<()> {
        let mut file = self.file.take().map_or_else(MapFile::new, Ok)?;
        let written = file.write(object);
        let path = file.path().to_owned();
        self.file = Some(file);
        written?;
        self.approve(&path, &serde_json::to_vec(object)?)
    }

    /// Checks the file at `path`, which contains `content`.
    ///
    /// # Errors
    /// If the command refuses it, exceeds its time limit or cannot be started; or if it refused the same content
    /// within the last 10 s.
    pub(super) fn approve(&mut self, path: &Path, content: &[u8]) -> anyhow::Result<()> {
        if let Some((refused, reason, at)) = &self.refused
            && refused == content
            && at.elapsed() < REFUSAL_LIFETIME
        {
            bail!("{reason}");
        }
        self.refused = None;
        let outcome = self.run(path);
        if let Err(error) = &outcome {
            self.refused = Some((content.to_owned(), format!("{error:#}"), Instant::now()));
        }
        outcome
    }

    fn run(&self, path: &Path) -> anyhow::Result<()> {
        let path = std::path::absolute(path)?;
        let mut command = shell(insert_path(&self.config.command, PLACEHOLDER, &path)?);
        command.stdin(Stdio::null());
        let (mut changed, change) = wake_pair()?;
        let process = Process::start(&mut command, move || {
            // The reader is gone only if the exit no longer matters.
            let _ = (&change).write(&[0]);
        });
        let process = process.context("cannot start the shell for the check")?;
        let started = Instant::now();
        let timeout = started.checked_add(self.config.timeout);
        let until = timeout.into_iter().chain(self.deadline).min();
        while process.status().is_none() && self.shutdown.wait_readable(&changed, until)? {
            changed.read_exact(&mut [0])?;
        }
        let Some(status) = process.status() else {
            end(&process, &changed)?;
            if self.shutdown.is_triggered() || timeout != until {
                bail!("the check was not finished");
            }
            bail!("the check exceeded {} and was terminated", units::format_duration(self.config.timeout));
        };
        // Background processes of the shell would keep the file open.
        process.signal(Signal::KILL);
        if !status.success() {
            return Err(anyhow!("the check failed: {status}"));
        }
        debug!("the check succeeded after {:.1}s", started.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Terminates a check that exceeds its time limit, with all processes of its group.
fn end(process: &Process, mut changed: &WakeReader) -> anyhow::Result<()> {
    process.signal(Signal::TERM);
    let mut termination = Termination::new("the check", GRACE);
    // Never triggered: the client is exiting already.
    let no_stop = Shutdown::new()?;
    while !termination.poll(process) {
        if no_stop.wait_readable(changed, Some(termination.next_check()))? {
            changed.read_exact(&mut [0])?;
        }
    }
    Ok(())
}
