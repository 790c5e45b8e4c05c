//! Exit codes and error texts.

use std::io;
use std::process::ExitCode;

use mapcast::client;
use mapcast::display::advice_suffix;
use mapcast::frame;

use crate::advice::advice;
use crate::commands::http;
use crate::selection::MissingKey;
use crate::tls_options::TLS_OPTIONS;

/// The exit codes. For usage errors clap exits with 2 itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success, or standard output has no reader any more.
    Done = 0,
    /// A run-time error.
    Failed = 1,
    /// An option whose value can never work.
    Usage = 2,
    /// The first connection failed, or its TLS handshake did.
    NotConnected = 3,
    /// The server sends what this client cannot read, and would send it again.
    BadFrame = 4,
    /// The map has no entry for a requested key.
    KeyMissing = 5,
    /// `--timeout` has expired; the code of `timeout(1)`.
    TimedOut = 124,
    /// A signal arrived before any map: 128 plus SIGINT's 2, as in shells.
    Interrupted = 130,
}

/// An option whose value can never work, such as a directory for `--write`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

impl Exit {
    /// Returns the exit code for `error`.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<MissingKey>() {
            return Self::KeyMissing;
        }
        if error.is::<UsageError>() {
            return Self::Usage;
        }
        if let Some(error) = error.downcast_ref::<http::Error>() {
            return match error {
                http::Error::Connect { .. } => Self::NotConnected,
                http::Error::TimedOut => Self::TimedOut,
                http::Error::Stopped => Self::Interrupted,
                _ => Self::Failed,
            };
        }
        match error.downcast_ref::<client::Error>() {
            Some(client::Error::Output(source)) if source.kind() == io::ErrorKind::BrokenPipe => Self::Done,
            Some(client::Error::Connect { .. } | client::Error::Tls(_) | client::Error::PlainToTls) => {
                Self::NotConnected
            }
            Some(
                client::Error::NoHeader { .. }
                | client::Error::Frame(frame::Error::BadHeader { .. } | frame::Error::TooLarge { .. })
                | client::Error::Format(mapcast::format::Error::Decode { .. })
                | client::Error::OtherFormat { .. }
                | client::Error::UnknownFormat { .. },
            ) => Self::BadFrame,
            Some(client::Error::TimedOut) => Self::TimedOut,
            Some(client::Error::Stopped) => Self::Interrupted,
            _ => Self::Failed,
        }
    }

    /// True if and only if no message is needed: the user pressed Ctrl-C or closed the output.
    pub(crate) fn is_quiet(self) -> bool {
        matches!(self, Self::Done | Self::Interrupted)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Returns an error, its sources and the advice on it in one line, as `{:#}` does. Control characters are escaped, because
/// parts may come from a peer; each part is cut at 500 characters.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let parts: Vec<String> = error.chain().map(|part| printable(&part.to_string())).collect();
    parts.join(": ") + &advice_suffix(advice(error.as_ref(), &TLS_OPTIONS))
}

fn printable(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(MAX_PART_CHARS)
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect();
    if text.chars().nth(MAX_PART_CHARS).is_some() {
        line.push('…');
    }
    line
}

/// The longest part of an error text, in characters: room for a cause and its fix, not for a payload.
const MAX_PART_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_text_is_cut() {
        let error = anyhow::anyhow!("\x1b[2J{}", "x".repeat(1000)).context("first");
        let line = describe(&error);
        assert!(line.starts_with("first: \\u{1b}[2Jxxx") && line.chars().count() < 600, "{line}");
    }
}
