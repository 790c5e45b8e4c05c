//! `--run`: a program that lives with the map in its environment, restarted or signalled when that changes.
#![allow(clippy::doc_markdown, reason = "the options' comments are the help text, which has no backticks")]

use std::ffi::OsString;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use log::{info, warn};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::complaint::{Complaint, list};
use super::event::{Event, Latest, next};
use super::map_file::MapFile;
use super::object::{Object, left_out, variables};
use super::process::{Process, exit_code};
use super::splay::splay;
use crate::args::parse_wait;

/// The signals that are passed on. The first four end the client if no program runs.
const PASSED_ON: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// The options of the program.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Run this program with the map in its environment, and restart it on a change; all that follows belongs to it
    #[arg(long, value_name = "CMD", env = "MAPCAST_RUN", num_args = 1.., allow_hyphen_values = true)]
    pub(crate) run: Vec<OsString>,
    /// Send the program of --run this signal on a change, with the map in MAPCAST_FILE [default: restart it]
    #[arg(long, value_name = "SIGNAL", env = "MAPCAST_SIGNAL", value_parser = parse_signal)]
    pub(crate) signal: Option<Signal>,
    /// Kill the program of --run if it does not end this long after it was asked to
    #[arg(long, value_name = "DURATION", env = "MAPCAST_KILL_TIMEOUT", default_value = "10s", value_parser = parse_wait)]
    pub(crate) kill_timeout: Duration,
}

/// What is run, and what a change does to it.
#[derive(Debug)]
pub(crate) struct RunConfig {
    /// The program and its arguments; not empty.
    pub(crate) command: Vec<OsString>,
    /// `None` restarts it.
    pub(crate) signal: Option<Signal>,
    pub(crate) kill_timeout: Duration,
    pub(crate) splay: Duration,
}

/// Runs the program.
#[derive(Debug)]
pub(super) struct Run {
    config: RunConfig,
    latest: Latest,
    sender: Sender<Event>,
    events: Receiver<Event>,
    file: MapFile,
    process: Option<Process>,
    /// What is asked of a program that has been told to end.
    ending: Option<Ending>,
    /// When a change is handed over.
    change_at: Option<Instant>,
    left_out: Complaint,
}

/// A program that has been told to end.
#[derive(Debug)]
struct Ending {
    then: Then,
    /// When it is killed; `None` once it has been.
    kill_at: Option<Instant>,
}

/// What follows its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Restart,
    /// A signal was passed on: its exit code is ours.
    PassCode,
    /// The client leaves for a reason of its own.
    Leave,
}

/// What the end of a program was.
enum End {
    Restarted,
    /// With the exit code that is passed on, if one is.
    Left(Option<u8>),
}

