//! How values, errors and repeated log lines are written for people.

pub(crate) mod error_chain;
pub(crate) mod escape;
pub(crate) mod throttle;
pub mod units;
