//! The echo: everything comes back.

use super::{CloseReason, Service};
use crate::connection::{Connection, Error, Received};
use crate::shutdown::Shutdown;

/// Bytes held for one client: 16 KiB, so that a stream of any length passes in constant memory, and ten thousand
/// clients in 160 MB.
const BUFFER: usize = 16 * 1024;

/// Sends back all that a client sends, until it half-closes, then closes.
///
/// Nothing more is read while the client does not take what it has sent: one that never reads is ended by the write
/// deadline.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Echo;

impl Echo {
    /// Returns the service.
    pub fn new() -> Self {
        Self
    }
}

impl Service for Echo {
    fn serve(&self, connection: &mut Connection, stop: &Shutdown) -> Result<CloseReason, Error> {
        let mut buffer = vec![0; BUFFER];
        loop {
            match connection.receive(&mut buffer, stop)? {
                Received::Bytes(read) => connection.send(&buffer[..read])?,
                Received::Eof => return Ok(CloseReason::Client),
                Received::Stopping | Received::TimedOut => return Ok(CloseReason::Stopping),
            }
        }
    }

    fn describe(&self) -> String {
        "an echo".to_owned()
    }
}
