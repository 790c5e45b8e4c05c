//! Errors of the client.

use std::io;
use std::time::Duration;

use crate::format::{self, Format};
use crate::{frame, tls};

/// Why the client cannot return a map.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// None of the server's addresses answered. Start the server, or use another address.
    #[error("cannot connect to {address} (is the server running there?)")]
    Connect {
        /// The address as passed by the caller.
        address: String,
        /// The error of the last address tried.
        source: io::Error,
    },
    /// The server answers, but the TLS handshake fails.
    #[error("no TLS connection")]
    Tls(#[source] tls::HandshakeError),
    /// The server speaks TLS, and this client does not.
    #[error("the server speaks TLS, and the client does not")]
    PlainToTls,
    /// A frame is not valid or incomplete. See [`frame::Error`] for the cause.
    #[error(transparent)]
    Frame(#[from] frame::Error),
    /// The server closed inside its first header, and no connection of this [`Follower`](super::Follower) has ever
    /// received a frame: the server speaks another protocol, with a short greeting. A [`Client`](super::Client), which
    /// has one connection only, returns [`Truncated`](frame::Error::Truncated) instead.
    #[error(
        "not a frame header: \"{}\" (closed after {} of {} bytes)",
        bytes.escape_ascii(), bytes.len(), frame::HEADER_LEN
    )]
    NoHeader {
        /// All received bytes: one to nine.
        bytes: Vec<u8>,
    },
    /// The payload is not valid in its format.
    #[error(transparent)]
    Format(#[from] format::Error),
    /// The payload is a map in another format than the expected one.
    #[error("the server sends {found}, not {expected}")]
    OtherFormat {
        /// The configured format.
        expected: Format,
        /// The format of the payload.
        found: Format,
    },
    /// The format is not configured, and the payload does not show one: it is not a map.
    #[error("the payload is not a map in a known format: it begins with \"{}\"", first.escape_ascii())]
    UnknownFormat {
        /// The first bytes of the payload.
        first: Vec<u8>,
    },
    /// The connection has been silent for too long.
    #[error("no frame for {:?}: stale", rounded(*after))]
    Stale {
        /// The permitted silence.
        after: Duration,
    },
    /// The connection has received no byte. Either the server has no map yet, or it hangs.
    #[error("no map within {after:?} of connecting: the server has none yet, or it hangs")]
    NoFirstByte {
        /// The permitted time.
        after: Duration,
    },
    /// The connection failed outside of a frame.
    #[error("the connection failed")]
    Connection(#[source] io::Error),
    /// The server closed before it had sent back everything.
    #[error("the server closed after {received} of {sent} bytes had come back; is it an echo server?")]
    NotEchoed {
        /// Bytes sent.
        sent: u64,
        /// Bytes received.
        received: u64,
    },
    /// The caller's input cannot be read.
    #[error("cannot read the input")]
    Input(#[source] io::Error),
    /// The caller's output cannot be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The caller's deadline has passed.
    #[error("timed out")]
    TimedOut,
    /// The caller's [`Shutdown`](crate::Shutdown) was triggered.
    #[error("stopped")]
    Stopped,
}

/// Returns `time` rounded down to tenths of a second, for messages; below a second unchanged.
fn rounded(time: Duration) -> Duration {
    let tenths = u64::try_from(time.as_millis() / 100).unwrap_or(u64::MAX);
    if time.as_secs() == 0 { time } else { Duration::from_millis(tenths.saturating_mul(100)) }
}

impl Error {
    /// True if and only if another connection may succeed. A bad header, a frame that is too large or another format
    /// would only come again.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Tls(_)
                | Self::Connection(_)
                | Self::Stale { .. }
                | Self::NoFirstByte { .. }
                | Self::Frame(frame::Error::Truncated { .. } | frame::Error::Io(_))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_texts;

    #[test]
    fn every_error_has_its_text() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        check_texts!(Error {
            Connect { address: "h:1".to_owned(), source: refused() } =>
                "cannot connect to h:1 (is the server running there?)";
            PlainToTls => "the server speaks TLS, and the client does not";
            Frame(frame::Error::Truncated { got: 3, wanted: 10 }) =>
                "the stream ended inside a frame: 3 of 10 bytes received";
            NoHeader { bytes: b"Hola\x1b\r\n".to_vec() } =>
                r#"not a frame header: "Hola\x1b\r\n" (closed after 7 of 10 bytes)"#;
            Format(format::Error::TooDeep { depth: 40 }) =>
                "the map is nested 40 levels deep, above the limit of 32; nest it less deep";
            OtherFormat { expected: Format::Json, found: Format::Text } => "the server sends text, not json";
            UnknownFormat { first: b"hello\x1b".to_vec() } =>
                r#"the payload is not a map in a known format: it begins with "hello\x1b""#;
            Stale { after: Duration::from_millis(10_250) } => "no frame for 10.2s: stale";
            Stale { after: Duration::from_millis(250) } => "no frame for 250ms: stale";
            NoFirstByte { after: Duration::from_secs(15) } =>
                "no map within 15s of connecting: the server has none yet, or it hangs";
            Connection(refused()) => "the connection failed";
            NotEchoed { sent: 7, received: 3 } =>
                "the server closed after 3 of 7 bytes had come back; is it an echo server?";
            Input(refused()) => "cannot read the input";
            Output(refused()) => "cannot write the output";
            TimedOut => "timed out";
            Stopped => "stopped";
        } except Tls);
    }
}
