//! All integration tests, in one program: linking takes longer than they do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking; clippy knows only those marked #[test]"
)]
#![allow(unreachable_pub, missing_docs, reason = "nobody uses this program's modules but itself")]

mod architecture;
mod cast;
#[cfg(feature = "cli")]
mod client;
mod echo;
mod overload;
#[cfg(feature = "cli")]
mod programs;
mod stop;
mod support;
