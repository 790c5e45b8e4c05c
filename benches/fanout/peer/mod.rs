//! Other publish/subscribe servers: how they are started, published to, and subscribed to.
//!
//! Each subscriber has one subscription to the only topic. Nothing is stored, logged or acknowledged.

pub mod mosquitto;
pub mod nats;
pub mod redis;

use crate::support::wire::WireError;

/// The topic of all subscribers.
const TOPIC: &str = "map";

/// Returns the first line of `bytes` without its CR LF, and its length with it; `None` if the line is incomplete.
fn split_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], end + 2))
}

/// Returns the number in `digits`, if it is at most `max`.
fn parse_len(digits: &[u8], max: usize) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok().filter(|len| *len <= max)
}

fn foreign(protocol: &'static str, bytes: &[u8]) -> WireError {
    WireError::Foreign { protocol, start: bytes[..bytes.len().min(40)].escape_ascii().to_string() }
}
