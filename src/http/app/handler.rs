//! The handler: checks a request in a fixed order, and passes it on to what serves its path.
//!
//! No body is read, and nothing about the map is shown, before the request has passed the checks.

use std::sync::Arc;

use super::changes::ChangeKind;
use super::clients::MAX_CLIENTS;
use super::filter::Filter;
use super::map;
use super::metrics::metrics_text;
use super::overload::Overload;
use super::page;
use super::rendering::Renderer;
use super::reply::{Reply, Stream};
use super::routes::Route;
use super::status::status_json;
use super::telemetry::Telemetry;
use super::writer::Writer;
use crate::http::protocol::head::Head;
use crate::http::protocol::host::Hosts;
use crate::http::protocol::query::{self, Query};
use crate::http::protocol::request::{Body, Request};
use crate::http::protocol::response::{Code, Kind, Response};

/// Decides how each request is answered.
#[derive(Debug)]
pub(crate) struct Handler {
    pub(super) hosts: Hosts,
    /// The page's Content-Security-Policy.
    pub(super) policy: String,
    /// The origin whose pages may read responses; `None` for none.
    pub(super) allow_origin: Option<String>,
    pub(super) renderer: Arc<Renderer>,
    /// `None` if the map cannot be changed over HTTP.
    pub(super) writer: Option<Writer>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) overload: Arc<Overload>,
}

impl Handler {
    /// Handles one request. Reads `body` only for a change that is permitted.
    pub(crate) fn handle(&self, request: &Request, body: &mut Body<'_>) -> Reply {
        self.dispatch(request, body).unwrap_or_else(|reply| reply)
    }

    /// As [`handle`](Self::handle); a check that fails returns its reply as an error.
    fn dispatch(&self, request: &Request, body: &mut Body<'_>) -> Result<Reply, Reply> {
        let head = &request.head;
        // Before anything else: a foreign page (DNS rebinding) learns nothing, not even which paths exist.
        self.check_target(request)?;
        let route = Route::of(&head.path);
        self.overload.check(request, route.as_ref())?;
        // It asks about the server in general (RFC 9110, section 9.3.7).
        if head.path == "*" && head.method == "OPTIONS" {
            return Ok(self.options("GET, HEAD, OPTIONS").into());
        }
        let route = route.ok_or_else(|| {
            Response::error(
                Code::NotFound,
                "no such path; use / for the page, /map, /events, /clients, /status or /metrics",
            )
        })?;
        self.check_method(&route, head)?;
        if head.method == "OPTIONS" {
            return Ok(self.options(route.methods(self.is_writable())).into());
        }
        let query = Query::parse(&head.query, route.parameters(), |name| route.ignores(name))
            .map_err(|unknown| Response::bad_request(&unknown.to_string()))?;
        match (route, head.method.as_str(), &self.writer) {
            (Route::Map, "PUT", Some(writer)) => writer.handle(ChangeKind::Replace, request, body),
            (Route::Map, "PATCH", Some(writer)) => writer.handle(ChangeKind::Patch, request, body),
            (Route::Entry(key), "PUT", Some(writer)) => writer.handle(ChangeKind::Set(key), request, body),
            (Route::Entry(key), "DELETE", Some(writer)) => writer.handle(ChangeKind::Remove(key), request, body),
            (Route::Live, ..) => Ok(Reply::Stream(Stream::Page { is_writable: self.is_writable() })),
            (Route::Events, ..) => match Filter::new(query.list("keys")) {
                Ok(filter) => Ok(Reply::Stream(Stream::Map(filter.map(Arc::new)))),
                Err(error) => Ok(Response::bad_request(&format!("keys: {error}")).into()),
            },
            (route, ..) => Ok(self.show(&route, head, &query).into()),
        }
    }

