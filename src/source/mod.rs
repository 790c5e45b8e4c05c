//! Sources of the map: a source publishes maps into a [`Sink`] until the shutdown.
//!
//! A source does not depend on listeners or clients. It logs a problem with its input once, and the last good map stays. The
//! sink has the [`Health`](crate::stats::health::Health) of its source. A new source needs a file in this directory, a variant of
//! [`Location`], and an implementation of [`Source`].

mod encryption;
mod error;
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
mod toml_syntax;

use std::net::SocketAddr;

use crate::shutdown::Shutdown;

#[cfg(feature = "redis")]
#[doc(hidden)]
pub use self::redis::testing as redis_testing;
#[cfg(feature = "redis")]
pub use self::redis::{Address as RedisAddress, Password, Redis};
pub use error::Error;
pub use file::File;
pub use fixed::Fixed;
pub use lines::Lines;
pub use location::Location;
pub use relay::{Parent, Relay};
pub use sink::{Published, Sink};
pub use syntax::SyntaxError;

/// A source of maps. One thread owns it, and calls [`load`](Self::load) and then [`follow`](Self::follow). The thread needs a
/// stack of about 1 MiB for the parsers; the standard library's default of 2 MiB is enough.
pub trait Source: Send {
    /// Publishes the first map before the first client connects. Returns `Ok` without a map if and only if the source has
    /// none yet (standard input, and sources across a network), or the program shuts down.
    ///
    /// # Errors
    /// If there must be a map and there is none: a file that is missing or invalid.
    fn load(&mut self, sink: &Sink, stop: &Shutdown) -> Result<(), Error>;

    /// Receives the addresses of the caller's own listeners, once before [`follow`](Self::follow): a relay must not follow
    /// itself.
    fn listening_on(&mut self, _own: &[SocketAddr]) {}

    /// Publishes each new map until the shutdown or the end of the source. The last map stays after both. Logs invalid input
    /// once.
    fn follow(&mut self, sink: &Sink, stop: &Shutdown);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends the thread that follows a source, also if the test fails.
    pub(super) struct StopOnDrop<'a>(pub(super) &'a Shutdown);

    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            self.0.trigger();
        }
    }
}
