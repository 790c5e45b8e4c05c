//! What the shell is told.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mapcast::client;
use mapcast::frame;

use crate::advice::advice;
use crate::selection::MissingKey;
use crate::{deliver, logging, tls, watch};

/// The exit codes. Usage errors of the command line leave with clap's own 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All that was asked for was done, or nobody reads the output any more.
    Done = 0,
    /// It went wrong on the way.
    Failed = 1,
    /// What was asked for can never be done.
    Usage = 2,
    /// The first connection could not be made, or not with TLS.
    NotConnected = 3,
    /// The server sends what this client cannot read, and would send it again.
    BadFrame = 4,
    /// A map lacks an entry that was asked for.
    KeyMissing = 5,
    /// The time of `--timeout` is over; as `timeout(1)`.
    TimedOut = 124,
    /// A signal came before any map: 128 and SIGINT's 2, as shells count.
    Interrupted = 130,
}

impl Exit {
    /// Returns what `error` means to the shell.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<MissingKey>() {
            return Self::KeyMissing;
        }
        if error.is::<deliver::Unusable>() {
            return Self::Usage;
        }
        match error.downcast_ref::<client::Error>() {
            Some(client::Error::Output(source)) if source.kind() == io::ErrorKind::BrokenPipe => Self::Done,
            Some(client::Error::Connect { .. } | client::Error::Tls(_) | client::Error::PlainToTls) => {
                Self::NotConnected
            }
            Some(
                client::Error::NoHeader { .. }
                | client::Error::Frame(frame::Error::BadHeader { .. } | frame::Error::TooLarge { .. })
                | client::Error::Format(mapcast::format::Error::Decode { .. }),
            ) => Self::BadFrame,
            Some(client::Error::TimedOut) => Self::TimedOut,
            Some(client::Error::Stopped) => Self::Interrupted,
            _ => Self::Failed,
        }
    }

    /// True if and only if the code says it all: who pressed Ctrl-C, or closed the output, knows.
    pub(crate) fn is_quiet(self) -> bool {
        matches!(self, Self::Done | Self::Interrupted)
    }
}

/// How long what is still to be said, or put right, may take: a terminal that takes nothing more holds nobody up.
const LEAVING: Duration = Duration::from_millis(500);

/// Does `work`, which may hang, and waits for it a moment at most: the client is leaving.
pub(crate) fn with_time_limit(work: impl FnOnce() + Clone + Send + 'static) {
    let (tell, told) = mpsc::channel();
    let again = work.clone();
    let run = move || {
        work();
        // Nobody listens only if it took too long.
        let _ = tell.send(());
    };
    match thread::Builder::new().name("leaving".to_owned()).spawn(run) {
        Ok(_) => drop(told.recv_timeout(LEAVING)),
        Err(_) => again(),
    }
}

/// Leaves at once, as a second signal asks for, whatever the other threads do.
pub(crate) fn leave_at_once(code: Exit) -> ! {
    watch::restore();
    with_time_limit(deliver::cleanup);
    logging::flush_at_once();
    std::process::exit(code as i32)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Returns an error, its sources and the advice on it in one line for a terminal: some of it may be a peer's, so what
/// controls terminals is escaped, and each part is cut at 500 characters.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let parts: Vec<String> = error.chain().map(|part| printable(&part.to_string())).collect();
    let advice = advice(error.as_ref(), &tls::ADVICE).map_or_else(String::new, |advice| format!("; {advice}"));
    parts.join(": ") + &advice
}

fn printable(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(LONGEST_PART)
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect();
    if text.chars().nth(LONGEST_PART).is_some() {
        line.push('…');
    }
    line
}

/// Characters of one part of an error text: room for a cause and its remedy, not for a payload.
const LONGEST_PART: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_terminals_is_escaped_and_long_text_is_cut() {
        let error = anyhow::anyhow!("\x1b[2J{}", "x".repeat(1000)).context("first");
        let line = describe(&error);
        assert!(line.starts_with("first: \\u{1b}[2Jxxx") && line.chars().count() < 600, "{line}");
    }
}
