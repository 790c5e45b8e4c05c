//! HTTP requests: the responses do not depend on how the input is split, and no request is answered that a strict parser does
//! not find.

use std::cell::RefCell;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mapcast::http::{TokenFile, testing::Site};
use mapcast::{Feed, Format, Map, builtin_map};

use super::lines;

/// The maximum frame: small, so that inputs contain bodies below and above it.
const MAX_FRAME: usize = 200;

/// The bits of the first byte that say how many of the following bytes are lengths of pieces.
const CUTS: u8 = 0b1111;

/// The maximum number of pieces and of bytes: a socket's buffer can hold them.
const MOST_PIECES: usize = 100;
const MOST_BYTES: usize = 64 * 1024;

/// One service for whole inputs, and one for the same inputs in pieces.
struct Sites {
    feeds: [Arc<Feed>; 2],
    /// The map before each input.
    first_map: Map,
    whole: Site,
    cut: Site,
}

thread_local! {
    static SITES: RefCell<Sites> = RefCell::new(Sites::open());
}

impl Sites {
    fn open() -> Self {
        lines::follow_log();
        // A pipe is read once: no file is opened for each request.
        let (token, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"a-token-of-some-length").unwrap();
        drop(writer);
        let token = TokenFile::open(format!("/dev/fd/{}", token.as_raw_fd())).unwrap();
        let feeds = [(), ()].map(|()| Arc::new(Feed::new(Format::Bincode, MAX_FRAME)));
        let site = |feed: &Arc<Feed>| Site::new(Arc::clone(feed), token.clone()).unwrap();
        Self { whole: site(&feeds[0]), cut: site(&feeds[1]), feeds, first_map: builtin_map() }
    }
}

/// Sends `bytes`, except for the first byte, the number of lengths, and the lengths of pieces that follow it.
pub(super) fn check(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first() else { return };
    let (cuts, stream) = rest.split_at(usize::from(head & CUTS).min(rest.len()));
    let stream = &stream[..stream.len().min(MOST_BYTES)];
    SITES.with_borrow_mut(|sites| {
        for feed in &sites.feeds {
            feed.publish(&sites.first_map).unwrap();
        }
        let (whole, is_all) = sites.whole.serve(std::iter::once(stream).filter(|stream| !stream.is_empty())).unwrap();
        let judged = judge(stream, &whole, is_all);
        if cuts.is_empty() {
            return;
        }
        let (cut, is_all_of_cut) = sites.cut.serve(pieces(stream, cuts)).unwrap();
        assert_eq!(judge(stream, &cut, is_all_of_cut), judged, "in pieces of {cuts:?}: {}", stream.escape_ascii());
        let [whole, cut] = &sites.feeds;
        let payload = |feed: &Feed| feed.latest().map(|latest| latest.frame.payload().to_vec());
        assert_eq!(payload(whole), payload(cut));
    });
}

/// Splits `stream` into pieces of these lengths, repeated; the last piece is the rest after [`MOST_PIECES`].
fn pieces<'s>(stream: &'s [u8], cuts: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
    let mut cuts = cuts.iter().cycle().take(MOST_PIECES).map(|cut| usize::from(*cut).max(1));
    let mut rest = stream;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(cuts.next().unwrap_or(usize::MAX).min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The parts of a response that must not depend on the pieces: the status, and the text without numbers, which may be times.
type Judged = (u16, String);

/// Compares `responses` with the requests that a strict parser finds in `stream`, and returns them. Each response must belong to
/// one request. What the strict parser refuses must be refused, as the last response. Each request that it finds must be answered,
/// unless a response closed the connection, or a write found no buffer space.
fn judge(stream: &[u8], responses: &[u8], is_all: bool) -> Vec<Judged> {
    let (mut requests, mut responses, mut judged) = (stream, responses, Vec::new());
    while !responses.is_empty() {
        let request = Request::read(requests);
        let is_head = match &request {
            Read::Whole(request) => request.method == "HEAD",
            // The server may have recognized a HEAD before it refused the request: its last response then has no body.
            Read::Malformed | Read::Partial => {
                requests.trim_ascii_start().starts_with(b"HEAD ") && responses.ends_with(b"\r\n\r\n")
            }
        };
        let Some((response, rest)) = Response::read(responses, is_head) else {
            assert!(!is_all, "an incomplete response: {}", responses.escape_ascii());
            return judged;
        };
        responses = rest;
        if response.code == 100 {
            continue;
        }
        match request {
            Read::Whole(_) => judged.push((response.code, without_numbers(&response.text))),
            // Every part of a malformed request that contains the first error may be refused alone.
            Read::Malformed => judged.push((400, "refused".to_owned())),
            // A partial head that is already invalid may be refused, or the server may wait until the client leaves.
            Read::Partial => {}
        }
        let context = || format!("{} to {}", response.text, requests.escape_ascii());
        assert!((200..=599).contains(&response.code), "{}", context());
        match &request {
            Read::Whole(request) if !response.is_last => requests = &requests[request.len..],
            _ => assert!(responses.is_empty(), "after the last response: {}", context()),
        }
        match &request {
            Read::Whole(request) => {
                assert!(request.is_clear || response.code >= 400 && response.is_last, "{}", context());
                // A body that is not needed may be answered before it arrives, if the response is the last one.
                let is_change = ["PUT", "PATCH", "DELETE"].contains(&request.method) && response.code < 400;
                assert!(request.is_body_whole || response.is_last && !is_change, "{}", context());
                if response.code == 200 && ["PUT", "PATCH"].contains(&request.method) && request.path == "/map" {
                    assert!(Format::Json.decode_map(request.body).is_ok(), "{}", context());
                }
            }
            Read::Malformed | Read::Partial => assert!(response.code >= 400 && response.is_last, "{}", context()),
        }
        if response.is_last {
            return judged;
        }
    }
    let unanswered = match Request::read(requests) {
        Read::Whole(request) => request.is_body_whole,
        Read::Malformed => true,
        Read::Partial => false,
    };
    assert!(!unanswered || !is_all, "no response to {}", requests.escape_ascii());
    judged
}

fn without_numbers(text: &str) -> String {
    let is_number = |character: char| character.is_ascii_digit() || "+-.e".contains(character);
    text.split(is_number).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("#")
}

/// A request as a strict parser finds it (RFC 9112, without what a recipient MAY tolerate).
struct Request<'r> {
    method: &'r str,
    path: &'r str,
    body: &'r [u8],
    /// All bytes that have arrived, including empty lines before the request.
    len: usize,
    is_body_whole: bool,
    /// It is not ambiguous: one Host, at most one length, no transfer coding.
    is_clear: bool,
}

