//! Other programs that pass one message to many: how they are started, told of a change, and listened to.
//!
//! Each subscriber has one subscription, to the one topic; nobody keeps, logs or acknowledges anything.

pub mod mosquitto;
pub mod nats;
pub mod redis;

use crate::support::wire::WireError;

/// What everybody subscribes to.
const TOPIC: &str = "map";

/// The first line of `bytes`, without its CR LF, and the bytes of the whole of it; `None` if it has not come whole.
fn split_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], end + 2))
}

/// The number that `digits` write, if it is none above `max`.
fn parse_len(digits: &[u8], max: usize) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok().filter(|len| *len <= max)
}

fn foreign(protocol: &'static str, bytes: &[u8]) -> WireError {
    WireError::Foreign { protocol, start: bytes[..bytes.len().min(40)].escape_ascii().to_string() }
}
