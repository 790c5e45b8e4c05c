//! The client: receives maps over one connection ([`Client`]) or across reconnections ([`Follower`]).
//!
//! Every wait ends at once when the caller's [`Shutdown`](crate::Shutdown) is triggered, from any thread, and at the
//! caller's deadline. Deadlines are absolute: received bytes do not extend them.

pub mod address;
mod config;
mod connect;
mod connection;
mod decode;
mod echo;
mod error;
mod follow;
mod idle_timeout;
mod interval;
mod observer;
mod resolver;
mod retry;
mod socket;

pub use config::{ClientConfig, DEFAULT_CONNECT_TIMEOUT};
#[cfg(feature = "redis")]
pub(crate) use connect::dial;
pub use connection::Client;
pub(crate) use decode::decode;
pub use echo::{Input, echo, greet};
pub use error::Error;
pub use follow::{FollowConfig, FollowEvent, Follower};
pub use observer::{Connectivity, LossCause};
#[cfg(feature = "redis")]
pub(crate) use resolver::Resolver;
#[cfg(feature = "redis")]
pub(crate) use retry::Backoff;

#[cfg(test)]
mod tests;
