//! The echo service: sends back what it receives.

use super::{CloseReason, Service};
use crate::connection::{Connection, Error, Received};
use crate::shutdown::Shutdown;

/// The buffer of one client: 16 KiB. A stream of any length takes constant memory; 10,000 clients take 160 MB.
const BUFFER: usize = 16 * 1024;

/// Sends back everything that a client sends until it shuts down its sending side, then closes.
///
/// Reads no more input while the client does not accept the echo: the write deadline ends a client that never reads.
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
