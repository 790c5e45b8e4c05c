//! All integration tests in one program: linking takes longer than running them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking; clippy knows only those marked #[test]"
)]
#![allow(unreachable_pub, missing_docs, reason = "no other program uses these modules")]

#[cfg(feature = "cli")]
mod abuse;
mod admission;
mod architecture;
#[cfg(feature = "cli")]
mod backlog;
mod bincode;
mod cast;
#[cfg(feature = "cli")]
mod client;
#[cfg(feature = "cli")]
mod console;
mod corpus;
#[cfg(feature = "cli")]
mod documents;
mod echo;
#[cfg(feature = "cli")]
mod examples;
#[cfg(feature = "cli")]
mod exhaustion;
#[cfg(feature = "cli")]
mod guide;
#[path = "../hostile/mod.rs"]
mod hostile;
#[cfg(feature = "cli")]
mod http;
#[cfg(feature = "cli")]
mod hung;
#[cfg(feature = "cli")]
mod logging;
#[cfg(all(feature = "cli", feature = "redis"))]
mod malformed_redis;
#[cfg(feature = "cli")]
mod old_python;
mod overload;
#[cfg(feature = "cli")]
mod page;
#[cfg(feature = "cli")]
mod ports;
#[cfg(feature = "cli")]
mod programs;
mod proxied;
#[cfg(feature = "cli")]
mod readers;
#[cfg(feature = "cli")]
mod recipes;
#[cfg(all(feature = "cli", feature = "redis"))]
mod redis;
mod relay;
#[cfg(feature = "cli")]
mod reuse_port;
#[cfg(feature = "cli")]
mod silence;
#[cfg(feature = "cli")]
mod skipping;
mod stop;
mod support;
#[cfg(feature = "cli")]
mod systemd;
#[cfg(feature = "cli")]
mod terminal;
#[path = "../testing/mod.rs"]
mod testing;
#[cfg(feature = "cli")]
mod threads;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "cli")]
mod zone;
