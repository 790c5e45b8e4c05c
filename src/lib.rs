//! mapcast tells every connected program the current state.
#![forbid(unsafe_code)]

pub mod connection;
pub mod feed;
pub mod format;
pub mod frame;
pub mod map;
mod platform;
pub mod server;
pub mod service;
pub mod shutdown;
pub mod stats;
pub mod source;
mod throttle;
pub mod units;

pub use feed::Feed;
pub use format::Format;
pub use frame::DEFAULT_MAX_FRAME;
pub use map::{Key, Map, Value, builtin as builtin_map};
pub use server::{Config as ServerConfig, Server};
pub use service::{Cast, Echo, Greet, Service};
pub use shutdown::Shutdown;