impl Run {
    pub(super) fn new(
        config: RunConfig,
        latest: Latest,
        (sender, events): (Sender<Event>, Receiver<Event>),
    ) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            latest,
            sender,
            events,
            file: MapFile::new()?,
            process: None,
            ending: None,
            change_at: None,
            left_out: Complaint::default(),
        })
    }

    /// Runs the program until it ends by itself, by a signal that was passed on, or by `Finish` or `Stop`. Returns the
    /// exit code in the first two cases, and `None` otherwise, also if it was never started.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn run(mut self) -> anyhow::Result<Option<u8>> {
        loop {
            let deadline = match &self.ending {
                Some(ending) => ending.kill_at,
                None => self.change_at,
            };
            match next(&self.events, deadline) {
                Some(Event::Map) if self.process.is_none() => self.start()?,
                Some(Event::Map) => {
                    if self.change_at.is_none() {
                        self.change_at = Instant::now().checked_add(splay(self.config.splay));
                    }
                }
                Some(Event::Ended) => {
                    if let End::Left(code) = self.take_end()? {
                        return Ok(code);
                    }
                }
                Some(Event::Signal(number)) if self.process.is_none() => {
                    if [SIGHUP, SIGINT, SIGQUIT, SIGTERM].contains(&number) {
                        return Ok(None);
                    }
                }
                Some(Event::Signal(number)) => self.pass_on(number),
                Some(Event::Finish | Event::Stop) if self.process.is_none() => return Ok(None),
                Some(Event::Finish | Event::Stop) => self.end(Then::Leave),
                None if self.ending.is_some() => self.kill(),
                None => self.hand_over(),
            }
        }
    }

    /// Starts the program with the newest map.
    fn start(&mut self) -> anyhow::Result<()> {
        self.change_at = None;
        let Some(object) = self.latest.take() else { bail!("there is no map to start the program with") };
        self.write_file(&object)?;
        let (program, args) = self.config.command.split_first().context("there is no program to run")?;
        let mut command = Command::new(program);
        command.args(args).envs(variables(&object));
        self.file.tell(&mut command);
        let ended = self.sender.clone();
        let process = Process::start(&mut command, move || {
            // Nobody listens only if nobody waits for it.
            let _ = ended.send(Event::Ended);
        });
        let process = process.with_context(|| format!("cannot run {}", program.display()))?;
        info!("{} runs, pid {}", program.display(), process.id());
        self.process = Some(process);
        Ok(())
    }

    fn write_file(&mut self, object: &Object) -> anyhow::Result<()> {
        let left_out = left_out(object, &variables(object));
        if left_out.is_empty() {
            self.left_out.settle();
        } else {
            self.left_out.say(format!("only in MAPCAST_FILE, because it is no variable: {}", list(&left_out)));
        }
        self.file.write(object)
    }

    /// Hands a change over: by a signal, or by a restart.
    fn hand_over(&mut self) {
        self.change_at = None;
        let Some(signal) = self.config.signal else {
            info!("the map has changed: restarting");
            return self.end(Then::Restart);
        };
        let Some(object) = self.latest.take() else { return };
        match self.write_file(&object) {
            Ok(()) => {
                info!("the map has changed: sending signal {}", signal.as_raw());
                self.signal(signal);
            }
            Err(error) => warn!("the program is not told of a change: {error:#}"),
        }
    }

    /// Asks the program to end, unless it has been asked already.
    fn end(&mut self, then: Then) {
        match &mut self.ending {
            // It will not come back, whatever it was to do then.
            Some(ending) if ending.then == Then::Restart => ending.then = then,
            Some(_) => {}
            None => {
                self.signal(Signal::TERM);
                self.expect_end(then);
            }
        }
    }

    fn expect_end(&mut self, then: Then) {
        self.ending = Some(Ending { then, kill_at: Instant::now().checked_add(self.config.kill_timeout) });
    }

    /// Passes a signal on. Those that end most programs begin the end.
    fn pass_on(&mut self, number: i32) {
        if let Some(signal) = Signal::from_named_raw(number) {
            self.signal(signal);
        }
        if ![SIGINT, SIGQUIT, SIGTERM].contains(&number) {
            return;
        }
        match &mut self.ending {
            Some(ending) => ending.then = Then::PassCode,
            None => self.expect_end(Then::PassCode),
        }
    }

    fn kill(&mut self) {
        warn!("the program does not end: killed");
        self.signal(Signal::KILL);
        if let Some(ending) = &mut self.ending {
            ending.kill_at = None;
        }
    }

    /// Takes the end of the program, which may have been asked for.
    fn take_end(&mut self) -> anyhow::Result<End> {
        let Some(mut process) = self.process.take() else { return Ok(End::Restarted) };
        let then = self.ending.take().map(|ending| ending.then);
        if then == Some(Then::Restart) {
            // What it has left behind must not be in the way of the next one. Before it is reaped: its number is still
            // its group's.
            process.signal(Signal::KILL);
        }
        let status = process.reap()?;
        match then {
            Some(Then::Restart) => {
                self.start()?;
                Ok(End::Restarted)
            }
            Some(Then::Leave) => Ok(End::Left(None)),
            Some(Then::PassCode) | None => {
                info!("the program has ended: {status}");
                Ok(End::Left(Some(exit_code(status))))
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }
}

/// Has the signals told to `events` instead of ending the client.
///
/// # Errors
/// If the system refuses a handler or a thread.
pub(super) fn tell_signals(events: Sender<Event>) -> anyhow::Result<()> {
    let mut signals = Signals::new(PASSED_ON).context("cannot handle signals")?;
    let tell = move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    };
    // It ends with the process.
    thread::Builder::new().name("signals".to_owned()).spawn(tell).context("cannot start a thread")?;
    Ok(())
}

/// The signals that a program may be sent on a change.
const SIGNALS: [(&str, Signal); 8] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("CONT", Signal::CONT),
];

/// Returns the signal that `text` names, with or without `SIG`, in upper or lower case.
fn parse_signal(text: &str) -> Result<Signal, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let found = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal);
    found.ok_or_else(|| format!("{text:?} is no signal: write {}", SIGNALS.map(|(name, _)| name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_named_as_people_name_them() {
        for text in ["HUP", "hup", "SIGHUP", "sighup"] {
            assert_eq!(parse_signal(text), Ok(Signal::HUP));
        }
        for text in ["", "1", "SIG", "KILL", "hang up"] {
            assert!(parse_signal(text).is_err_and(|error| error.contains("USR1")), "{text}");
        }
    }
}