/// The result of the strict parser.
enum Read<'r> {
    Whole(Request<'r>),
    /// Anything else that ends like a head.
    Malformed,
    /// The head is incomplete.
    Partial,
}

impl<'r> Request<'r> {
    fn read(stream: &'r [u8]) -> Read<'r> {
        let (mut text, mut is_malformed) = (stream, false);
        // Empty lines before a request are skipped (RFC 9112, section 2.2); here only if they end in CR LF.
        while let Some(rest) = text.strip_prefix(b"\r\n").or_else(|| text.strip_prefix(b"\n")) {
            is_malformed |= text.starts_with(b"\n");
            text = rest;
        }
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { return Read::Partial };
        let (head, rest) = (&text[..end], &text[end + 4..]);
        let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        if is_malformed || has_bare_end(head) {
            return Read::Malformed;
        }
        let Some([method, target, version]) = request_line(lines.next().unwrap_or_default()) else {
            return Read::Malformed;
        };
        let (mut hosts, mut lengths, mut is_clear) = (0, Vec::new(), true);
        for line in lines {
            let Some((name, value)) = field(line) else { return Read::Malformed };
            match name.to_ascii_lowercase().as_str() {
                "host" => hosts += 1,
                "content-length" => lengths.push(value),
                "transfer-encoding" => is_clear = false,
                _ => {}
            }
        }
        let length = match lengths.as_slice() {
            [] => Some(0),
            [length] => digits(length),
            _ => None,
        };
        is_clear &= (hosts == 1 || hosts == 0 && version == "HTTP/1.0") && length.is_some();
        let claimed = length.unwrap_or(0);
        let (body, is_body_whole) = (&rest[..claimed.min(rest.len())], claimed <= rest.len());
        let len = stream.len() - rest.len() + body.len();
        let path = target.split('?').next().unwrap_or_default();
        Read::Whole(Self { method, path, body, len, is_body_whole, is_clear })
    }
}

/// True if and only if `head` has a CR or a LF that is not part of a CR LF.
fn has_bare_end(head: &[u8]) -> bool {
    let bare_feed = |at: usize| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r');
    let bare_return = |at: usize| head[at] == b'\r' && head.get(at + 1) != Some(&b'\n');
    (0..head.len()).any(|at| bare_feed(at) || bare_return(at))
}

fn request_line(line: &[u8]) -> Option<[&str; 3]> {
    let line = std::str::from_utf8(line).ok()?;
    let mut parts = line.split(' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    let is_version = version.strip_prefix("HTTP/1.").is_some_and(|minor| matches!(minor.as_bytes(), [b'0'..=b'9']));
    // A target must be ASCII; programs that accept other bytes agree on their meaning.
    let is_target = !target.is_empty() && !target.bytes().any(|byte| byte.is_ascii_control());
    (parts.next().is_none() && is_token(method) && is_target && is_version).then_some([method, target, version])
}

/// Returns the name and the value of a header line.
fn field(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok().filter(|name| is_token(name))?;
    let value = line[colon + 1..].trim_ascii();
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    value.iter().all(is_text).then_some((name, value))
}

fn is_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_letter)
}

fn digits(text: &[u8]) -> Option<usize> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok()?;
    // A length beyond any memory is valid: such a body is never complete.
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

/// A response of the server.
struct Response {
    code: u16,
    /// No response follows it.
    is_last: bool,
    /// Everything except a body of events.
    text: String,
}

impl Response {
    /// Returns the first response in `responses` and the rest; `None` if it is incomplete.
    fn read(responses: &[u8], is_to_head: bool) -> Option<(Self, &[u8])> {
        let end = responses.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&responses[..end]).expect("a head is ASCII");
        let code: u16 = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap().parse().unwrap();
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
        };
        let is_stream = header("Content-Type") == Some("text/event-stream");
        let is_last = is_stream || header("Connection") == Some("close");
        let len = match code {
            100 | 204 | 304 => 0,
            _ if is_to_head => 0,
            // Up to the end.
            _ if is_stream => responses.len() - end,
            _ => header("Content-Length").unwrap().parse().unwrap(),
        };
        let body = responses[end..].get(..len)?;
        let shown = if is_stream { "" } else { std::str::from_utf8(body).expect("a body is text") };
        // The date changes.
        let kept: String = head.lines().filter(|line| !line.starts_with("Date:")).collect();
        Some((Self { code, is_last, text: kept + shown }, &responses[end + len..]))
    }
}
