//! One binary for all tests of whole programs: linking is what takes the time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking; clippy knows only those marked #[test]"
)]

#[cfg(feature = "cli")]
mod client;
#[cfg(feature = "cli")]
mod support;
