//! Who is told when a follower's connection comes and goes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What has become of a follower's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connectivity {
    /// A connection was made.
    Connected {
        /// The server's address.
        peer: SocketAddr,
    },
    /// The connection ended, or an attempt at another failed.
    Lost {
        /// Why; part of it may be a peer's text, escaped.
        reason: String,
        /// How long the follower waits before the next attempt.
        retry_in: Duration,
    },
}

/// The caller's function, if there is one.
#[derive(Default)]
pub(super) struct Observer(Option<Box<dyn FnMut(Connectivity) + Send>>);

impl Observer {
    pub(super) fn new(observe: impl FnMut(Connectivity) + Send + 'static) -> Self {
        Self(Some(Box::new(observe)))
    }

    pub(super) fn tell(&mut self, news: Connectivity) {
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
