//! Reports of made and lost connections: to the log, and to the caller.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::Level;

use super::error::Error;

/// How often an unchanged reason is a warning: every 30 s. While the server is away, attempts follow each other within
/// 5 s.
const WARNING_PERIOD: Duration = Duration::from_secs(30);

/// A change of a follower's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connectivity {
    /// A connection was made.
    Connected {
        /// The server's address.
        peer: SocketAddr,
    },
    /// The connection was lost, or an attempt failed.
    Lost {
        /// The kind of the reason.
        cause: LossCause,
        /// The reason as it is logged; text from a peer is escaped.
        reason: String,
        /// The delay before the next attempt.
        retry_in: Duration,
    },
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossCause {
    /// No connection was made: no address of the server answered, or the TLS handshake failed.
    NotConnected,
    /// The server closed the connection between two frames.
    Closed,
    /// The connection failed, or ended inside a frame.
    Failed,
    /// The connection was silent for too long.
    Silent,
}

impl LossCause {
    /// Returns the cause of `error`; `None` is a close between two frames.
    pub(super) fn of(error: Option<&Error>) -> Self {
        match error {
            None => Self::Closed,
            Some(Error::Connect { .. } | Error::Tls(_)) => Self::NotConnected,
            Some(Error::Stale { .. } | Error::NoFirstByte { .. }) => Self::Silent,
            Some(_) => Self::Failed,
        }
    }
}

/// The last logged reason for a lost connection.
#[derive(Debug, Default)]
pub(super) struct LossLog {
    /// The reason, and when it was a warning.
    warned: Option<(String, Instant)>,
}

impl LossLog {
    /// Returns the log level of `reason` at `now`: a warning if it is new or the last warning was 30 s ago, otherwise
    /// debug.
    pub(super) fn level(&mut self, reason: &str, now: Instant) -> Level {
        if let Some((warned, at)) = &self.warned
            && warned == reason
            && now.saturating_duration_since(*at) < WARNING_PERIOD
        {
            return Level::Debug;
        }
        self.warned = Some((reason.to_owned(), now));
        Level::Warn
    }

    /// Makes the next reason a warning: a frame was received.
    pub(super) fn reset(&mut self) {
        self.warned = None;
    }
}

/// The caller's function, if there is one.
#[derive(Default)]
pub(super) struct Observer(Option<Box<dyn FnMut(Connectivity) + Send>>);

impl Observer {
    pub(super) fn new(observe: impl FnMut(Connectivity) + Send + 'static) -> Self {
        Self(Some(Box::new(observe)))
    }

    pub(super) fn notify(&mut self, news: Connectivity) {
        if let Some(observe) = &mut self.0 {
            observe(news);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "None" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use std::io;

    #[test]
    fn a_loss_has_the_cause_of_its_error() {
        let (io, after) = (|| io::Error::from(io::ErrorKind::ConnectionReset), Duration::from_secs(1));
        for (error, wanted) in [
            (None, LossCause::Closed),
            (Some(Error::Connect { address: "h:1".to_owned(), source: io() }), LossCause::NotConnected),
            (Some(Error::Connection(io())), LossCause::Failed),
            (Some(Error::Frame(frame::Error::Truncated { got: 1, wanted: 2 })), LossCause::Failed),
            (Some(Error::Stale { after }), LossCause::Silent),
            (Some(Error::NoFirstByte { after }), LossCause::Silent),
        ] {
            assert_eq!(LossCause::of(error.as_ref()), wanted, "{error:?}");
        }
    }

    #[test]
    fn a_reason_is_a_warning_when_new_and_every_30_s() {
        let (mut loss_log, now) = (LossLog::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let reasons =
            [("refused", 0), ("refused", 5), ("no answer", 6), ("refused", 7), ("refused", 36), ("refused", 37)];
        let levels = reasons.map(|(reason, seconds)| loss_log.level(reason, after(seconds)));
        assert_eq!(levels, [Level::Warn, Level::Debug, Level::Warn, Level::Warn, Level::Debug, Level::Warn]);
        loss_log.reset();
        assert_eq!(loss_log.level("refused", after(38)), Level::Warn);
    }
}
