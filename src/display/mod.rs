//! Human-readable forms of values and errors, log lines, and their throttle.

mod advice;
pub(crate) mod error_chain;
pub(crate) mod escape;
pub(crate) mod notice;
pub(crate) mod throttle;
pub mod units;

pub use advice::advice_suffix;
