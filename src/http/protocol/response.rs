//! A response: a status, headers that the server chooses, and a body.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde::Serialize;

use super::response_body::ResponseBody;
use crate::connection::{Connection, Error, send_parts};

/// The status codes that the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Ok,
    NoContent,
    NotModified,
    BadRequest,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    LengthRequired,
    PreconditionFailed,
    ContentTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    Misdirected,
    HeadersTooLarge,
    InternalError,
    NotImplemented,
    Unavailable,
    VersionNotSupported,
}

impl Code {
    /// All codes, in the order of their declaration.
    pub(crate) const ALL: [Self; 19] = [
        Self::Ok,
        Self::NoContent,
        Self::NotModified,
        Self::BadRequest,
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::LengthRequired,
        Self::PreconditionFailed,
        Self::ContentTooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::Misdirected,
        Self::HeadersTooLarge,
        Self::InternalError,
        Self::NotImplemented,
        Self::Unavailable,
        Self::VersionNotSupported,
    ];

    /// The number and the phrase (RFC 9110, section 15; RFC 6585).
    fn line(self) -> (u16, &'static str) {
        match self {
            Self::Ok => (200, "OK"),
            Self::NoContent => (204, "No Content"),
            Self::NotModified => (304, "Not Modified"),
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::RequestTimeout => (408, "Request Timeout"),
            Self::LengthRequired => (411, "Length Required"),
            Self::PreconditionFailed => (412, "Precondition Failed"),
            Self::ContentTooLarge => (413, "Content Too Large"),
            Self::UriTooLong => (414, "URI Too Long"),
            Self::UnsupportedMediaType => (415, "Unsupported Media Type"),
            Self::Misdirected => (421, "Misdirected Request"),
            Self::HeadersTooLarge => (431, "Request Header Fields Too Large"),
            Self::InternalError => (500, "Internal Server Error"),
            Self::NotImplemented => (501, "Not Implemented"),
            Self::Unavailable => (503, "Service Unavailable"),
            Self::VersionNotSupported => (505, "HTTP Version Not Supported"),
        }
    }

    pub(crate) fn number(self) -> u16 {
        self.line().0
    }
}

/// The media type of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Html,
    Json,
    Text,
    /// The exposition format of Prometheus.
    Metrics,
    Events,
}

impl Kind {
    fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Metrics => "text/plain; version=0.0.4; charset=utf-8",
            Self::Events => "text/event-stream",
        }
    }
}

/// A response that is not written yet.
///
/// No header may contain anything that a peer controls: names are fixed, and values are fixed, numbers, hashes, or checked
/// configuration.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    code: Code,
    kind: Kind,
    body: ResponseBody,
    /// Header lines in addition to those of every response, each with its line end.
    headers: String,
    /// The Content-Security-Policy; `None` forbids everything.
    policy: Option<String>,
    is_cacheable: bool,
    closes: bool,
}

/// The Content-Security-Policy of everything but the page: nothing is allowed.
const NO_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

impl Response {
    pub(crate) fn new(code: Code, kind: Kind, body: impl Into<ResponseBody>) -> Self {
        Self { code, kind, body: body.into(), headers: String::new(), policy: None, is_cacheable: false, closes: false }
    }

    /// Returns a response whose body is one line: the cause, then the fix.
    pub(crate) fn error(code: Code, message: &str) -> Self {
        Self::new(code, Kind::Text, format!("{message}\n"))
    }

    /// As [`error`](Self::error), with `400 Bad Request`.
    pub(crate) fn bad_request(message: &str) -> Self {
        Self::error(Code::BadRequest, message)
    }

