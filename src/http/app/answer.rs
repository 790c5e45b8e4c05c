//! What a request comes to: who may ask, what is shown, what is written.

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use super::changes::{self, Change, Writer};
use super::document::Document;
use super::filter::Filter;
use super::page;
use super::routes::Route;
use super::status::MAX_CLIENTS;
use crate::backlog::Reservation;
use crate::connection::{self, Connection};
use crate::display::error_chain::ErrorChain;
use crate::format;
use crate::http::protocol::body::Part;
use crate::http::protocol::head::{Content, Head};
use crate::http::protocol::preconditions::PreconditionError;
use crate::http::protocol::query::{self, Query};
use crate::http::protocol::request::{ReadOutcome, Requests};
use crate::http::protocol::response::{Code, Kind, Response};
use crate::http::{Http, loggable};
use crate::map::Key;
use crate::shutdown::Shutdown;

/// What a request comes to, before its body is read.
pub(crate) enum Handled<'http> {
    /// This, at once.
    Whole(Response),
    /// Events, until one of both leaves.
    Stream(Stream),
    /// A change of the map, if whoever asks for it may.
    Write(&'http Writer, ChangeKind),
}

/// What is streamed.
pub(crate) enum Stream {
    /// The map, narrowed to these keys.
    Map(Option<Arc<Filter>>),
    /// All that the page shows.
    Page,
}

/// What kind of change is asked for.
pub(crate) enum ChangeKind {
    Replace,
    Patch,
    Set(Key),
    Remove(Key),
}

/// A change that is asked for, with the whole body of its request.
pub(crate) struct Submission {
    kind: ChangeKind,
    body: Vec<u8>,
    /// The body's memory.
    _reservation: Reservation,
}

impl Submission {
    fn decode(self) -> Result<Change, Response> {
        match self.kind {
            ChangeKind::Replace => Change::from_body(&self.body, Change::Replace),
            ChangeKind::Patch => Change::from_body(&self.body, Change::Patch),
            ChangeKind::Set(key) => Change::set(key, &self.body),
            ChangeKind::Remove(key) => Ok(Change::Remove(key)),
        }
    }
}

/// The most clients that `query` asks for; `None` if that is no number.
fn limit(query: &Query<'_>) -> Option<usize> {
    let mut asked = query.values("limit");
    match (asked.next(), asked.next()) {
        (None, _) => Some(MAX_CLIENTS),
        (Some(limit), None) => query::decode(limit)?.parse().ok(),
        (Some(_), Some(_)) => None,
    }
}

