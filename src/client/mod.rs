//! The client: what a server sends, over one connection ([`Client`]) or over as many as it takes ([`Follower`]).
//!
//! Every wait here ends at once when the caller's [`Shutdown`] is triggered, from whatever thread, and at the deadline
//! that the caller has set. Deadlines are absolute: a byte that comes does not extend them.

pub mod address;
mod config;
mod connect;
mod connection;
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
pub use echo::{Input, echo, greet};
pub use error::Error;
pub use follow::{FollowConfig, FollowEvent, Follower};
pub use observer::Connectivity;
#[cfg(feature = "redis")]
pub(crate) use resolver::Resolver;
#[cfg(feature = "redis")]
pub(crate) use retry::Backoff;
pub(crate) use retry::random_fraction;

#[cfg(test)]
mod tests;
