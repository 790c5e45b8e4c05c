//! Splits a stream into whole replies of RESP2.
//!
//! The parser of the crate `redis` can read a stream too, but it drops an invalid byte if a read ends after it: its result for
//! damaged bytes depends on how they are split. So it gets whole replies only.

use std::io::{self, Read};

use redis::Value;

/// The deepest nesting of arrays. The replies to the commands of this source have two levels.
const MAX_DEPTH: usize = 8;

/// The bytes of one read.
const CHUNK: usize = 16 * 1024;

/// Reads replies from a stream.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The bytes that were received after the last whole reply.
    received: Vec<u8>,
    /// The length of the whole elements in them.
    at: usize,
    /// The number of missing elements of each unfinished array, the outermost first.
    open: Vec<usize>,
}

/// The bytes are not a reply of RESP2, the protocol without `HELLO`.
#[derive(Debug)]
pub(super) struct Malformed;

impl Replies {
    /// Returns the next reply; `None` if `stream` fails first. The bytes that were received are kept for the next call.
    ///
    /// # Errors
    /// If the reply is malformed. The position in the stream is unknown then.
    pub(super) fn next(&mut self, stream: &mut impl Read) -> Result<Option<Value>, Malformed> {
        let mut chunk = [0; CHUNK];
        while !self.is_whole()? {
            match stream.read(&mut chunk) {
                Ok(read @ 1..) => self.received.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return Ok(None),
            }
        }
        let value = redis::parse_redis_value(&self.received[..self.at]).map_err(|_| Malformed)?;
        self.received.drain(..self.at);
        self.at = 0;
        Ok(Some(value))
    }

    /// Scans the received elements. Returns true if and only if they are a whole reply.
    fn is_whole(&mut self) -> Result<bool, Malformed> {
        loop {
            let Some((kind, len)) = self.element()? else { return Ok(false) };
            self.at += len;
            if let Some(elements @ 1..) = kind {
                if self.open.len() >= MAX_DEPTH {
                    return Err(Malformed);
                }
                self.open.push(elements);
                continue;
            }
            // It may be the last element of several arrays.
            while let Some(left) = self.open.last_mut() {
                *left -= 1;
                if *left > 0 {
                    break;
                }
                self.open.pop();
            }
            if self.open.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Returns the length of the next element, and the number of elements if it is the head of an array; `None` if it is
    /// incomplete.
    fn element(&self) -> Result<Option<(Option<usize>, usize)>, Malformed> {
        let rest = &self.received[self.at..];
        let Some(kind) = rest.first() else { return Ok(None) };
        if !b"+-:$*".contains(kind) {
            return Err(Malformed);
        }
        let Some(line_len) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let (line, next) = (&rest[1..line_len], line_len + 2);
        let number = || std::str::from_utf8(line).ok().and_then(|text| text.parse::<i64>().ok()).ok_or(Malformed);
        Ok(match kind {
            b'+' | b'-' => Some((None, next)),
            b':' => number().map(|_| Some((None, next)))?,
            // A negative number of bytes or elements is null.
            _ => match (usize::try_from(number()?), kind) {
                (Err(_), _) => Some((None, next)),
                (Ok(elements), b'*') => Some((Some(elements), next)),
                (Ok(bytes), _) => {
                    let end = bytes.checked_add(next).ok_or(Malformed)?;
                    match rest.get(end..).unwrap_or_default() {
                        [b'\r', b'\n', ..] => Some((None, end + 2)),
                        [] | [b'\r'] => None,
                        _ => return Err(Malformed),
                    }
                }
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the next reply from a stream that has `bytes` and then fails.
    fn next(replies: &mut Replies, bytes: &[u8]) -> Option<Result<Value, ()>> {
        replies.next(&mut &*bytes).map_err(|Malformed| ()).transpose()
    }

    #[test]
    fn a_reply_is_the_same_however_it_is_split() {
        let reply = b"*3\r\n$2\r\na\n\r\n*2\r\n:-5\r\n*0\r\n$-1\r\n";
        for at in 1..reply.len() {
            let mut replies = Replies::default();
            assert_eq!(next(&mut replies, &reply[..at]), None, "{at}");
            let nested = Value::Array(vec![Value::Int(-5), Value::Array(vec![])]);
            let wanted = Value::Array(vec![Value::BulkString(b"a\n".to_vec()), nested, Value::Nil]);
            assert_eq!(next(&mut replies, &[&reply[at..], b"+x\r\n+y"].concat()), Some(Ok(wanted)), "{at}");
            assert_eq!(next(&mut replies, b""), Some(Ok(Value::SimpleString("x".to_owned()))));
            assert_eq!(next(&mut replies, b"\r"), None);
            assert_eq!(next(&mut replies, b"\n"), Some(Ok(Value::SimpleString("y".to_owned()))));
        }
    }

    #[test]
    fn an_invalid_byte_is_malformed_also_on_its_own() {
        for bytes in [
            "\n",
            "*1\r\n\n",
            "H",
            "%1\r\n",
            "*2\r\n$1\r\naxx",
            ":1x\r\n",
            "$ 1\r\n",
            "*\r\n",
            "$9223372036854775807\r\n",
        ] {
            let mut replies = Replies::default();
            let outcomes: Vec<_> = bytes.bytes().filter_map(|byte| next(&mut replies, &[byte])).collect();
            let is_claim = bytes.starts_with("$9");
            assert_eq!(outcomes.last(), if is_claim { None } else { Some(&Err(())) }, "{bytes:?}");
        }
    }

    #[test]
    fn arrays_are_nested_eight_deep_at_most() {
        for (depth, is_good) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false), (100_000, false)] {
            let reply = ["*1\r\n".repeat(depth), ":1\r\n".to_owned()].concat();
            assert_eq!(next(&mut Replies::default(), reply.as_bytes()).is_some_and(|read| read.is_ok()), is_good);
        }
    }
}
