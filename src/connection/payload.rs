//! Payloads that connections share, and what becomes of a connection whose client is too slow to take one.

use std::net::Shutdown as Direction;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::{ClientSender, Connection, Error};
use crate::backlog::{Disconnect, Payload, Pending};

/// Bytes of small parts that [`Connection::send_parts`] sends together: one record of TLS.
const BUFFER: usize = 16 * 1024;

impl Disconnect for ClientSender {
    fn disconnect(&self) {
        // It fails only if the peer has gone, which wakes the thread as well.
        let _ = self.socket().tcp().shutdown(Direction::Both);
    }
}

impl Connection {
    /// As [`send`](Self::send), for `parts` one after the other, by one deadline for all of them. They are parts of
    /// `payload`, which counts in the backlog while the client is slow to take it. No copy of more than [`BUFFER`] bytes is
    /// made.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `Backlog` if the client was too slow to keep the payload for.
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
            if buffer.len() + part.len() > BUFFER {
                // A full buffer is a full segment, or record, of which the rest of the part needs no copy.
                let (head, rest) = part.split_at(BUFFER - buffer.len());
                buffer.extend_from_slice(head);
                // Not kept while the rest waits.
                send(&std::mem::take(&mut buffer))?;
                part = rest;
            }
            if part.len() > BUFFER {
                send(part)?;
            } else {
                buffer.extend_from_slice(part);
            }
        }
        send(&buffer)
    }

    /// Counts the connection in the backlog, as it has to wait for its client to take `payload`.
    pub(super) fn enter_backlog(&self, payload: Payload) -> Option<Pending> {
        let sender: Weak<dyn Disconnect> = Arc::downgrade(&self.sender) as _;
        self.backlog.as_ref().map(|backlog| backlog.enter(payload, sender))
    }
}

/// Returns why a connection has failed: `error`, unless it was cut because of the backlog, which looks like a broken socket.
pub(super) fn explain(error: Error, pending: Option<&Pending>) -> Error {
    if pending.is_some_and(Pending::is_evicted) { Error::Backlog } else { error }
}
