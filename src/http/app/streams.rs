//! Event streams: the map for any browser, and all that the page shows.

use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::Stream;
use super::document::{Document, Selection};
use super::filter::Filter;
use super::status::{MAX_CLIENTS, history_event, map_event_head};
use super::stream_notifier::PERIOD;
use crate::backlog::Payload;
use crate::connection::{Connection, Error};
use crate::http::Http;
use crate::http::protocol::body::Body;
use crate::http::protocol::head::Head;
use crate::http::protocol::response::{Code, Kind, Response};
use crate::service::CloseReason;
use crate::shutdown::Shutdown;
use crate::threads::WakeReason;

/// How long a browser waits before it connects again: 1 s, where browsers wait 3 to 5 of themselves.
const RETRY: &str = "retry: 1000\n\n";

/// How long a stream says nothing at most: 15 s, as the WHATWG advises (HTML, section 9.2.7). Proxies cut what is silent for
/// longer: nginx after 60 s (`proxy_read_timeout`).
const SILENCE: Duration = Duration::from_secs(15);

/// What a stream says that has no news: a comment, which no client takes for an event.
const COMMENT: &[u8] = b":\n\n";

/// How often the page has the list of clients.
const CLIENTS_PERIOD: Duration = Duration::from_secs(2);

/// One event of a stream. `data` is one line: JSON has no other line ends than those it escapes.
pub(crate) fn event(name: &str, id: Option<u64>, data: &str) -> String {
    let name = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("{name}{id}data: {data}\n\n")
}

impl Http {
    /// Returns how the answer to `head`, which asks for a stream, begins.
    pub(crate) fn stream_response(&self, head: &Head, connection: &Connection) -> Response {
        self.finish(Response::new(Code::Ok, Kind::Events, ""), Some(head), connection)
    }

    /// Begins `stream` with `response` and goes on with it until the client leaves or the server stops; for HEAD, only says
    /// that it would.
    ///
    /// # Errors
    /// What the connection failed with.
    pub(crate) fn stream(
        &self,
        stream: Stream,
        response: Response,
        is_head: bool,
        connection: &mut Connection,
        stop: &Shutdown,
    ) -> Result<CloseReason, Error> {
        connection.send(&response.into_stream_head())?;
        if is_head {
            return Ok(CloseReason::Done);
        }
        // Before the first look at the map: a change between the look and the wait then wakes this thread.
        let _subscription = self.subscribers.subscribe(connection.waker(WakeReason::Update));
        connection.send(RETRY.as_bytes())?;
        match stream {
            Stream::Map(filter) => self.stream_map(filter.as_ref(), connection, stop),
            Stream::Page => self.stream_page(connection, stop),
        }
    }

    /// Sends the map, or those of its entries that `filter` names: at once, when it changes, and at least every interval.
    ///
    /// # Errors
    /// What the connection failed with.
    fn stream_map(
        &self,
        filter: Option<&Arc<Filter>>,
        connection: &mut Connection,
        stop: &Shutdown,
    ) -> Result<CloseReason, Error> {
        let (mut version, mut sent, mut due) = (0, None, Instant::now());
        let mut comment_due = after(SILENCE);
        while !stop.is_triggered() {
            let is_due = Instant::now() >= due;
            // Only ever the newest map: a stream that was slow has skipped those in between.
            let news = self.shown().filter(|rendering| is_due || rendering.version > version);
            if let Some(rendering) = news {
                version = rendering.version;
                let selection = filter.map(|filter| rendering.select(filter));
                let fingerprint = selection.as_ref().map(|selection| selection.fingerprint);
                // What has changed may be none of what this stream has asked for.
                if is_due || fingerprint.is_none() || fingerprint != sent {
                    let document = Arc::clone(&rendering.document);
                    // All that is kept while a slow client takes it is the text.
                    drop(rendering);
                    send_map(&document, selection.as_deref(), connection)?;
                    due = after(self.config.interval);
                    comment_due = after(SILENCE);
                    sent = fingerprint;
                }
            } else if is_due {
                connection.send(b": no map yet\n\n")?;
                due = after(self.config.interval);
                comment_due = after(SILENCE);
            }
            if Instant::now() >= comment_due {
                connection.send(COMMENT)?;
                comment_due = after(SILENCE);
            }
            // With an interval below the silence the comment is never due first.
            if connection.wait(Some(due.min(comment_due)))?.contains(WakeReason::Input) && connection.discard_input()? {
                return Ok(CloseReason::Client);
            }
        }
        Ok(CloseReason::Stopping)
    }

    /// Sends all that the page shows: the history once, the map when it changes, the status each second, the clients
    /// every two. It is never silent for long enough to need a comment.
    ///
    /// # Errors
    /// What the connection failed with.
    fn stream_page(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        let history = history_event(PERIOD, &self.subscribers.history());
        connection.send(event("history", None, &history).as_bytes())?;
        let (mut version, mut status_due, mut clients_due) = (0, Instant::now(), Instant::now());
        while !stop.is_triggered() {
            let (now, shown) = (Instant::now(), self.shown());
            let status = (now >= status_due).then(|| event("status", None, &self.status(shown.as_deref())));
            if let Some(rendering) = shown.filter(|rendering| rendering.version > version) {
                version = rendering.version;
                // In parts: the entries are the same for all pages, how old they are is not.
                let head = format!("event: map\nid: {version}\ndata: {}", map_event_head(&rendering));
                let entries = Arc::clone(rendering.entries());
                // As with the map's own events.
                drop(rendering);
                let payload = Payload::new(version, entries.as_bytes());
                connection.send_parts([head.as_bytes(), entries.as_bytes(), b"}\n\n"], Some(payload))?;
            }
            if let Some(status) = status {
                connection.send(status.as_bytes())?;
                status_due = after(PERIOD);
            }
            if now >= clients_due {
                let clients = Body::from(self.view().clients(MAX_CLIENTS));
                let [list, end] = clients.parts();
                // The list ends with one line feed, the event with another.
                connection.send_parts([b"event: clients\ndata: ", list, end, b"\n"], None)?;
                clients_due = after(CLIENTS_PERIOD);
            }
            if connection.wait(Some(status_due))?.contains(WakeReason::Input) && connection.discard_input()? {
                return Ok(CloseReason::Client);
            }
        }
        Ok(CloseReason::Stopping)
    }
}

/// Sends the event of the map, or of what is selected of it.
///
/// # Errors
/// What the connection failed with.
fn send_map(document: &Document, selection: Option<&Selection>, connection: &mut Connection) -> Result<(), Error> {
    let head = format!("id: {}\ndata: ", document.version());
    let whole = selection.is_none().then_some(document.json());
    let narrowed = selection.into_iter().flat_map(|selection| document.narrowed(selection));
    let parts = iter::once(head.as_str()).chain(whole).chain(narrowed).chain(iter::once("\n\n"));
    connection.send_parts(parts.map(str::as_bytes), Some(document.payload()))
}

fn after(period: Duration) -> Instant {
    let now = Instant::now();
    // A period beyond the clock's end is a day.
    now.checked_add(period).unwrap_or(now + Duration::from_hours(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_fields_and_an_empty_line() {
        assert_eq!(event("", Some(7), "{}"), "id: 7\ndata: {}\n\n");
        assert_eq!(event("status", None, "{}"), "event: status\ndata: {}\n\n");
    }
}
