//! Event streams: the map for any client, and everything that the page shows.

use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clients::MAX_CLIENTS;
use super::document::{Document, Selection};
use super::filter::Filter;
use super::rendering::Renderer;
use super::reply::Stream;
use super::status::{history_json, map_event_start, status_json};
use super::stream_notifier::{PERIOD, StreamSubscribers};
use super::telemetry::Telemetry;
use crate::backlog::Payload;
use crate::connection::{Connection, Error, send_parts};
use crate::http::protocol::event::{COMMENT, MAX_SILENCE, RETRY, event};
use crate::http::protocol::response::Response;
use crate::http::protocol::response_body::ResponseBody;
use crate::service::CloseReason;
use crate::shutdown::Shutdown;
use crate::threads::WakeReason;

/// The period of the page's list of clients.
const CLIENTS_PERIOD: Duration = Duration::from_secs(2);

/// Sends event streams.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(super) renderer: Arc<Renderer>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) subscribers: Arc<StreamSubscribers>,
}

impl Streams {
    /// Sends the head of `response`, then `stream` until the client closes or the server stops; for HEAD only the head.
    ///
    /// # Errors
    /// If the connection fails.
    pub(crate) fn serve(
        &self,
        stream: &Stream,
        response: Response,
        is_head: bool,
        connection: &mut Connection,
        stop: &Shutdown,
    ) -> Result<CloseReason, Error> {
        connection.send(&response.into_stream_head())?;
        if is_head {
            return Ok(CloseReason::Done);
        }
        // Subscribe before the map is read: a change between reading and waiting then wakes this thread.
        let _subscription = self.subscribers.subscribe(connection.waker(WakeReason::Update));
        connection.send(RETRY.as_bytes())?;
        match *stream {
            Stream::Map(ref filter) => self.send_map_events(filter.as_ref(), connection, stop),
            Stream::Page { is_writable } => self.send_page_events(is_writable, connection, stop),
        }
    }

    /// Sends the map, or the entries that `filter` selects: at once, when it changes, and at least every interval.
    fn send_map_events(
        &self,
        filter: Option<&Arc<Filter>>,
        connection: &mut Connection,
        stop: &Shutdown,
    ) -> Result<CloseReason, Error> {
        let interval = self.telemetry.interval;
        let (mut version, mut sent_fingerprint, mut due) = (0, None, Instant::now());
        let mut comment_due = after(MAX_SILENCE);
        while !stop.is_triggered() {
            let is_due = Instant::now() >= due;
            // Always the newest map: a slow stream skips the versions in between.
            let news = self.renderer.shown().filter(|rendering| is_due || rendering.version > version);
            if let Some(rendering) = news {
                version = rendering.version;
                let selection = filter.map(|filter| rendering.select(filter));
                let fingerprint = selection.as_ref().map(|selection| selection.fingerprint);
                // The change may concern none of the selected entries.
                if is_due || fingerprint.is_none() || fingerprint != sent_fingerprint {
                    let document = Arc::clone(&rendering.document);
                    // While a slow client reads it, only the text stays in memory.
                    drop(rendering);
                    send_map(&document, selection.as_deref(), connection)?;
                    due = after(interval);
                    comment_due = after(MAX_SILENCE);
                    sent_fingerprint = fingerprint;
                }
            } else if is_due {
                connection.send(b": no map yet\n\n")?;
                due = after(interval);
                comment_due = after(MAX_SILENCE);
            }
            if Instant::now() >= comment_due {
                connection.send(COMMENT)?;
                comment_due = after(MAX_SILENCE);
            }
            // With an interval below the maximum silence, the comment is never due first.
            if connection.wait(Some(due.min(comment_due)))?.contains(WakeReason::Input) && connection.discard_input()? {
                return Ok(CloseReason::Client);
            }
        }
        Ok(CloseReason::Stopping)
    }

    /// Sends everything that the page shows: the history once, the map when it changes, the status every second, the clients
    /// every two. Such a stream is never silent for long enough to need a comment.
    fn send_page_events(
        &self,
        is_writable: bool,
        connection: &mut Connection,
        stop: &Shutdown,
    ) -> Result<CloseReason, Error> {
        let history = history_json(PERIOD, &self.subscribers.history());
        connection.send(event("history", None, &history).as_bytes())?;
        let (mut version, mut status_due, mut clients_due) = (0, Instant::now(), Instant::now());
        while !stop.is_triggered() {
            let (now, shown) = (Instant::now(), self.renderer.shown());
            let status = (now >= status_due)
                .then(|| event("status", None, &status_json(&self.telemetry, is_writable, shown.as_deref())));
            if let Some(rendering) = shown.filter(|rendering| rendering.version > version) {
                version = rendering.version;
                // In parts: all pages share the entries, but the age differs.
                let start = format!("event: map\nid: {version}\ndata: {}", map_event_start(&rendering));
                let entries = Arc::clone(rendering.entries());
                // As in a stream of the map.
                drop(rendering);
                let payload = Payload::new(version, entries.as_bytes());
                send_parts(connection, [start.as_bytes(), entries.as_bytes(), b"}\n\n"], Some(payload))?;
            }
            if let Some(status) = status {
                connection.send(status.as_bytes())?;
                status_due = after(PERIOD);
            }
            if now >= clients_due {
                let clients = ResponseBody::from(self.telemetry.snapshot().clients(MAX_CLIENTS));
                let [list, end] = clients.parts();
                // The list ends with one line feed, the event with another.
                send_parts(connection, [b"event: clients\ndata: ", list, end, b"\n"], None)?;
                clients_due = after(CLIENTS_PERIOD);
            }
            if connection.wait(Some(status_due))?.contains(WakeReason::Input) && connection.discard_input()? {
                return Ok(CloseReason::Client);
            }
        }
        Ok(CloseReason::Stopping)
    }
}

/// Sends one event with the map, or with the selected entries.
fn send_map(document: &Document, selection: Option<&Selection>, connection: &mut Connection) -> Result<(), Error> {
    let start = format!("id: {}\ndata: ", document.version());
    let whole = selection.is_none().then_some(document.json());
    let selected = selection.into_iter().flat_map(|selection| document.selected(selection));
    let parts = iter::once(start.as_str()).chain(whole).chain(selected).chain(iter::once("\n\n"));
    send_parts(connection, parts.map(str::as_bytes), Some(document.payload()))
}

fn after(period: Duration) -> Instant {
    let now = Instant::now();
    // A period that the clock cannot represent becomes a day.
    now.checked_add(period).unwrap_or(now + Duration::from_hours(24))
}
