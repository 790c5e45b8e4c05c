//! Sending payloads that connections share, and the eviction of a client that is too slow to accept one.

use std::net::Shutdown as Direction;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::{ClientSender, Connection, Error};
use crate::backlog::{Disconnect, Payload, Pending};

/// How many bytes of small parts [`Connection::send_parts`] sends together: 16 KiB, one TLS record.
const SEND_BUFFER: usize = 16 * 1024;

impl Disconnect for ClientSender {
    fn disconnect(&self) {
        // Fails only if the peer has disconnected, which wakes the thread as well.
        let _ = self.socket().tcp().shutdown(Direction::Both);
    }
}

impl Connection {
    /// Sends `parts` one after the other, as [`send`](Self::send) does, with one deadline for all. They belong to `payload`,
    /// which counts in the backlog while the client is slow to accept it. Copies at most [`SEND_BUFFER`] bytes at a time.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `Backlog` if the connection was evicted.
    pub(crate) fn send_parts<'part>(
        &mut self,
        parts: impl IntoIterator<Item = &'part [u8]>,
        payload: Option<Payload>,
    ) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(self.write_timeout);
        let mut pending = None;
        let mut send = |bytes: &[u8]| {
            self.send_by(bytes, deadline, payload, &mut pending).map_err(|error| explain(error, pending.as_ref()))
        };
        let mut buffer = Vec::new();
        for mut part in parts {
            if buffer.len() + part.len() > SEND_BUFFER {
                // Fills the buffer, for a full segment or record; the rest of the part needs no copy.
                let (head, rest) = part.split_at(SEND_BUFFER - buffer.len());
                buffer.extend_from_slice(head);
                // Freed while the rest waits.
                send(&std::mem::take(&mut buffer))?;
                part = rest;
            }
            if part.len() > SEND_BUFFER {
                send(part)?;
            } else {
                buffer.extend_from_slice(part);
            }
        }
        send(&buffer)
    }

    /// Counts the connection in the backlog: it waits for its client to accept `payload`.
    pub(super) fn enter_backlog(&self, payload: Payload) -> Option<Pending> {
        let sender: Weak<dyn Disconnect> = Arc::downgrade(&self.sender) as _;
        self.backlog.as_ref().map(|backlog| backlog.enter(payload, sender))
    }
}

/// Returns the cause of a failure: `Backlog` if the connection was evicted, which looks like a broken socket; otherwise
/// `error`.
pub(super) fn explain(error: Error, pending: Option<&Pending>) -> Error {
    if pending.is_some_and(Pending::is_evicted) { Error::Backlog } else { error }
}
