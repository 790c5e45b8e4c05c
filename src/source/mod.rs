//! Where the map comes from: a source publishes into a [`Sink`], and goes on doing so until it is told to stop.
//!
//! A source knows no sockets and no clients. What is wrong with its input it says once, in the log, and the last good
//! map stays. How it fares is in the sink's [`Health`](crate::stats::health::Health). A new one is a file beside these, a case in
//! [`Location`], and an implementation of [`Source`].

mod connection_log;
mod encryption;
mod file;
mod fixed;
mod lines;
mod location;
#[cfg(feature = "redis")]
mod redis;
mod relay;
mod report;
mod scheme;
mod sink;
mod state_writer;
mod syntax;
mod toml_fault;

use std::io;
use std::net::SocketAddr;

use crate::display::escape::escape;
use crate::feed;
use crate::shutdown::Shutdown;
use crate::state;
use crate::stats::health::Failure;
use crate::tls;

#[cfg(feature = "redis")]
#[doc(hidden)]
pub use self::redis::testing as redis_testing;
#[cfg(feature = "redis")]
pub use self::redis::{Address as RedisAddress, Password, Redis};
pub use file::File;
pub use fixed::Fixed;
pub use lines::Lines;
pub use location::Location;
pub use relay::{Parent, Relay};
pub use sink::{Published, Sink};
pub use syntax::Fault;

/// Where the map comes from. Owned by one thread, which calls [`load`](Self::load) and then [`follow`](Self::follow).
/// The thread needs a stack of about 1 MiB for the parsers: the standard library's 2 MiB will do.
pub trait Source: Send {
    /// Publishes the first map, so that there is one before the first client. Returns `Ok` without one if and only if
    /// the source has none yet (standard input, and whatever is across a network), or the stop came first.
    ///
    /// # Errors
    /// If there should be a map and none can be had: the caller's user named a file that is missing or wrong.
    fn load(&mut self, sink: &Sink, stop: &Shutdown) -> Result<(), Error>;

    /// Told once, before [`follow`](Self::follow), where the caller's own server listens: a relay must not follow itself.
    fn listening_on(&mut self, _own: &[SocketAddr]) {}

    /// Publishes each new map until the stop is requested, or the source has ended and will never have another. Both
    /// leave the last map in place. Bad input is told in the log, once.
    fn follow(&mut self, sink: &Sink, stop: &Shutdown);
}

/// Why a source has no map to give. The text is one line, and safe to print: paths and contents are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that names no source, as far as it may be shown: of what may be an address, no more than the scheme.
    #[error(
        "{}: name a .json or .toml file, - for standard input, tcp://HOST:PORT or tls://HOST:PORT for another \
         mapcast server, or redis://HOST/DB?key=NAME or rediss://",
        escape(.0)
    )]
    Unknown(String),
    /// Text that begins as a source's address does and goes on wrong.
    #[error("{name}: {problem}")]
    BadAddress {
        /// The address as far as it may be shown: escaped, without a password.
        name: String,
        /// What is wrong with it, and what it should be.
        problem: String,
    },
    /// A source that this program was built without.
    #[error("{name}: built without {feature}; build it with `--features {feature}`")]
    NotBuilt {
        /// The address, escaped, without a password.
        name: String,
        /// The feature that is missing.
        feature: &'static str,
    },
    /// TLS to a source cannot be begun with the files that were named.
    #[error("{name}")]
    Tls {
        /// The source, escaped, without a password.
        name: String,
        /// What is wrong with them.
        source: Box<tls::Error>,
    },
    /// A source across a network has no map to give now.
    #[error("{name}")]
    Upstream {
        /// The source, escaped, without a password.
        name: String,
        /// What kind of failure it is.
        kind: Failure,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system does not let the source be read.
    #[error("{name}: cannot be read")]
    Unreadable {
        /// The source, escaped.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The text is longer than that of any map needs to be. It was not kept in memory.
    #[error("{name}: above the limit of {max} bytes for a source")]
    TooLong {
        /// The path or the line, escaped.
        name: String,
        /// The limit in bytes.
        max: u64,
    },
    /// Every reading of the file was overtaken by a writer.
    #[error("{name}: written to all the time; write a new file and rename it over this one")]
    Unsettled {
        /// The path, escaped.
        name: String,
    },
    /// The text is no map.
    #[error("{name}: cannot be read as {whole}")]
    Invalid {
        /// The source, escaped.
        name: String,
        /// What the text should be: `a JSON object`.
        whole: &'static str,
        /// What is wrong with it, and where.
        source: Fault,
    },
    /// The last good map cannot be taken up again, or will not be kept.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The map was read and cannot be sent.
    #[error("{name}: the map cannot be sent")]
    Refused {
        /// The source or the line of it, escaped.
        name: String,
        /// What the feed says.
        source: feed::Error,
    },
}

impl Error {
    /// True if and only if Redis requires a password, and none was sent.
    pub fn lacks_password(&self) -> bool {
        #[cfg(feature = "redis")]
        if let Self::Upstream { source, .. } = self {
            return source.downcast_ref().is_some_and(redis::Error::lacks_password);
        }
        false
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> Failure {
        match self {
            Self::Unreadable { .. } | Self::Unsettled { .. } => Failure::Unreachable,
            Self::Upstream { kind, .. } => *kind,
            Self::TooLong { .. } | Self::Refused { source: feed::Error::TooLarge { .. }, .. } => Failure::TooLarge,
            Self::Unknown(_)
            | Self::BadAddress { .. }
            | Self::NotBuilt { .. }
            | Self::Tls { .. }
            | Self::State(_)
            | Self::Invalid { .. }
            | Self::Refused { .. } => Failure::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends those who follow a source, also when the test that waits for them has failed.
    pub(super) struct StopOnDrop<'a>(pub(super) &'a Shutdown);

    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            self.0.trigger();
        }
    }
}
