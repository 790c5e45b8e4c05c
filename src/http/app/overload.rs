//! Requests over connections above a limit: only health checks and metrics are answered.

use std::net::SocketAddr;
use std::sync::Arc;

use super::request_log::RefusalLog;
use super::routes::Route;
use crate::connection::OverLimit;
use crate::display::advice_suffix;
use crate::http::protocol::head::{Head, parse};
use crate::http::protocol::request::Request;
use crate::http::protocol::response::{Code, Kind, Response};
use crate::service::{FirstRequest, ServerMonitor};
use crate::stats::Counter;

/// The number of connections above the limits that a server for [`Http`](crate::Http) should reserve: 16. A connection gets
/// one when its first request is complete, and so keeps it for milliseconds. One address gets a quarter of them at most.
pub const RESERVED_CONNECTIONS: u64 = 16;

/// The delay after which a refused client should try again: 5 s.
const RETRY_SECONDS: u32 = 5;

/// Refuses, counts and logs requests over connections above a limit.
#[derive(Debug)]
pub(super) struct Overload {
    own_monitor: Arc<dyn ServerMonitor>,
    log: Arc<RefusalLog>,
    advice: Option<fn(OverLimit) -> Option<String>>,
}

/// Returns the state of the request at the start of `received`. A request is a health check only if no byte follows it: a
/// connection whose peer goes on sending takes longer to close.
pub(crate) fn first_request(received: &[u8]) -> FirstRequest {
    match parse(received) {
        Ok(None) => FirstRequest::Incomplete,
        Ok(Some((len, head))) if len == received.len() && is_health_check(&head) => FirstRequest::HealthCheck,
        // A malformed or too large request is answered, too.
        Ok(Some(_)) | Err(_) => FirstRequest::Whole,
    }
}

fn is_health_check(head: &Head) -> bool {
    let is_health = Route::of(&head.path).is_some_and(|route| route.is_health());
    is_health && matches!(head.method.as_str(), "GET" | "HEAD") && head.content_length == 0
}

impl Overload {
    pub(super) fn new(
        own_monitor: Arc<dyn ServerMonitor>,
        log: Arc<RefusalLog>,
        advice: Option<fn(OverLimit) -> Option<String>>,
    ) -> Self {
        Self { own_monitor, log, advice }
    }

    /// Checks a request for `route`, `None` for an unknown path.
    ///
    /// # Errors
    /// The refusal, if the connection exceeds a limit and the path is not one of the health checks.
    pub(super) fn check(&self, request: &Request, route: Option<&Route>) -> Result<(), Response> {
        let Some(limit) = request.over_limit else { return Ok(()) };
        if route.is_some_and(Route::is_health) {
            return Ok(());
        }
        self.record(request.peer, limit);
        let message = self.describe(limit);
        let is_stream = matches!(route, Some(Route::Events | Route::Live));
        // An EventSource reconnects after the end of a stream, but gives up at any status except 200 (WHATWG HTML, section
        // 9.2). All other requests must not get 200: it would mean success.
        if request.head.accepts_events && request.head.method == "GET" && is_stream {
            let events = format!("retry: {RETRY_SECONDS}000\n\n: {message}\n\n");
            return Err(Response::new(Code::Ok, Kind::Events, events));
        }
        Err(Response::error(Code::Unavailable, &message).with("Retry-After", &RETRY_SECONDS.to_string()))
    }

    /// Counts and logs the refusal of a connection that exceeds `limit`.
    pub(super) fn record(&self, peer: SocketAddr, limit: OverLimit) {
        self.own_monitor.stats().count(match limit {
            OverLimit::Connections => Counter::Refused,
            OverLimit::PerAddress => Counter::RefusedPerIp,
        });
        let advice = advice_suffix(self.advice.and_then(|advice| advice(limit)));
        self.log.over_limit(peer, &(self.describe(limit) + &advice));
    }

    /// Returns the cause for the client. The operator's fix is in the log alone.
    fn describe(&self, limit: OverLimit) -> String {
        match limit {
            OverLimit::Connections => {
                format!("the limit of HTTP connections is reached ({})", self.own_monitor.max_connections())
            }
            OverLimit::PerAddress => "the limit of HTTP connections for one address is reached".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_health_request_alone_is_a_health_check() {
        let host = "HTTP/1.1\r\nHost: h\r\n";
        for (request, wanted) in [
            (String::new(), FirstRequest::Incomplete),
            ("GET /livez HTTP/1.1\r\n".to_owned(), FirstRequest::Incomplete),
            (format!("GET /livez {host}"), FirstRequest::Incomplete),
            (format!("GET /livez {host}\r\n"), FirstRequest::HealthCheck),
            (format!("HEAD /readyz {host}\r\n"), FirstRequest::HealthCheck),
            (format!("GET http://h/metrics {host}\r\n"), FirstRequest::HealthCheck),
            ("GET /status?x HTTP/1.0\r\n\r\n".to_owned(), FirstRequest::HealthCheck),
            (format!("GET /livez {host}\r\nGET"), FirstRequest::Whole),
            (format!("GET /livez {host}Content-Length: 1\r\n\r\n"), FirstRequest::Whole),
            (format!("POST /livez {host}\r\n"), FirstRequest::Whole),
            (format!("GET /map {host}\r\n"), FirstRequest::Whole),
            (format!("GET /livez {host}X: {}", "x".repeat(16 * 1024)), FirstRequest::Whole),
            ("\x16\x03\x01".to_owned(), FirstRequest::Whole),
        ] {
            assert_eq!(first_request(request.as_bytes()), wanted, "{request}");
        }
    }
}
