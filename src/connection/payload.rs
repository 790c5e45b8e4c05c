//! Sending payloads that connections share.

use std::time::Instant;

use super::eviction::explain;
use super::{Connection, Error};
use crate::backlog::Payload;

/// How many bytes of small parts [`send_parts`] sends together: 16 KiB, one TLS record.
const SEND_BUFFER: usize = 16 * 1024;

/// Sends `parts` over `connection`, one after the other, as [`Connection::send`] does, with one deadline for all. They belong to `payload`,
/// which counts in the backlog while the client is slow to accept it. Copies at most [`SEND_BUFFER`] bytes at a time.
///
/// # Errors
/// As [`Connection::send`], and `Backlog` if the connection was evicted.
pub(crate) fn send_parts<'part>(
    connection: &mut Connection,
    parts: impl IntoIterator<Item = &'part [u8]>,
    payload: Option<Payload>,
) -> Result<(), Error> {
    let deadline = Instant::now().checked_add(connection.write_timeout);
    let mut pending = None;
    let mut send = |bytes: &[u8]| {
        connection.send_by(bytes, deadline, payload, &mut pending).map_err(|error| explain(error, pending.as_ref()))
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