impl Http {
    /// What `head` comes to: what a peer asks for is looked at in an order in which nothing of its body is read, and
    /// nothing of the map told, before it may.
    pub(crate) fn answer(&self, head: &Head, connection: &Connection) -> Handled<'_> {
        if head.is_https.is_some_and(|is_https| is_https != connection.is_encrypted()) {
            // RFC 9110, section 7.4.
            let why = "the target's scheme is not this listener's: https:// needs TLS, and http:// must not have it";
            return Handled::Whole(Response::refusal(Code::Misdirected, why));
        }
        if head.host.as_ref().is_some_and(|host| !self.hosts.admit(host)) {
            let why = "this listener is not called that: name it with --http-host, or ask by its address";
            return Handled::Whole(Response::refusal(Code::Misdirected, why));
        }
        let route = Route::of(&head.path);
        if let Some(limit) = connection.over_limit()
            && !route.as_ref().is_some_and(Route::is_health)
        {
            let is_stream = matches!(route, Some(Route::Events | Route::Live));
            return Handled::Whole(self.refuse_over(limit, head, is_stream, connection));
        }
        let is_writable = self.writer.is_some();
        if head.path == "*" && head.method == "OPTIONS" {
            return Handled::Whole(self.options("GET, HEAD, OPTIONS"));
        }
        let Some(route) = route else {
            return Handled::Whole(Response::refusal(Code::NotFound, "nothing here; / is the page"));
        };
        if !route.takes(&head.method, is_writable) {
            let methods = route.methods(is_writable);
            let writing = if is_writable { "" } else { "; writing is on with --http-token-file" };
            let refusal = Response::refusal(Code::MethodNotAllowed, &format!("taken here: {methods}{writing}"));
            return Handled::Whole(refusal.with("Allow", methods));
        }
        if head.method == "OPTIONS" {
            return Handled::Whole(self.options(route.methods(is_writable)));
        }
        let query = match Query::parse(&head.query, route.parameters(), |name| route.ignores(name)) {
            Ok(query) => query,
            Err(unknown) => return Handled::Whole(Response::refusal(Code::BadRequest, &unknown.to_string())),
        };
        match (route, &self.writer) {
            (Route::Entry(key), Some(writer)) if head.method == "DELETE" => {
                Handled::Write(writer, ChangeKind::Remove(key))
            }
            (Route::Entry(key), Some(writer)) if head.method == "PUT" => Handled::Write(writer, ChangeKind::Set(key)),
            (Route::Map, Some(writer)) if head.method == "PUT" => Handled::Write(writer, ChangeKind::Replace),
            (Route::Map, Some(writer)) if head.method == "PATCH" => Handled::Write(writer, ChangeKind::Patch),
            (Route::Live, _) => Handled::Stream(Stream::Page),
            (Route::Events, _) => match Filter::new(query.list("keys")) {
                Ok(filter) => Handled::Stream(Stream::Map(filter.map(Arc::new))),
                Err(error) => Handled::Whole(Response::refusal(Code::BadRequest, &format!("keys: {error}"))),
            },
            (route, _) => Handled::Whole(self.show(&route, head, &query)),
        }
    }

    fn show(&self, route: &Route, head: &Head, query: &Query<'_>) -> Response {
        let json = |json: String| Response::new(Code::Ok, Kind::Json, json + "\n");
        match route {
            Route::Page => Response::new(Code::Ok, Kind::Html, page::PAGE).with_policy(&self.policy),
            Route::Map => self.show_map(head, |map| Some(0..map.json().len())),
            Route::Entry(key) => self.show_map(head, |map| map.value(&format::write_value(&key.to_string()).ok()?)),
            Route::Status => json(self.status(self.shown().as_deref())),
            Route::Clients => match limit(query) {
                Some(limit) => Response::new(Code::Ok, Kind::Json, self.view().clients(limit)),
                None => Response::refusal(Code::BadRequest, "limit: one number from 0 to 1000"),
            },
            Route::Metrics => Response::new(Code::Ok, Kind::Metrics, self.metrics(self.shown().as_deref())),
            Route::Livez => match self.config.threads.fatal_problem() {
                Some(problem) => Response::refusal(Code::Unavailable, &problem.text),
                None => Response::new(Code::Ok, Kind::Text, "live\n"),
            },
            Route::Readyz if self.stop.is_triggered() => Response::refusal(Code::Unavailable, "stopping"),
            Route::Readyz if self.feed.version() == 0 => Response::refusal(Code::Unavailable, "no map yet"),
            Route::Readyz => match &self.config.threads.problems()[..] {
                [] => Response::new(Code::Ok, Kind::Text, "ready\n"),
                problems => {
                    let texts: Vec<_> = problems.iter().map(|problem| problem.text.as_str()).collect();
                    Response::refusal(Code::Unavailable, &texts.join("\n"))
                }
            },
            // Those that are streamed.
            Route::Live | Route::Events => Response::refusal(Code::NotFound, "nothing to show"),
        }
    }

    /// Shows the part of the current map that `pick` finds in its JSON, under the map's tag. That `pick` finds nothing there
    /// comes before what the conditions say (RFC 9110, section 13.2.1).
    fn show_map(&self, head: &Head, pick: impl FnOnce(&Document) -> Option<Range<usize>>) -> Response {
        let rendering = match self.renderer.latest() {
            Ok(Some(rendering)) => rendering,
            Ok(None) => return Response::refusal(Code::Unavailable, "no map yet"),
            Err(error) => return Response::refusal(Code::InternalError, &ErrorChain(&error).to_string()),
        };
        let document = &rendering.document;
        let Some(range) = pick(document) else {
            return Response::refusal(Code::NotFound, &changes::Error::Missing.to_string());
        };
        let response = match head.conditions.check(Some(&rendering.etag)) {
            Ok(()) => {
                let text = Arc::clone(document) as _;
                Response::new(Code::Ok, Kind::Json, Part { text, range, tail: "\n", payload: Some(document.payload()) })
            }
            Err(PreconditionError::Known) => Response::new(Code::NotModified, Kind::Json, ""),
            Err(lost @ PreconditionError::Lost) => {
                return Response::refusal(Code::PreconditionFailed, &lost.to_string());
            }
        };
        response.with("ETag", &rendering.etag).revalidated()
    }

    /// What may be done here, and by pages of which origin.
    fn options(&self, methods: &'static str) -> Response {
        let response = Response::new(Code::NoContent, Kind::Text, "").with("Allow", methods);
        if self.config.allow_origin.is_none() {
            return response;
        }
        response
            .with("Access-Control-Allow-Methods", methods)
            .with("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID")
            .with("Access-Control-Max-Age", "600")
    }

    /// Takes the body of a request for a change, if whoever sends it may.
    ///
    /// # Errors
    /// What the connection failed with.
    pub(crate) fn take_change(
        &self,
        writer: &Writer,
        kind: ChangeKind,
        head: &Head,
        requests: &mut Requests,
        connection: &mut Connection,
        stop: &Shutdown,
    ) -> Result<ReadOutcome<Submission>, connection::Error> {
        if let Some(refusal) = self.refuse_writing(writer, head, connection) {
            return Ok(ReadOutcome::Refused(refusal));
        }
        let Some(reservation) = self.feed.backlog().reserve(head.content_length) else {
            let why = "too many bodies at once; send it again, or raise --max-backlog";
            return Ok(ReadOutcome::Refused(Response::refusal(Code::Unavailable, why).with("Retry-After", "1")));
        };
        if head.expects_continue && requests.has_outstanding_body() {
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(match requests.read_body(head.content_length, connection, stop)? {
            ReadOutcome::Whole(body) => ReadOutcome::Whole(Submission { kind, body, _reservation: reservation }),
            ReadOutcome::Over(reason) => ReadOutcome::Over(reason),
            ReadOutcome::Refused(refusal) => ReadOutcome::Refused(refusal),
        })
    }

    /// Returns the refusal of somebody who may not write, or sends too much.
    fn refuse_writing(&self, writer: &Writer, head: &Head, connection: &Connection) -> Option<Response> {
        match writer.token.admits(head.authorization.as_deref()) {
            Ok(true) => {}
            Ok(false) => {
                self.change_log.refused(log::Level::Warn, connection.peer(), &"wrong or no token");
                let refusal = Response::refusal(Code::Unauthorized, "send Authorization: Bearer and the token");
                return Some(refusal.with("WWW-Authenticate", "Bearer realm=\"mapcast\""));
            }
            Err(error) => {
                self.change_log.refused(log::Level::Error, connection.peer(), &ErrorChain(&error));
                return Some(Response::refusal(Code::Unavailable, "the server cannot read its token"));
            }
        }
        match head.content {
            Content::Whole => {}
            Content::Part => {
                // RFC 9110, section 14.5: taken for the whole, a part would replace what it is a part of.
                let why = "a part cannot be put: send the whole without Content-Range, or PATCH what changes";
                return Some(Response::refusal(Code::BadRequest, why));
            }
            Content::Encoded => {
                let why = "a body with Content-Encoding is not taken: send it as it is";
                return Some(Response::refusal(Code::UnsupportedMediaType, why));
            }
        }
        let max = self.feed.max_frame();
        let is_long = head.content_length > max;
        is_long.then(|| Response::refusal(Code::ContentTooLarge, &format!("above --max-frame, {max} bytes")))
    }

    /// Makes the change that was submitted and answers.
    pub(crate) fn write(&self, writer: &Writer, made: Submission, head: &Head, connection: &Connection) -> Response {
        let _decoding = writer.decoding.lock().unwrap_or_else(PoisonError::into_inner);
        let change = match made.decode() {
            Ok(change) => change,
            Err(refusal) => return refusal,
        };
        match writer.apply(change, &head.conditions, &self.renderer) {
            Ok(written) => {
                let level = if written.changed() { log::Level::Info } else { log::Level::Debug };
                log::log!(
                    level,
                    "{} {} from {}: {}",
                    head.method,
                    loggable(&head.path),
                    connection.peer(),
                    written.describe()
                );
                written.into_response()
            }
            Err(error) => {
                let response = error.to_response();
                if matches!(response.code(), Code::InternalError | Code::Unavailable) {
                    self.change_log.failed(&ErrorChain(&error));
                }
                response
            }
        }
    }
}
