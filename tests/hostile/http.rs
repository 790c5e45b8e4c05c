//! Requests over HTTP: the same answers however they are cut, and no request that a strict reader does not see.

use std::cell::RefCell;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mapcast::http::{TokenFile, testing::Site};
use mapcast::{Feed, Format, Map, builtin_map};

use super::lines;

/// The largest frame: small, so that bodies are on both sides of it.
const MAX_FRAME: usize = 200;

/// How many of the bytes that follow the first one are lengths of pieces.
const CUTS: u8 = 0b1111;

/// The most pieces, and the longest input: a socket has room for them.
const MOST_PIECES: usize = 100;
const MOST_BYTES: usize = 64 * 1024;

/// One service for requests in one piece, and one for the same requests in pieces.
struct Sites {
    feeds: [Arc<Feed>; 2],
    /// What each input begins with.
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
        // From a pipe it is read once: no file is opened for each request.
        let (token, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"a-token-of-some-length").unwrap();
        drop(writer);
        let token = TokenFile::open(format!("/dev/fd/{}", token.as_raw_fd())).unwrap();
        let feeds = [(), ()].map(|()| Arc::new(Feed::new(Format::Bincode, MAX_FRAME)));
        let site = |feed: &Arc<Feed>| Site::new(Arc::clone(feed), token.clone()).unwrap();
        Self { whole: site(&feeds[0]), cut: site(&feeds[1]), feeds, first_map: builtin_map() }
    }
}

/// The first byte says how many of those that follow it are lengths of pieces; the rest is sent.
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

