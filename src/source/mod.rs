//! Where the map comes from: a source publishes into a [`Sink`], and goes on doing so until it is told to stop.
//!
//! A source knows no sockets and no clients. What is wrong with its input it says once, in the log, and the last good
//! map stays. How it fares is in the sink's [`Health`](crate::stats::health::Health). A new one is a file beside these, a case in
//! [`Location`], and an implementation of [`Source`].

mod connection_log;
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
mod toml_fault;

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