    /// Returns `200 OK` with `value` as JSON on one line.
    pub(crate) fn json<T: Serialize>(value: &T) -> Self {
        Self::new(Code::Ok, Kind::Json, to_json(value) + "\n")
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Adds a header. A peer must control neither part.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        debug_assert!(!value.contains(['\r', '\n']), "{name}: {value:?}");
        // Writing to a String does not fail.
        let _ = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    pub(crate) fn with_policy(mut self, policy: &str) -> Self {
        self.policy = Some(policy.to_owned());
        self
    }

    /// Lets caches store the response and revalidate it before each use.
    pub(crate) fn cacheable(mut self) -> Self {
        self.is_cacheable = true;
        self
    }

    /// Closes the connection after the response.
    pub(crate) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// True if and only if the connection must be closed after the response.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Sends the response; for HEAD with the body's length but without the body. `is_last` announces that the connection is
    /// closed afterwards.
    ///
    /// # Errors
    /// If the connection fails.
    pub(crate) fn send(&self, is_head: bool, is_last: bool, connection: &mut Connection) -> Result<(), Error> {
        send_parts(connection, self.parts(&self.start(is_last), is_head), self.body.payload())
    }

    /// Returns the bytes of the response, which begin with `start`.
    fn parts<'part>(&'part self, start: &'part str, is_head: bool) -> impl Iterator<Item = &'part [u8]> {
        let body = if is_head { [b"" as &[u8]; 2] } else { self.body.parts() };
        std::iter::once(start.as_bytes()).chain(body)
    }

    /// Returns everything that precedes the body.
    fn start(&self, is_last: bool) -> String {
        let mut head = self.head();
        // These two have no body and need no length (RFC 9110, section 8.6).
        if !matches!(self.code, Code::NoContent | Code::NotModified) {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str(if is_last { "Connection: close\r\n\r\n" } else { "\r\n" });
        head
    }

    /// Returns the head of a stream. A stream has no length: it ends with the connection.
    pub(crate) fn into_stream_head(self) -> Vec<u8> {
        // Without the first header nginx would buffer the events.
        (self.head() + "X-Accel-Buffering: no\r\nConnection: close\r\n\r\n").into_bytes()
    }

    fn head(&self) -> String {
        let (number, phrase) = self.code.line();
        // nosniff: a browser must not take a map's text for HTML. no-referrer: a link on the page reveals no internal host.
        let policy = self.policy.as_deref().unwrap_or(NO_POLICY);
        let cache = if self.is_cacheable { "no-cache" } else { "no-store" };
        format!(
            "HTTP/1.1 {number} {phrase}\r\n\
             Date: {}\r\n\
             Content-Type: {}\r\n\
             Cache-Control: {cache}\r\n\
             Content-Security-Policy: {policy}\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\n\
             {}",
            httpdate::fmt_http_date(SystemTime::now()),
            self.kind.media_type(),
            self.headers,
        )
    }
}

/// Returns `value` as JSON on one line.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    // Numbers, strings and lists of them always have a JSON form.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: &Response, is_head: bool, is_last: bool) -> String {
        let start = response.start(is_last);
        let parts: Vec<&[u8]> = response.parts(&start, is_head).collect();
        String::from_utf8(parts.concat()).unwrap()
    }

    #[test]
    fn a_response_has_its_length_and_security_headers() {
        let response = Response::error(Code::NotFound, "nothing here").with("Allow", "GET");
        let bytes = text(&response, false, true);
        assert!(bytes.starts_with("HTTP/1.1 404 Not Found\r\nDate: "), "{bytes}");
        assert!(
            bytes.ends_with("\r\nAllow: GET\r\nContent-Length: 13\r\nConnection: close\r\n\r\nnothing here\n"),
            "{bytes}"
        );
        assert!(
            bytes.contains("\r\nCache-Control: no-store\r\n")
                && bytes.contains("\r\nX-Content-Type-Options: nosniff\r\n")
        );
        let head = text(&response, true, false);
        assert!(head.ends_with("Content-Length: 13\r\n\r\n"), "{head}");
    }

    #[test]
    fn a_response_without_a_body_has_no_length() {
        let text = text(&Response::new(Code::NotModified, Kind::Json, "").cacheable(), false, false);
        assert!(!text.contains("Content-Length") && text.contains("Cache-Control: no-cache\r\n"), "{text}");
    }
}
