//! The head of a request: its line and headers, parsed by `httparse`. Anything ambiguous is refused.

use httparse::Status;

use super::header_value::{append, check_host, lists, parse_length, read_tags, set, text};
use super::preconditions::Preconditions;
use super::response::{Code, Response};
use super::target::Target;

/// The maximum size of a request's line and headers: 16 KiB. Browsers send 1 to 2 KiB; nginx accepts 8 KiB a line.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// The maximum number of headers: 100, as in Apache (`LimitRequestFields`).
const MAX_HEADERS: usize = 100;

/// A request's line, and the headers that the server evaluates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// From the first `/` to the `?`, still encoded; `*` only for OPTIONS.
    pub(crate) path: String,
    /// Everything after the `?`, still encoded; empty if there is no `?`.
    pub(crate) query: String,
    /// The host in the target, or the Host header. HTTP/1.0 may omit it.
    pub(crate) host: Option<String>,
    /// True for `https://`, false for `http://`, `None` for a target without a scheme.
    pub(crate) is_https: Option<bool>,
    pub(crate) content_length: usize,
    pub(crate) body_kind: BodyKind,
    /// The client accepts an event stream, as an `EventSource` does.
    pub(crate) accepts_events: bool,
    pub(crate) authorization: Option<String>,
    pub(crate) preconditions: Preconditions,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110, section 10.1.1).
    pub(crate) expects_continue: bool,
    /// The client sends no further request.
    pub(crate) is_last: bool,
}

/// How the body relates to the content that it represents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum BodyKind {
    #[default]
    Complete,
    /// A range, according to Content-Range (RFC 9110, section 14.4).
    Partial,
    /// Compressed, according to Content-Encoding.
    Encoded,
}

impl Head {
    /// True if and only if the response must not have a body.
    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// Returns the head at the start of `received` and its length; `None` if it is incomplete.
///
/// # Errors
/// The response to a head that is malformed or too large.
pub(crate) fn parse(received: &[u8]) -> Result<Option<(usize, Head)>, Response> {
    let newer = match find_version(received) {
        Some((_, [b'1', b'0' | b'1'])) | None => None,
        // A recipient treats any later 1.x as 1.1 (RFC 9110, section 2.5); httparse refuses it.
        Some((minor_at, [b'1', _])) => Some([&received[..minor_at], b"1", &received[minor_at + 1..]].concat()),
        Some(_) => {
            return Err(Response::error(
                Code::VersionNotSupported,
                "this HTTP version is not supported: send HTTP/1.0 or HTTP/1.1",
            ));
        }
    };
    let received = newer.as_deref().unwrap_or(received);
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(received) {
        // A recipient may accept a bare line feed as a line end (RFC 9112, section 2.2); others read it as a part of a value.
        Ok(Status::Complete(len)) if has_bare_feed(&received[..len]) => Err(Response::bad_request(BARE_FEED)),
        Ok(Status::Complete(len)) if len <= MAX_HEAD => Ok(Some((len, read(&request)?))),
        Ok(Status::Partial) if received.len() < MAX_HEAD => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(too_large(received)),
        Err(error) => Err(Response::bad_request(explain(error))),
    }
}

/// Returns the response to a head above the limits. A request line that is too long has its own status (RFC 9112, section 3).
fn too_large(received: &[u8]) -> Response {
    let line = received.trim_ascii_start().split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line.len() >= MAX_HEAD {
        return Response::error(Code::UriTooLong, "the request line and headers are limited to 16 KiB");
    }
    Response::error(Code::HeadersTooLarge, "the request line and headers are limited to 16 KiB and 100 headers")
}

const BARE_FEED: &str = "a line does not end in CR LF";

/// Returns the message for an error of `httparse`.
fn explain(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => {
            "a header is malformed: write NAME: VALUE on one line, without a space before the colon"
        }
        httparse::Error::HeaderValue => "a header value contains a control character",
        httparse::Error::NewLine => BARE_FEED,
        _ => "the request line is malformed: write METHOD TARGET HTTP/1.1, separated by single spaces",
    }
}

/// Returns the digits of the request line's version, and where the second one is; `None` if it has none, or not yet.
fn find_version(received: &[u8]) -> Option<(usize, [u8; 2])> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let begin = received.iter().position(|byte| !is_end(byte))?;
    let line = received[begin..].split(is_end).next()?;
    match line.splitn(3, |&byte| byte == b' ').nth(2)? {
        [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] => {
            Some((begin + line.len() - 1, [*major, *minor]))
        }
        _ => None,
    }
}

