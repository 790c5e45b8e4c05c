//! Human-readable forms of values and errors, and the throttle of repeated log lines.

mod advice;
pub(crate) mod error_chain;
pub(crate) mod escape;
pub(crate) mod throttle;
pub mod units;

pub use advice::advice_suffix;
