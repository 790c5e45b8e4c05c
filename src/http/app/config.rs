//! The configuration of the service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::token::TokenFile;
use crate::format::Format;
use crate::state::StateFile;
use crate::stats::health::Health;
use crate::threads::Threads;

/// What the service shows, and which clients may read and change the map.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The longest time between two events of a stream that repeat the map. Must not be zero.
    pub interval: Duration,
    /// The addresses that the server listens on. The Host of a request must be one of them, loopback, or in `hosts`.
    pub listen: Vec<SocketAddr>,
    /// The ports of the map, with their formats, for the status.
    pub ports: Vec<ShownPort>,
    /// Further hosts that requests may name, in the form that [`parse_host`](super::super::parse_host) accepts.
    pub hosts: Vec<String>,
    /// The origin whose pages may read responses (`https://app.example`, or `*`); `None` for none, the default. It becomes a
    /// header's value unchanged: check it with [`parse_origin`].
    pub allow_origin: Option<String>,
    /// The token that permits changes; `None` forbids them.
    pub token: Option<TokenFile>,
    /// The file that keeps the changed map.
    pub state: Option<StateFile>,
    /// The map's source, if it should be shown.
    pub source: Option<ShownSource>,
    /// The number of log lines that the program has dropped, if it should be shown. The library only reads it.
    pub dropped_log_lines: Option<Arc<AtomicU64>>,
    /// The long-lived threads, including this service's own: `/livez` and `/readyz` report the stuck ones.
    pub threads: Threads,
}

/// A port of the map, as the service shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownPort {
    /// Its address.
    pub addr: SocketAddr,
    /// The format of the map there.
    pub format: Format,
}

/// A source, as the service shows it.
#[derive(Debug, Clone)]
pub struct ShownSource {
    /// Its name, which anyone may read: without a password.
    pub name: String,
    /// Its health.
    pub health: Arc<Health>,
}

/// Returns `text` if it is an origin, such as `https://app.example:8443`, or `*` for all origins.
///
/// # Errors
/// If `text` is neither.
pub fn parse_origin(text: &str) -> Result<String, OriginError> {
    let refused = || OriginError(text.to_owned());
    if text == "*" {
        return Ok(text.to_owned());
    }
    let (scheme, authority) = text.split_once("://").ok_or_else(refused)?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_authority = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    };
    let is_origin = is_scheme && !authority.is_empty() && authority.bytes().all(is_authority);
    if is_origin { Ok(text.to_owned()) } else { Err(refused()) }
}

/// The text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{}\" is not an origin: write https://app.example without a path, in lower case, or * for all",
    .0.escape_debug()
)]
pub struct OriginError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host_in_lower_case() {
        for origin in ["*", "https://app.example", "http://localhost:3000", "https://[::1]:8443"] {
            assert_eq!(parse_origin(origin).as_deref(), Ok(origin));
        }
        for other in ["", "app.example", "https://", "https://app.example/", "https://a\r\nX: y", "https://a b", "null"]
        {
            assert!(parse_origin(other).is_err(), "{other}");
        }
    }
}