/// True if and only if a line of `head` ends in a line feed alone.
fn has_bare_feed(head: &[u8]) -> bool {
    head.split_inclusive(|&byte| byte == b'\n').any(|line| !line.ends_with(b"\r\n"))
}

/// Returns what the server evaluates of a complete request.
///
/// # Errors
/// The response to a request that is ambiguous, or that lacks what its version requires.
fn read(request: &httparse::Request<'_, '_>) -> Result<Head, Response> {
    let mut head = Head { method: request.method.unwrap_or_default().to_owned(), ..Head::default() };
    let is_newest = request.version == Some(1);
    head.is_last = !is_newest;
    let (mut length, mut codings, mut if_match, mut if_none_match) = (None, None, None, None);
    for header in request.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        match name.as_str() {
            // RFC 9112, section 3.2.
            "host" => {
                let host = text(header)?;
                set(&mut head.host, host.to_owned(), "more than one Host header")?;
                check_host(host)?;
            }
            "transfer-encoding" => append(&mut codings, text(header)?),
            // Equal ones may be accepted or refused (RFC 9110, section 8.6); no client needs to send two.
            "content-length" => {
                let len = parse_length(text(header)?)
                    .ok_or_else(|| Response::bad_request("Content-Length is not a number"))?;
                set(&mut length, len, "more than one Content-Length header")?;
            }
            // HTTP/1.0's keep-alive is not supported (RFC 9112, section 9.3): each such request is the last one.
            "connection" => head.is_last |= lists(text(header)?, "close"),
            // In HTTP/1.0 it has to be ignored (RFC 9110, section 10.1.1).
            "expect" => head.expects_continue |= is_newest && lists(text(header)?, "100-continue"),
            // An EventSource sends exactly this value (WHATWG HTML, section 9.2).
            "accept" => head.accepts_events |= header.value.starts_with(b"text/event-stream"),
            // `identity` is no encoding (RFC 9110, section 12.5.3).
            "content-encoding" if !header.value.eq_ignore_ascii_case(b"identity") => head.body_kind = BodyKind::Encoded,
            // Only a PUT could store a part as the whole (RFC 9110, section 14.5).
            "content-range" if head.method == "PUT" => head.body_kind = BodyKind::Partial,
            "authorization" => {
                set(&mut head.authorization, text(header)?.to_owned(), "more than one Authorization header")?;
            }
            "if-match" => append(&mut if_match, text(header)?),
            "if-none-match" => append(&mut if_none_match, text(header)?),
            _ => {}
        }
    }
    if let Some(codings) = codings {
        return Err(refuse_codings(&codings, is_newest && length.is_none()));
    }
    head.content_length = length.unwrap_or(0);
    head.preconditions = Preconditions { if_match: read_tags(if_match)?, if_none_match: read_tags(if_none_match)? };
    if is_newest && head.host.is_none() {
        return Err(Response::bad_request("the Host header is missing"));
    }
    let target = Target::parse(request.path.unwrap_or_default(), head.method == "OPTIONS")?;
    // The host of the target overrides the Host header (RFC 9112, section 3.2.2).
    head.host = target.host.or(head.host);
    (head.path, head.query, head.is_https) = (target.path, target.query, target.is_https);
    Ok(head)
}

