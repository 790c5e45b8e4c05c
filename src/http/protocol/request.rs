//! A request as it comes over the wire, read within its limits.

use std::time::{Duration, Instant};

use super::head::{Head, MAX_HEAD, parse};
use super::response::{Code, Response};
use crate::connection::{Connection, Error, RESERVE_TIMEOUT, Received};
use crate::service::CloseReason;
use crate::shutdown::Shutdown;

/// How long a whole request may take, its body too, and how long a connection may be idle between two: 10 s. nginx gives
/// 60; nothing here is worth a thread for that long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that are read at once.
const CHUNK: usize = 4096;

/// What came.
pub(crate) enum ReadOutcome<T> {
    Whole(T),
    /// No request, and nobody who waits for an answer.
    Over(CloseReason),
    /// Something that is answered, and then the connection is closed: nobody knows where the next request begins.
    Refused(Response),
}

/// Reads one request after the other from a connection.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Received, and no part of a request that was returned.
    received: Vec<u8>,
    /// When the request that is being read must be whole; when the next one must have begun.
    deadline: Option<Instant>,
    /// Nothing of the next request has come.
    is_idle: bool,
    /// How much of the body of the request that was returned last has not come yet, in bytes.
    outstanding: usize,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { received: Vec::new(), deadline: None, is_idle: true, outstanding: 0 }
    }

    /// True if and only if what was received, and is no part of a request that was returned, begins as a HEAD.
    pub(crate) fn is_head(&self) -> bool {
        self.received.trim_ascii_start().starts_with(b"HEAD ")
    }

    /// True if and only if the client has yet to send some of the last request's body.
    pub(crate) fn has_outstanding_body(&self) -> bool {
        self.outstanding > 0
    }

    /// Reads the next request up to its body.
    ///
    /// # Errors
    /// What the connection failed with.
    pub(crate) fn read_head(
        &mut self,
        connection: &mut Connection,
        stop: &Shutdown,
    ) -> Result<ReadOutcome<Head>, Error> {
        // On the reserve one deadline is for all: no time without a byte comes on top.
        let is_reserved = connection.over_limit().is_some();
        let timeout = if is_reserved { RESERVE_TIMEOUT } else { REQUEST_TIMEOUT };
        self.deadline = Instant::now().checked_add(timeout);
        self.is_idle = self.received.is_empty() && !is_reserved;
        let mut progress = Progress::default();
        loop {
            if progress.is_due(&self.received) {
                match parse(&self.received) {
                    Ok(Some((len, head))) => {
                        self.received.drain(..len);
                        self.outstanding = head.content_length.saturating_sub(self.received.len());
                        return Ok(ReadOutcome::Whole(head));
                    }
                    Ok(None) => {}
                    Err(refusal) => return Ok(ReadOutcome::Refused(refusal)),
                }
            }
            match self.receive(connection, stop)? {
                Received::Bytes(_) => {}
                Received::Eof => return Ok(ReadOutcome::Over(CloseReason::Client)),
                Received::Stopping => return Ok(ReadOutcome::Over(CloseReason::Stopping)),
                // An idle connection has asked nothing.
                Received::TimedOut if self.received.is_empty() => return Ok(ReadOutcome::Over(CloseReason::Done)),
                Received::TimedOut => return Ok(ReadOutcome::Refused(too_late(timeout))),
            }
        }
    }

    /// Reads the body of the request whose head was read last. The buffer grows as bytes come, never to what was claimed.
    ///
    /// # Errors
    /// What the connection failed with.
    pub(crate) fn read_body(
        &mut self,
        len: usize,
        connection: &mut Connection,
        stop: &Shutdown,
    ) -> Result<ReadOutcome<Vec<u8>>, Error> {
        while self.received.len() < len {
            match self.receive(connection, stop)? {
                Received::Bytes(_) => {}
                Received::Eof => return Ok(ReadOutcome::Over(CloseReason::Client)),
                Received::Stopping => return Ok(ReadOutcome::Over(CloseReason::Stopping)),
                Received::TimedOut => return Ok(ReadOutcome::Refused(too_late(REQUEST_TIMEOUT))),
            }
        }
        self.outstanding = 0;
        let behind = self.received.split_off(len);
        Ok(ReadOutcome::Whole(std::mem::replace(&mut self.received, behind)))
    }

    fn receive(&mut self, connection: &mut Connection, stop: &Shutdown) -> Result<Received, Error> {
        let mut chunk = [0; CHUNK];
        let received = connection.receive_by(&mut chunk, stop, self.deadline)?;
        if let Received::Bytes(read) = received {
            if self.is_idle {
                self.is_idle = false;
                self.deadline = Instant::now().checked_add(REQUEST_TIMEOUT);
            }
            self.received.extend_from_slice(&chunk[..read]);
        }
        Ok(received)
    }
}

/// How far a head has been looked at. One that comes byte by byte is not parsed with each of them, which would take time
/// quadratic in its length.
#[derive(Debug, Default)]
struct Progress {
    parsed: usize,
    searched: usize,
}

impl Progress {
    /// True if and only if `received` is to be parsed: it may be whole, it is as long as a head may be, or it has twice as
    /// many bytes as when it was last parsed, in which something may be wrong.
    fn is_due(&mut self, received: &[u8]) -> bool {
        let mut new = self.searched..received.len();
        self.searched = received.len();
        let is_whole = new.any(|at| received[at] == b'\n' && is_behind_a_line(&received[..at]));
        let is_due = is_whole || received.len() >= MAX_HEAD || received.len() >= 2 * self.parsed;
        if is_due {
            self.parsed = received.len();
        }
        is_due
    }
}

/// True if and only if a line feed behind `head` makes an empty line that ends it: the line before is not empty, as those
/// that may stand before a request are.
fn is_behind_a_line(head: &[u8]) -> bool {
    let without_return = |bytes: &'_ [u8]| bytes.len() - usize::from(bytes.ends_with(b"\r"));
    let head = &head[..without_return(head)];
    let Some((b'\n', line)) = head.split_last() else { return false };
    line[..without_return(line)].last().is_some_and(|last| *last != b'\n')
}

fn too_late(timeout: Duration) -> Response {
    let why = format!("the whole request has to come within {} s", timeout.as_secs());
    Response::refusal(Code::RequestTimeout, &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_comes_byte_by_byte_is_whole_with_its_last_one_and_parsed_seldom() {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(16_000));
        let blank = "\r\n".repeat(4000) + "GET / HTTP/1.0\r\n\r\n";
        for head in [head.as_str(), &head.replace('\r', ""), "GET / HTTP/1.0\r\n\r\n", &blank] {
            let mut progress = Progress::default();
            let due: Vec<usize> = (0..=head.len()).filter(|&len| progress.is_due(&head.as_bytes()[..len])).collect();
            assert_eq!(due.last(), Some(&head.len()));
            assert!(due.len() < 18, "{due:?}");
        }
    }

    #[test]
    fn what_begins_as_a_head_is_known_though_it_is_no_request() {
        for (received, is_head) in [
            ("HEAD / HTTP/1.1\r\n\r\n", true),
            ("\r\nHEAD \0", true),
            ("HEADER / HTTP/1.1", false),
            ("GET HEAD ", false),
        ] {
            let requests = Requests { received: received.into(), ..Requests::new() };
            assert_eq!(requests.is_head(), is_head, "{received:?}");
        }
    }
}