    /// Refuses a scheme or a host that is not this listener's (RFC 9110, section 7.4).
    fn check_target(&self, request: &Request) -> Result<(), Response> {
        let head = &request.head;
        if head.is_https.is_some_and(|is_https| is_https != request.is_encrypted) {
            let message =
                "the target's scheme does not match this listener: use https:// with TLS and http:// without it";
            return Err(Response::error(Code::Misdirected, message));
        }
        if head.host.as_ref().is_some_and(|host| !self.hosts.admit(host)) {
            let message = "unknown host: add it to the server's hosts, or use the server's address";
            return Err(Response::error(Code::Misdirected, message));
        }
        Ok(())
    }

    fn check_method(&self, route: &Route, head: &Head) -> Result<(), Response> {
        let is_writable = self.is_writable();
        if route.accepts(&head.method, is_writable) {
            return Ok(());
        }
        let methods = route.methods(is_writable);
        let writing = if is_writable { "" } else { "; changes are off: the server has no token file" };
        let message = format!("method not allowed: use {methods}{writing}");
        Err(Response::error(Code::MethodNotAllowed, &message).with("Allow", methods))
    }

    /// Returns the allowed methods and, for pages of another origin, the CORS permissions.
    fn options(&self, methods: &'static str) -> Response {
        let response = Response::new(Code::NoContent, Kind::Text, "").with("Allow", methods);
        if self.allow_origin.is_none() {
            return response;
        }
        // Last-Event-ID: a program that reads events with `fetch` may send it. 10 minutes: without the last header browsers ask
        // again after 5 s (Fetch Standard, CORS-preflight fetch).
        response
            .with("Access-Control-Allow-Methods", methods)
            .with("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID")
            .with("Access-Control-Max-Age", "600")
    }

    /// Returns the response to GET and HEAD.
    fn show(&self, route: &Route, head: &Head, query: &Query<'_>) -> Response {
        let telemetry = &*self.telemetry;
        match route {
            Route::Page => Response::new(Code::Ok, Kind::Html, page::PAGE).with_policy(&self.policy),
            Route::Map => map::show(&self.renderer, &head.preconditions),
            Route::Entry(key) => map::show_entry(&self.renderer, key, &head.preconditions),
            Route::Status => {
                let json = status_json(telemetry, self.is_writable(), self.renderer.shown().as_deref());
                Response::new(Code::Ok, Kind::Json, json + "\n")
            }
            Route::Clients => match limit(query) {
                Some(limit) => Response::new(Code::Ok, Kind::Json, telemetry.snapshot().clients(limit)),
                None => Response::bad_request("limit: expected one number from 0 to 1000"),
            },
            Route::Metrics => {
                let text = metrics_text(telemetry, self.renderer.shown().as_deref());
                Response::new(Code::Ok, Kind::Metrics, text)
            }
            // Only what a restart repairs: it does not repair a disk that hangs.
            Route::Livez => match telemetry.threads.fatal_problem() {
                Some(problem) => Response::error(Code::Unavailable, &problem.text),
                None => Response::new(Code::Ok, Kind::Text, "live\n"),
            },
            Route::Readyz => self.readiness(),
            // Served as streams.
            Route::Live | Route::Events => Response::error(Code::NotFound, "this path is an event stream"),
        }
    }

    fn is_writable(&self) -> bool {
        self.writer.is_some()
    }

    fn readiness(&self) -> Response {
        // First: while the clients are drained, a load balancer must send no new ones.
        if self.telemetry.stop.is_triggered() {
            return Response::error(Code::Unavailable, "stopping");
        }
        if self.telemetry.feed.version() == 0 {
            return Response::error(Code::Unavailable, "no map yet");
        }
        let problems = self.telemetry.threads.problems();
        if problems.is_empty() {
            return Response::new(Code::Ok, Kind::Text, "ready\n");
        }
        let texts: Vec<_> = problems.iter().map(|problem| problem.text.as_str()).collect();
        Response::error(Code::Unavailable, &texts.join("\n"))
    }
}

/// Returns the number of clients that `query` requests; `None` if it is not a number.
fn limit(query: &Query<'_>) -> Option<usize> {
    let mut values = query.values("limit");
    match (values.next(), values.next()) {
        (None, _) => Some(MAX_CLIENTS),
        (Some(limit), None) => query::decode(limit)?.parse().ok(),
        (Some(_), Some(_)) => None,
    }
}
