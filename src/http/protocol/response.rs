//! An answer: a status, headers of the server's own making, a body.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::body::Body;
use crate::connection::{Connection, Error};

/// Statuses that are answered.
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
    /// All of them, in the order of their declaration.
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

/// What a body is.
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

/// An answer before it is written.
///
/// Nothing that a peer controls may come into a header: names are fixed, and values are fixed, numbers, hashes, or from
/// the command line, checked there.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    code: Code,
    kind: Kind,
    body: Body,
    /// Lines of headers beside those that every answer has, each with its end.
    headers: String,
    /// What a page may load; nothing, unless it is a page of ours.
    policy: Option<String>,
    may_be_kept: bool,
}

/// What a document may do that is no page: nothing.
const NO_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

impl Response {
    pub(crate) fn new(code: Code, kind: Kind, body: impl Into<Body>) -> Self {
        Self { code, kind, body: body.into(), headers: String::new(), policy: None, may_be_kept: false }
    }

    /// A status whose body is one line that says why, and the fix.
    pub(crate) fn refusal(code: Code, why: &str) -> Self {
        Self::new(code, Kind::Text, format!("{why}\n"))
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Adds a header. Neither part may be a peer's.
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

    /// A cache may keep it, if it asks each time whether it is still right.
    pub(crate) fn revalidated(mut self) -> Self {
        self.may_be_kept = true;
        self
    }

    /// Sends the answer; without the body, but with its length, for HEAD. `is_last` says that the connection is closed after
    /// it.
    ///
    /// # Errors
    /// What the connection failed with.
    pub(crate) fn send(&self, is_head: bool, is_last: bool, connection: &mut Connection) -> Result<(), Error> {
        connection.send_parts(self.parts(&self.start(is_last), is_head), self.body.payload())
    }

    /// The answer's bytes, which begin with `start`.
    fn parts<'part>(&'part self, start: &'part str, is_head: bool) -> impl Iterator<Item = &'part [u8]> {
        let body = if is_head { [b"" as &[u8]; 2] } else { self.body.parts() };
        std::iter::once(start.as_bytes()).chain(body)
    }

    /// Returns what stands before the body.
    fn start(&self, is_last: bool) -> String {
        let mut head = self.head();
        // RFC 9110, section 8.6: these two have no body, and need no length.
        if !matches!(self.code, Code::NoContent | Code::NotModified) {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str(if is_last { "Connection: close\r\n\r\n" } else { "\r\n" });
        head
    }

    /// The bytes that a stream begins with. It has no length: it ends with the connection.
    pub(crate) fn into_stream_head(self) -> Vec<u8> {
        // nginx, in front, would hold the events back.
        (self.head() + "X-Accel-Buffering: no\r\nConnection: close\r\n\r\n").into_bytes()
    }

    fn head(&self) -> String {
        let (number, phrase) = self.code.line();
        let policy = self.policy.as_deref().unwrap_or(NO_POLICY);
        let cache = if self.may_be_kept { "no-cache" } else { "no-store" };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: &Response, is_head: bool, is_last: bool) -> String {
        let start = response.start(is_last);
        let parts: Vec<&[u8]> = response.parts(&start, is_head).collect();
        String::from_utf8(parts.concat()).unwrap()
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_what_may_be_done_with_it() {
        let response = Response::refusal(Code::NotFound, "nothing here").with("Allow", "GET");
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
    fn an_answer_that_has_no_body_has_no_length() {
        let text = text(&Response::new(Code::NotModified, Kind::Json, "").revalidated(), false, false);
        assert!(!text.contains("Content-Length") && text.contains("Cache-Control: no-cache\r\n"), "{text}");
    }
}