/// `stream` in pieces of these lengths, over and over, and what is left after the most of them in one.
fn pieces<'s>(stream: &'s [u8], cuts: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
    let mut cuts = cuts.iter().cycle().take(MOST_PIECES).map(|cut| usize::from(*cut).max(1));
    let mut rest = stream;
    std::iter::from_fn(move || {
        let (piece, behind) = rest.split_at(cuts.next().unwrap_or(usize::MAX).min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What is the same however a request comes: the status, and all else without its numbers, which may be times.
type Judged = (u16, String);

/// Reads `answers` beside the requests that a strict reader sees in `stream`, and returns them. Each answer is one request's;
/// what the strict reader refuses is refused, and the last thing that is answered; and what it sees is answered, if the
/// connection was not ended by an answer, or by a write that found no room.
fn judge(stream: &[u8], answers: &[u8], is_all: bool) -> Vec<Judged> {
    let (mut requests, mut answers, mut judged) = (stream, answers, Vec::new());
    while !answers.is_empty() {
        let request = Request::read(requests);
        let is_head = match &request {
            Read::Whole(request) => request.method == "HEAD",
            // It may have been known as one before it was refused: then the answer, which is the last one, has no body.
            Read::Malformed | Read::Partial => {
                requests.trim_ascii_start().starts_with(b"HEAD ") && answers.ends_with(b"\r\n\r\n")
            }
        };
        let Some((answer, behind)) = Answer::read(answers, is_head) else {
            assert!(!is_all, "half an answer: {}", answers.escape_ascii());
            return judged;
        };
        answers = behind;
        if answer.code == 100 {
            continue;
        }
        match request {
            Read::Whole(_) => judged.push((answer.code, without_numbers(&answer.text))),
            // What is wrong first is wrong in a part of it as well, and that may come alone.
            Read::Malformed => judged.push((400, "refused".to_owned())),
            // Half a head that can never be a good one may be refused, or be waited for until the client has left.
            Read::Partial => {}
        }
        let context = || format!("{} to {}", answer.text, requests.escape_ascii());
        assert!((200..=599).contains(&answer.code), "{}", context());
        match &request {
            Read::Whole(request) if !answer.is_last => requests = &requests[request.len..],
            _ => assert!(answers.is_empty(), "behind the last answer: {}", context()),
        }
        match &request {
            Read::Whole(request) => {
                assert!(request.is_clear || answer.code >= 400 && answer.is_last, "{}", context());
                // What nobody waits for may be answered before it has come, if it is the last thing then.
                let is_change = ["PUT", "PATCH", "DELETE"].contains(&request.method) && answer.code < 400;
                assert!(request.is_body_whole || answer.is_last && !is_change, "{}", context());
                if answer.code == 200 && ["PUT", "PATCH"].contains(&request.method) && request.path == "/map" {
                    assert!(Format::Json.decode_map(request.body).is_ok(), "{}", context());
                }
            }
            Read::Malformed | Read::Partial => assert!(answer.code >= 400 && answer.is_last, "{}", context()),
        }
        if answer.is_last {
            return judged;
        }
    }
    let unanswered = match Request::read(requests) {
        Read::Whole(request) => request.is_body_whole,
        Read::Malformed => true,
        Read::Partial => false,
    };
    assert!(!unanswered || !is_all, "no answer to {}", requests.escape_ascii());
    judged
}

fn without_numbers(text: &str) -> String {
    let is_number = |character: char| character.is_ascii_digit() || "+-.e".contains(character);
    text.split(is_number).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("#")
}

/// A request as a strict reader sees it (RFC 9112, without what a recipient MAY forgive).
struct Request<'r> {
    method: &'r str,
    path: &'r str,
    body: &'r [u8],
    /// Bytes in all that have come, and empty lines before it.
    len: usize,
    is_body_whole: bool,
    /// Nothing in it can be read in two ways: one Host, one length at most, no transfer coding.
    is_clear: bool,
}

/// What a strict reader finds.
enum Read<'r> {
    Whole(Request<'r>),
    /// Anything else, with the end of a head behind it.
    Malformed,
    /// The head may go on.
    Partial,
}

impl<'r> Request<'r> {
    fn read(stream: &'r [u8]) -> Read<'r> {
        let (mut text, mut is_malformed) = (stream, false);
        // RFC 9112, section 2.2: empty lines before a request are skipped; here only if they end in CR LF.
        while let Some(rest) = text.strip_prefix(b"\r\n").or_else(|| text.strip_prefix(b"\n")) {
            is_malformed |= text.starts_with(b"\n");
            text = rest;
        }
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { return Read::Partial };
        let (head, behind) = (&text[..end], &text[end + 4..]);
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
        let (body, is_body_whole) = (&behind[..claimed.min(behind.len())], claimed <= behind.len());
        let len = stream.len() - behind.len() + body.len();
        let path = target.split('?').next().unwrap_or_default();
        Read::Whole(Self { method, path, body, len, is_body_whole, is_clear })
    }
}

/// True if and only if a CR or a LF stands alone.
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
    // Bytes beyond ASCII are none of a target's, and mean the same to all who take them.
    let is_target = !target.is_empty() && !target.bytes().any(|byte| byte.is_ascii_control());
    (parts.next().is_none() && is_token(method) && is_target && is_version).then_some([method, target, version])
}

/// Returns the name and the value of a header's line.
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
    // A number beyond any memory is one all the same: such a body never comes whole.
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

/// An answer.
struct Answer {
    code: u16,
    /// Nothing follows it.
    is_last: bool,
    /// All of it, without a body of events.
    text: String,
}

impl Answer {
    /// Returns the answer that `answers` begin with and what follows it, if there is a whole one.
    fn read(answers: &[u8], is_to_head: bool) -> Option<(Self, &[u8])> {
        let end = answers.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&answers[..end]).expect("a head is ASCII");
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
            // To its end.
            _ if is_stream => answers.len() - end,
            _ => header("Content-Length").unwrap().parse().unwrap(),
        };
        let body = answers[end..].get(..len)?;
        let shown = if is_stream { "" } else { std::str::from_utf8(body).expect("a body is text") };
        // The date is the clock's.
        let kept: String = head.lines().filter(|line| !line.starts_with("Date:")).collect();
        Some((Self { code, is_last, text: kept + shown }, &answers[end + len..]))
    }
}
