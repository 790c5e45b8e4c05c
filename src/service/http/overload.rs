//! What is answered above the limits on connections: health checks, and to everything else that there is no room.

use super::Http;
use super::head::{Head, parse};
use super::response::{Code, Kind, Response};
use super::route::Route;
use crate::connection::{Connection, OverLimit};
use crate::service::FirstRequest;
use crate::stats::Counter;

/// The connections above the limits that a server for [`Http`] should have in reserve: 16. A connection gets one when its
/// request is whole, and so takes it for milliseconds; one address has a quarter of them at most.
pub const RESERVED_CONNECTIONS: u64 = 16;

/// When a client may try again: after 5 s.
const RETRY_SECONDS: u32 = 5;

/// Returns how far the request has come that `received` begins with. A health check is one that nothing follows: the end of
/// a connection waits for a peer that goes on sending.
pub(super) fn first_request(received: &[u8]) -> FirstRequest {
    match parse(received) {
        Ok(None) => FirstRequest::Incomplete,
        Ok(Some((len, head))) if len == received.len() && is_health_check(&head) => FirstRequest::HealthCheck,
        // What is malformed or too long is answered as well.
        Ok(Some(_)) | Err(_) => FirstRequest::Whole,
    }
}

fn is_health_check(head: &Head) -> bool {
    let asks_health = Route::of(&head.path).is_some_and(|route| route.is_health());
    asks_health && matches!(head.method.as_str(), "GET" | "HEAD") && head.content_length == 0
}

impl Http {
    /// Refuses what `head` asks for over a connection that exceeds `limit`; `is_stream` if that is a stream of events.
    pub(super) fn refuse_over(
        &self,
        limit: OverLimit,
        head: &Head,
        is_stream: bool,
        connection: &Connection,
    ) -> Response {
        self.note_over(connection);
        let why = self.explain_limit(limit);
        // An EventSource gives up for good at any status but 200, and reconnects after an end (WHATWG HTML, section 9.2).
        // Only there: 200 to anything else would say that it was done.
        if head.accepts_events && head.method == "GET" && is_stream {
            return Response::new(Code::Ok, Kind::Events, format!("retry: {RETRY_SECONDS}000\n\n: {why}\n\n"));
        }
        Response::refusal(Code::Unavailable, &why).with("Retry-After", &RETRY_SECONDS.to_string())
    }

    /// Counts and logs that a connection is refused because it exceeds a limit, if it does.
    pub(super) fn note_over(&self, connection: &Connection) {
        let Some(limit) = connection.over_limit() else { return };
        self.own.stats().count(match limit {
            OverLimit::Connections => Counter::Refused,
            OverLimit::PerAddress => Counter::RefusedPerIp,
        });
        self.change_log.over_limit(connection.peer(), &self.explain_limit(limit));
    }

    fn explain_limit(&self, limit: OverLimit) -> String {
        match limit {
            OverLimit::Connections => {
                format!("{} connections are the limit (--http-max-connections)", self.own.max_connections())
            }
            OverLimit::PerAddress => {
                "the address has as many connections as one may have (--max-connections-per-ip)".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_request_for_the_health_alone_is_a_health_check() {
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
