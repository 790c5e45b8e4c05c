//! What is answered above the limits on connections: health checks, and to everything else that there is no room.

use std::sync::PoisonError;

use super::Http;
use super::head::Head;
use super::response::{Code, Kind, Response};
use crate::connection::{Connection, OverLimit};
use crate::stats::Event;
use crate::throttle::more;

/// The connections above the limits that a server for [`Http`] should have in reserve: 16. A health check takes one for
/// milliseconds, and a silent peer for 2 s; one address has a quarter of them at most.
pub const RESERVED_CONNECTIONS: u64 = 16;

/// When a client may try again: after 5 s.
const RETRY_SECONDS: u32 = 5;

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

    /// Counts and logs that a connection is turned away because it exceeds a limit, if it does.
    pub(super) fn note_over(&self, connection: &Connection) {
        let Some(limit) = connection.over_limit() else { return };
        self.own.stats().count(match limit {
            OverLimit::Connections => Event::Refused,
            OverLimit::PerAddress => Event::RefusedPerIp,
        });
        let passed = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).pass();
        if let Some(held) = passed {
            log::warn!("http client {} refused: {}{}", connection.peer(), self.explain_limit(limit), more(held));
        }
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
