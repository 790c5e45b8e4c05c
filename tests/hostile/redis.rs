//! Replies of Redis, compared with a second implementation of its protocol, RESP2.

use std::sync::OnceLock;

use mapcast::source::redis_testing::{Pair, Refusal};
use mapcast::{Key, Map, Shutdown, Value};

/// The limit for a reply in bytes: small, so that inputs contain replies below and above it.
const MAX: usize = 400;

/// Bits of the first byte.
const CUTS: u8 = 0b1111;
const IS_JSON: u8 = 0b1_0000;

/// The result of a reply.
#[derive(Debug, PartialEq)]
enum Outcome {
    Map(Map),
    /// Not a map, with this message; the next reply can be read.
    Refused(String),
    /// No further reply can be read.
    Lost,
}

fn stop() -> &'static Shutdown {
    static STOP: OnceLock<Shutdown> = OnceLock::new();
    STOP.get_or_init(|| Shutdown::new().unwrap())
}

/// The first byte is the number of lengths of pieces that follow it; the rest is sent.
pub(super) fn check(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first() else { return };
    let (cuts, stream) = rest.split_at(usize::from(head & CUTS).min(rest.len()));
    let is_json = head & IS_JSON != 0;
    let whole = read_whole(stream, is_json);
    if !is_json {
        compare(stream, &whole);
    }
    if stream.len() <= MAX {
        assert_eq!(read_pieces(stream, cuts, is_json), whole, "in pieces of {cuts:?}");
    }
}

fn outcome(read: Result<Map, Refusal>) -> Outcome {
    match read {
        Ok(map) => Outcome::Map(map),
        Err(refusal) => {
            let text = super::printable(&*refusal.error);
            if refusal.is_lost { Outcome::Lost } else { Outcome::Refused(text) }
        }
    }
}

/// Returns all replies, read with waiting.
fn read_whole(stream: &[u8], is_json: bool) -> Vec<Outcome> {
    let mut pair = Pair::new(MAX, stop()).unwrap();
    pair.send(stream).unwrap();
    pair.end().unwrap();
    let mut outcomes = Vec::new();
    while outcomes.last() != Some(&Outcome::Lost) {
        outcomes.push(outcome(pair.reply(is_json)));
    }
    outcomes
}

/// Returns all replies, read without waiting after each piece.
fn read_pieces(mut stream: &[u8], cuts: &[u8], is_json: bool) -> Vec<Outcome> {
    let mut pair = Pair::new(MAX, stop()).unwrap();
    let mut outcomes = Vec::new();
    let mut cuts = cuts.iter().cycle().map(|cut| usize::from(*cut).max(1));
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at(cuts.next().unwrap_or(usize::MAX).min(stream.len()));
        stream = rest;
        pair.send(piece).unwrap();
        while let Some(read) = pair.ready_reply(is_json).transpose() {
            outcomes.push(outcome(read));
            if outcomes.last() == Some(&Outcome::Lost) {
                return outcomes;
            }
        }
    }
    pair.end().unwrap();
    outcomes.push(outcome(pair.reply(is_json)));
    assert_eq!(outcomes.last(), Some(&Outcome::Lost), "a reply that had not come before the end");
    outcomes
}

/// Compares the results with the rule, as far as the rule defines them.
fn compare(mut stream: &[u8], outcomes: &[Outcome]) {
    // The limit may count the bytes of a reply for the previous one, because one read returns both.
    let is_long = stream.len() > MAX;
    for outcome in outcomes {
        let reply = resp(stream, 0);
        match (reply, outcome) {
            (_, Outcome::Lost) if is_long => return,
            (None, outcome) => return assert_eq!(outcome, &Outcome::Lost, "{}", stream.escape_ascii()),
            (Some((rest, reply)), outcome) => {
                match (by_the_rule(&reply), outcome) {
                    (Some(wanted), Outcome::Map(map)) => assert_eq!(*map, wanted),
                    (None, Outcome::Refused(_)) => {}
                    (wanted, _) => panic!("{outcome:?}, not {wanted:?}: {}", stream.escape_ascii()),
                }
                stream = rest;
            }
        }
    }
}

/// The parts of a reply that matter.
enum Resp<'r> {
    Bulk(&'r [u8]),
    Array(Vec<Resp<'r>>),
    /// Any other reply.
    Plain,
}

/// Returns the first reply in `stream` and the rest, if the reply is complete.
fn resp(stream: &[u8], depth: usize) -> Option<(&[u8], Resp<'_>)> {
    let (kind, rest) = stream.split_first()?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let (line, rest) = (std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 2..]);
    let number = line.parse::<i64>();
    match kind {
        b'+' | b'-' => Some((rest, Resp::Plain)),
        b':' => number.ok().map(|_| (rest, Resp::Plain)),
        b'$' | b'*' => {
            let Ok(len) = usize::try_from(number.ok()?) else { return Some((rest, Resp::Plain)) };
            if *kind == b'$' {
                let (bytes, rest) = rest.split_at_checked(len)?;
                return Some((rest.strip_prefix(b"\r\n")?, Resp::Bulk(bytes)));
            }
            if len > 0 && depth >= 8 {
                return None;
            }
            let (mut rest, mut items) = (rest, Vec::new());
            for _ in 0..len {
                let (behind, item) = resp(rest, depth + 1)?;
                items.push(item);
                rest = behind;
            }
            Some((rest, Resp::Array(items)))
        }
        _ => None,
    }
}

/// The rule of a map: names and values in turn, each name once and in UTF-8.
fn by_the_rule(reply: &Resp<'_>) -> Option<Map> {
    let Resp::Array(items) = reply else { return None };
    let mut map = Map::new();
    for pair in items.chunks(2) {
        let [Resp::Bulk(name), Resp::Bulk(value)] = pair else { return None };
        let key = Key::from(std::str::from_utf8(name).ok()?);
        let value = std::str::from_utf8(value).map_or_else(|_| Value::Bytes(value.to_vec()), Value::from);
        if map.insert(key, value).is_some() {
            return None;
        }
    }
    Some(map)
}
