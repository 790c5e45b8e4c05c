//! The configuration of the service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::token::TokenFile;
use crate::connection::OverLimit;
use crate::service::SendMode;
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
    /// Further hosts that requests may name, in the form that [`parse_host`](super::super::parse_host) accepts.
    pub hosts: Vec<String>,
    /// The origin whose pages may read responses (`https://app.example`, or `*`); `None` for none, the default. It becomes a
    /// header's value unchanged: check it with [`parse_origin`].
    pub allow_origin: Option<String>,
    /// Returns the fix for requests that a limit refuses, such as an option of the program. The log has it after the
    /// refusal, which the client gets without it. `None` for no advice, the default.
    pub limit_advice: Option<fn(OverLimit) -> Option<String>>,
    /// The token that permits changes; `None` forbids them.
    pub token: Option<TokenFile>,
    /// The file that keeps the changed map.
    pub state: Option<StateFile>,
    /// The map's source, if it should be shown.
    pub source: Option<ShownSource>,
    /// How the map is sent to the clients of the map's server, if it should be shown.
    pub send: Option<SendMode>,
    /// The ports that send the map, if they should be shown.
    pub map_ports: Vec<MapPort>,
    /// The number of log lines that the program has dropped, if it should be shown. The library only reads it.
    pub dropped_log_lines: Option<Arc<AtomicU64>>,
    /// The long-lived threads, including this service's own: `/livez` and `/readyz` report the stuck ones.
    pub threads: Threads,
}

/// A source, as the service shows it.
#[derive(Debug, Clone)]
pub struct ShownSource {
    /// Its name, which anyone may read: without a password.
    pub name: String,
    /// Its health.
    pub health: Arc<Health>,
}

/// A port that sends the map, as the service shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct MapPort {
    /// The address that the map's server listens on.
    pub addr: SocketAddr,
    /// The name of the format.
    pub format: &'static str,
    /// Whether clients need TLS.
    pub tls: bool,
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

    #[test]
    fn the_error_has_its_text() {
        assert_eq!(
            OriginError("\n".to_owned()).to_string(),
            "\"\\n\" is not an origin: write https://app.example without a path, in lower case, or * for all"
        );
    }
}
