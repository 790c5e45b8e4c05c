//! mapcast sends the current state to every connected program.
//!
//! One server holds one map. Each client receives the whole map on connect, on every change, and at least every N seconds,
//! over plain TCP, without a broker. A frame is a 10-byte ASCII length and the payload: bincode, JSON, MessagePack, pickle
//! or text. This is the library; the programs `mapcast-server` and `mapcast-client` use only its public interface.
//!
//! # Getting started
//! A server with a feed, and a client that reads it:
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use mapcast::{Cast, Client, ClientConfig, Feed, Format, Map, Server, ServerConfig, Shutdown};
//!
//! let feed = Arc::new(Feed::new(Format::Json, mapcast::DEFAULT_MAX_FRAME));
//! feed.publish(&Map::from([("dark".into(), true.into())]))?;
//!
//! let mut server = Server::new(ServerConfig::default());
//! server.bind(&["127.0.0.1:0".parse()?], Cast::new(Arc::clone(&feed), Duration::from_secs(5)))?;
//! let address = server.local_addrs()[0].to_string();
//! let running = server.spawn(Shutdown::new()?)?;
//!
//! let mut client = Client::connect(&address, &ClientConfig::default(), &Shutdown::new()?)?;
//! assert_eq!(client.next_map()?, Some(Map::from([("dark".into(), true.into())])));
//!
//! feed.publish(&Map::from([("dark".into(), false.into())]))?;
//! assert_eq!(client.next_map()?, Some(Map::from([("dark".into(), false.into())])));
//!
//! assert_eq!(running.stop()?.served, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! Any serde type can be published and read instead of a map: [`Feed::publish_typed`], [`Client::next_typed`]. A
//! [`Follower`] is a client that reconnects by itself. A [`Service`] of your own can use the same accept loop, limits and
//! stop.
//!
//! # Layout
//! From the bytes upward; `docs/design.md` has the threads, the locks and the dependencies between modules.
//! - [`map`]: the map, its keys and values. [`frame`]: the header, and reading and writing frames. [`mod@format`]: the five
//!   payload formats.
//! - [`backlog`]: the memory limit for slow peers. [`feed`]: the current map, encoded once. [`source`]: where the map comes
//!   from, and [`stats::health`]: the health of a source. [`state`]: the file that keeps the map across restarts, and
//!   [`files::atomic_file`]: atomic replacement of files. [`shutdown`]: the request to stop. [`threads`]: long-lived threads,
//!   and the detection of stuck ones.
//! - [`connection`]: one client's connection, its deadlines and its notifier. [`service`]: what the server does for a client.
//!   [`http`]: the page, events, metrics and changes of the map. [`server`]: listeners, threads, limits. [`stats`]: counters. [`tls`]: certificates and handshakes, for both ends.
//! - [`client`]: reading over one connection, or with reconnects. [`display::units`]: durations and sizes in human-readable
//!   form. [`client::address`]: addresses.

#![deny(unsafe_code)] // except in `platform/send_ring.rs` and `platform/readiness.rs`

pub mod backlog;
pub mod client;
pub mod connection;
pub mod display;
pub mod feed;
pub mod files;
pub mod format;
pub mod frame;
pub mod http;
pub mod map;
mod platform;
pub mod server;
pub mod service;
pub mod shutdown;
pub mod source;
pub mod state;
pub mod stats;
mod stream;
mod sync;
#[cfg(test)]
#[path = "../tests/testing/mod.rs"]
mod testing;
pub mod threads;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/disabled.rs"]
pub mod tls;

pub use backlog::Backlog;
pub use client::{Client, ClientConfig, FollowConfig, Follower};
pub use feed::Feed;
pub use format::Format;
pub use frame::DEFAULT_MAX_FRAME;
pub use http::Http;
pub use map::{Key, Map, Value, builtin as builtin_map};
pub use server::{Config as ServerConfig, Server};
pub use service::{Cast, Echo, Greet, SendMode, Service};
pub use shutdown::Shutdown;

/// The README's example, compiled and run with the other doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
