//! Human-readable forms of values and errors, and the throttle of repeated log lines.

pub(crate) mod error_chain;
pub(crate) mod escape;
pub(crate) mod throttle;
pub mod units;
