//! mapcast tells every connected program the current state.
#![forbid(unsafe_code)]

pub mod client;
pub mod feed;
pub mod format;
pub mod frame;
pub mod map;
pub(crate) mod platform;
pub mod shutdown;
pub(crate) mod throttle;
pub mod units;

pub use feed::Feed;
pub use format::Format;
pub use frame::DEFAULT_MAX_FRAME;
pub use map::{Key, Map, Value, builtin as builtin_map};
pub use shutdown::Shutdown;