/// Returns the response to a body in `codings`. No coding is accepted: the next program in a chain could find the body's end
/// elsewhere. `is_valid` says that only the codings define the length, in a version that has them (RFC 9112, section 6).
fn refuse_codings(codings: &str, is_valid: bool) -> Response {
    let message = "Transfer-Encoding is not supported: send Content-Length";
    if !is_valid {
        Response::bad_request(message)
    } else if codings.eq_ignore_ascii_case("chunked") {
        Response::error(Code::LengthRequired, message)
    } else {
        Response::error(Code::NotImplemented, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::preconditions::Tags;

    fn head(request: impl AsRef<[u8]>) -> Result<Head, Code> {
        let request = request.as_ref();
        match parse(request) {
            Ok(Some((len, head))) => {
                assert_eq!(len, request.len());
                Ok(head)
            }
            Ok(None) => panic!("{} is incomplete", request.escape_ascii()),
            Err(refusal) => Err(refusal.code()),
        }
    }

    #[test]
    fn evaluated_headers_are_read_and_others_ignored() {
        let request = "PATCH /map?keys=a HTTP/1.1\r\nhost: h:1\r\nX: y\r\nCONTENT-LENGTH: 7\r\nIf-Match: \"x\"\r\n\r\n";
        let wanted = Head {
            method: "PATCH".to_owned(),
            path: "/map".to_owned(),
            query: "keys=a".to_owned(),
            host: Some("h:1".to_owned()),
            content_length: 7,
            preconditions: Preconditions { if_match: Tags::parse("\"x\""), if_none_match: None },
            ..Head::default()
        };
        assert_eq!(head(request), Ok(wanted));
    }

    #[test]
    fn a_head_is_incomplete_until_its_empty_line() {
        let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        for len in 0..request.len() {
            assert!(matches!(parse(&request[..len]), Ok(None)), "{len}");
        }
        assert!(matches!(parse(request), Ok(Some(_))));
    }

    #[test]
    fn an_ambiguous_request_is_refused() {
        for lines in [
            "Host: h\r\nContent-Length: 3\r\nTransfer-Encoding: identity",
            "Host: h\r\nContent-Length: 3\r\nContent-Length: 4",
            "Host: h\r\nContent-Length: 3\r\nContent-Length: 3",
            "Host: h\r\nAuthorization: Bearer a\r\nAuthorization: Bearer a",
            "Host: h\r\nContent-Length: +3",
            "Host: h\r\nContent-Length: 3, 3",
            "Host: h\r\nContent-Length:",
            "Host: h\r\nHost: i",
            "Host: h\r\nHost: h",
            "Host: h, i",
            "Host: h/i",
            "Host: i@h",
            "Host: h:port",
            "Host: [::1",
            "Host: h\r\n: nameless",
            "Host: h\r\nX: a\0",
            "Host: h\r\nX: a\rContent-Length: 3",
            "Host: h\r\nX: a\nContent-Length: 3",
            "Host: h\n",
            "Host: h\r\nContent-Length : 3",
            "Host: h\r\nX: a\r\n b",
            "Host: h\r\nX: \x7f",
            "X: no host",
        ] {
            assert_eq!(head(format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n")), Err(Code::BadRequest), "{lines}");
        }
        assert_eq!(head("GET /a\r\nb HTTP/1.1\r\nHost: h\r\n\r\n"), Err(Code::BadRequest));
        for target in ["a", "*", "http:///map", "http://i@h/map", "http://h\\i/map", "ftp://h/map"] {
            assert_eq!(head(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")), Err(Code::BadRequest), "{target}");
        }
        assert_eq!(head("GET /#a HTTP/1.1\r\nHost: h\r\n\r\n"), Err(Code::BadRequest));
        assert_eq!(head("GET /\r\n\r\n"), Err(Code::BadRequest), "HTTP/0.9");
        assert_eq!(head("GET / HTTP/1.1\nHost: h\n\n"), Err(Code::BadRequest));
    }

    #[test]
    fn an_evaluated_header_must_be_ascii_others_may_be_any_bytes() {
        let with = |name: &str, value: &[u8]| {
            let line = if name == "Host" { "" } else { "Host: h\r\n" };
            head([b"GET / HTTP/1.1\r\n", line.as_bytes(), name.as_bytes(), b": ", value, b"\r\n\r\n"].concat())
        };
        for (name, value) in [
            ("Host", "h"),
            ("Content-Length", "2"),
            ("Connection", "close"),
            ("Expect", "100-continue"),
            ("Authorization", "Bearer a"),
            ("If-Match", "\"a\""),
            ("If-None-Match", "\"a\""),
        ] {
            let value = value.as_bytes();
            assert!(with(name, &[b" \t", value, b"\t "].concat()).is_ok(), "{name}");
            // Latin-1, and two kinds of Unicode whitespace, before and after the value.
            for beyond in [b"\xe9".as_slice(), b"\xa0", b"\xc2\xa0", b"\xc2\x85"] {
                assert_eq!(with(name, &[value, beyond].concat()), Err(Code::BadRequest), "{name}");
                assert_eq!(with(name, &[beyond, value].concat()), Err(Code::BadRequest), "{name}");
            }
        }
        assert_eq!(with("Transfer-Encoding", b"chunked, \xe9"), Err(Code::BadRequest));
        assert!(with("X-Name", b"\xe9").is_ok() && with("Content-Type", b"\xc2\xa0").is_ok());
    }

    #[test]
    fn several_lines_of_a_list_header_form_one_list() {
        let lines = "If-Match: \"a\"\r\nIf-None-Match: \"c\"\r\nIf-Match: \"b\"\r\nIf-None-Match: W/\"d\"";
        let both = |lines: &str| head(format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n"));
        let wanted =
            Preconditions { if_match: Tags::parse("\"a\", \"b\""), if_none_match: Tags::parse("\"c\", W/\"d\"") };
        assert_eq!(both(lines).unwrap().preconditions, wanted);
        assert_eq!(both("If-None-Match: *\r\nIf-None-Match: \"a\""), Err(Code::BadRequest));
        let words =
            both("Connection: keep-alive,\tClose\r\nConnection: x\r\nExpect: 100-Continue\r\nExpect: x").unwrap();
        assert!(words.is_last && words.expects_continue);
    }

    #[test]
    fn a_head_above_the_limits_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(MAX_HEAD));
        assert_eq!(parse(long.as_bytes()).unwrap_err().code(), Code::HeadersTooLarge);
        let long_line = format!("GET /{}", "x".repeat(MAX_HEAD));
        assert_eq!(parse(long_line.as_bytes()).unwrap_err().code(), Code::UriTooLong);
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
        assert_eq!(parse(many.as_bytes()).unwrap_err().code(), Code::HeadersTooLarge);
    }

    #[test]
    fn the_host_of_an_absolute_target_overrides_the_header() {
        for (target, path, query) in [
            ("http://other:1/map?x", "/map", "x"),
            ("HTTP://other:1/map?x", "/map", "x"),
            ("https://other:1?x=/1", "/", "x=/1"),
            ("http://other:1", "/", ""),
        ] {
            let head = head(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap();
            assert_eq!(head.host.as_deref(), Some("other:1"), "{target}");
            assert_eq!((head.path.as_str(), head.query.as_str()), (path, query), "{target}");
        }
        let head = head("GET /a?b=http://other HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!((head.host.as_deref(), head.query.as_str()), (Some("h"), "b=http://other"));
    }

    #[test]
    fn http_1_0_closes_and_needs_no_host() {
        let head = head("GET / HTTP/1.0\r\n\r\n").unwrap();
        assert!(head.is_last && head.host.is_none());
    }

    #[test]
    fn a_later_minor_version_is_1_1_another_major_is_refused() {
        for minor in 2..=9 {
            let known = head(format!("GET / HTTP/1.{minor}\r\nHost: h\r\n\r\n"));
            assert_eq!(known, head("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), "1.{minor}");
        }
        assert!(head("\r\nGET / HTTP/1.7\r\nHost: h\r\n\r\n").is_ok(), "an empty line before it");
        for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/3.0"] {
            assert_eq!(head(format!("GET / {version}\r\nHost: h\r\n\r\n")), Err(Code::VersionNotSupported));
        }
        assert_eq!(head("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Err(Code::VersionNotSupported));
        for version in ["HTTP/1", "HTTP/1.10", "HTTP/11.1", "http/1.1", "HTTP/1.x", "HTTP/1.1 ", " HTTP/1.1", "ICY/1.1"]
        {
            assert_eq!(head(format!("GET / {version}\r\nHost: h\r\n\r\n")), Err(Code::BadRequest), "{version}");
        }
    }

    #[test]
    fn each_transfer_encoding_is_refused_with_its_status() {
        let coded = |version: &str, lines: &str| head(format!("PUT /map {version}\r\nHost: h\r\n{lines}\r\n\r\n"));
        assert_eq!(coded("HTTP/1.1", "Transfer-Encoding: Chunked"), Err(Code::LengthRequired));
        for codings in ["gzip, chunked", "chunked, chunked", "identity", "x", ""] {
            let lines = format!("Transfer-Encoding: {codings}");
            assert_eq!(coded("HTTP/1.1", &lines), Err(Code::NotImplemented), "{codings}");
        }
        // The end of the body is ambiguous.
        assert_eq!(coded("HTTP/1.0", "Transfer-Encoding: chunked"), Err(Code::BadRequest));
        assert_eq!(coded("HTTP/1.1", "Content-Length: 3\r\nTransfer-Encoding: chunked"), Err(Code::BadRequest));
    }
}
