//! Errors of the client.

use std::io;
use std::time::Duration;

use crate::{format, frame, tls};

/// Why the client has no map to give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// None of the server's addresses answered. Start the server, or name another one.
    #[error("cannot connect to {address} (is the server running there?)")]
    Connect {
        /// The address as the caller gave it.
        address: String,
        /// What the last address tried said.
        source: io::Error,
    },
    /// The server answers, and there is no TLS with it.
    #[error("no TLS connection")]
    Tls(#[source] tls::HandshakeError),
    /// The server speaks TLS, and this client was not told to.
    #[error("the server speaks TLS there: use --tls")]
    PlainToTls,
    /// What came is no frame, or was cut. See [`frame::Error`] for whose fault that is.
    #[error(transparent)]
    Frame(#[from] frame::Error),
    /// The server closed inside its first header, and no connection of this [`Follower`] has ever given a frame: what is
    /// there speaks another protocol, whose greeting is short. A [`Client`], which knows one connection alone, calls it
    /// [`Truncated`](frame::Error::Truncated).
    #[error(
        "not a frame header: \"{}\" (closed after {} of {} bytes); does the peer send 10-byte headers?",
        bytes.escape_ascii(), bytes.len(), frame::HEADER_LEN
    )]
    NoHeader {
        /// All that came: one to nine bytes.
        bytes: Vec<u8>,
    },
    /// The payload is not in the format that was expected.
    #[error(transparent)]
    Format(#[from] format::Error),
    /// The connection says nothing any more.
    #[error("no frame for {:?}: stale", rounded(*after))]
    Stale {
        /// The silence that was allowed.
        after: Duration,
    },
    /// The connection has brought no byte. Either the server has no map yet, or it hangs.
    #[error("no map within {after:?} of connecting: the server has none yet, or it hangs")]
    NoFirstByte {
        /// The time that was allowed.
        after: Duration,
    },
    /// The connection failed, outside of any frame.
    #[error("the connection failed")]
    Connection(#[source] io::Error),
    /// The server closed before it had sent back all that it was sent.
    #[error("the server closed after {received} of {sent} bytes had come back; is it an echo server?")]
    NotEchoed {
        /// Bytes that it was sent.
        sent: u64,
        /// Bytes that it sent back.
        received: u64,
    },
    /// The caller's input cannot be read.
    #[error("cannot read the input")]
    Input(#[source] io::Error),
    /// The caller's output cannot be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The caller's deadline has passed.
    #[error("the time that was given is over")]
    TimedOut,
    /// The caller's [`Shutdown`] was triggered.
    #[error("stopped")]
    Stopped,
}

/// Returns `time` in whole tenths of a second, for people; below a second it stays as it is.
fn rounded(time: Duration) -> Duration {
    let tenths = u64::try_from(time.as_millis() / 100).unwrap_or(u64::MAX);
    if time.as_secs() == 0 { time } else { Duration::from_millis(tenths.saturating_mul(100)) }
}

impl Error {
    /// True if and only if another connection may do better. A bad header, too large a frame or another format would
    /// only come again.
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
