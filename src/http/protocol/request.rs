//! Reading requests from a connection, within limits of size and time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::head::{Head, MAX_HEAD, parse};
use super::response::{Code, Response};
use crate::connection::{Connection, Error, OverLimit, RESERVE_TIMEOUT, Received};
use crate::service::CloseReason;
use crate::shutdown::Shutdown;

/// The longest time for a request with its body, and for an idle connection between two requests: 10 s. The default of nginx
/// is 60 s; no request here is worth a thread for that long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes per read.
const CHUNK: usize = 4096;

/// The head of a request, and what the handler needs to know about its connection.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) peer: SocketAddr,
    /// The connection uses TLS.
    pub(crate) is_encrypted: bool,
    /// The limit that the connection exceeds.
    pub(crate) over_limit: Option<OverLimit>,
}

/// The result of reading a head.
pub(crate) enum ReadOutcome {
    Request(Request),
    /// The connection ended without another request.
    Closed(CloseReason),
    /// Send this response, then close: the start of the next request is unknown.
    Refused(Response),
}

/// Why a body was not read.
pub(crate) enum BodyError {
    /// Send this response, then close.
    Refused(Response),
    /// The connection ended: there is nothing to send.
    Closed(CloseReason),
    /// The connection failed.
    Failed(Error),
}

/// Reads the requests of one connection, one after the other.
#[derive(Debug)]
pub(crate) struct RequestReader {
    /// Bytes that belong to no request that was returned.
    received: Vec<u8>,
    /// When the current request must be complete, or the next one must have begun.
    deadline: Option<Instant>,
    /// No byte of the next request has arrived.
    is_idle: bool,
    /// The length of the last request's body, 0 once it was read.
    unread: usize,
}

/// The body of a request. Nothing of it is read until [`read`](Self::read).
pub(crate) struct Body<'request> {
    reader: &'request mut RequestReader,
    connection: &'request mut Connection,
    stop: &'request Shutdown,
    expects_continue: bool,
}

impl RequestReader {
    pub(crate) fn new() -> Self {
        Self { received: Vec::new(), deadline: None, is_idle: true, unread: 0 }
    }

    /// True if and only if the bytes that belong to no request begin like a HEAD request.
    pub(crate) fn is_head(&self) -> bool {
        self.received.trim_ascii_start().starts_with(b"HEAD ")
    }

    /// True if and only if the last request has a body that was not read: it is where the next request should begin.
    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread > 0
    }

    /// True if and only if some of the last request's body has not arrived yet.
    pub(crate) fn has_outstanding_body(&self) -> bool {
        self.received.len() < self.unread
    }

    /// Reads the next request, up to its body.
    ///
    /// # Errors
    /// If the connection fails.
    pub(crate) fn read(&mut self, connection: &mut Connection, stop: &Shutdown) -> Result<ReadOutcome, Error> {
        // A reserved connection has one deadline for everything: idle time does not extend it.
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
                        self.unread = head.content_length;
                        return Ok(ReadOutcome::Request(Request {
                            head,
                            peer: connection.peer(),
                            is_encrypted: connection.is_encrypted(),
                            over_limit: connection.over_limit(),
                        }));
                    }
                    Ok(None) => {}
                    Err(refusal) => return Ok(ReadOutcome::Refused(refusal)),
                }
            }
            match self.receive(connection, stop)? {
                Received::Bytes(_) => {}
                Received::Eof => return Ok(ReadOutcome::Closed(CloseReason::Client)),
                Received::Stopping => return Ok(ReadOutcome::Closed(CloseReason::Stopping)),
                // An idle connection needs no response.
                Received::TimedOut if self.received.is_empty() => return Ok(ReadOutcome::Closed(CloseReason::Done)),
                Received::TimedOut => return Ok(ReadOutcome::Refused(request_timeout(timeout))),
            }
        }
    }

    /// Returns the body of the request whose `head` was read last.
    pub(crate) fn body<'request>(
        &'request mut self,
        head: &Head,
        connection: &'request mut Connection,
        stop: &'request Shutdown,
    ) -> Body<'request> {
        Body { reader: self, connection, stop, expects_continue: head.expects_continue }
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

impl Body<'_> {
    /// Reads the whole body, once. The buffer grows with the bytes that arrive, never to the length that was claimed.
    ///
    /// # Errors
    /// If the body does not arrive in time, or the connection ends or fails.
    pub(crate) fn read(&mut self) -> Result<Vec<u8>, BodyError> {
        if self.expects_continue && self.reader.has_outstanding_body() {
            self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let len = self.reader.unread;
        while self.reader.received.len() < len {
            match self.reader.receive(self.connection, self.stop)? {
                Received::Bytes(_) => {}
                Received::Eof => return Err(BodyError::Closed(CloseReason::Client)),
                Received::Stopping => return Err(BodyError::Closed(CloseReason::Stopping)),
                Received::TimedOut => return Err(BodyError::Refused(request_timeout(REQUEST_TIMEOUT))),
            }
        }
        self.reader.unread = 0;
        let rest = self.reader.received.split_off(len);
        Ok(std::mem::replace(&mut self.reader.received, rest))
    }
}

impl From<Error> for BodyError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// How much of a head has been parsed and searched. A head that arrives byte by byte is not parsed after each byte: that
/// would take time quadratic in its length.
#[derive(Debug, Default)]
struct Progress {
    parsed: usize,
    searched: usize,
}

impl Progress {
    /// True if and only if `received` should be parsed: it may be complete, it has the maximum length, or it has doubled since
    /// it was last parsed, so that an error in it is found early.
    fn is_due(&mut self, received: &[u8]) -> bool {
        let mut new = self.searched..received.len();
        self.searched = received.len();
        let may_be_complete = new.any(|at| received[at] == b'\n' && ends_head(&received[..at]));
        let is_due = may_be_complete || received.len() >= MAX_HEAD || received.len() >= 2 * self.parsed;
        if is_due {
            self.parsed = received.len();
        }
        is_due
    }
}

/// True if and only if a line feed after `received` is the empty line that ends a head. The line before must not be empty:
/// empty lines may precede a request.
fn ends_head(received: &[u8]) -> bool {
    let without_return = |bytes: &'_ [u8]| bytes.len() - usize::from(bytes.ends_with(b"\r"));
    let received = &received[..without_return(received)];
    let Some((b'\n', line)) = received.split_last() else { return false };
    line[..without_return(line)].last().is_some_and(|last| *last != b'\n')
}

fn request_timeout(timeout: Duration) -> Response {
    let message = format!("the request was not complete within {} s", timeout.as_secs());
    Response::error(Code::RequestTimeout, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_arrives_byte_by_byte_is_parsed_seldom() {
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
    fn a_malformed_head_request_is_recognized() {
        for (received, is_head) in [
            ("HEAD / HTTP/1.1\r\n\r\n", true),
            ("\r\nHEAD \0", true),
            ("HEADER / HTTP/1.1", false),
            ("GET HEAD ", false),
        ] {
            let reader = RequestReader { received: received.into(), ..RequestReader::new() };
            assert_eq!(reader.is_head(), is_head, "{received:?}");
        }
    }
}
