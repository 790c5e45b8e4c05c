//! The greeting service: sends a text without a header, then closes.

use super::{CloseReason, Service};
use crate::connection::{Connection, Error};
use crate::shutdown::Shutdown;

/// Sends a text without a header, then closes.
#[derive(Debug)]
pub struct Greet {
    text: String,
}

impl Greet {
    /// Returns the service that sends `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl Service for Greet {
    fn serve(&self, connection: &mut Connection, _stop: &Shutdown) -> Result<CloseReason, Error> {
        connection.send(self.text.as_bytes())?;
        Ok(CloseReason::Done)
    }

    fn describe(&self) -> String {
        format!("a greeting of {}", super::counted(self.text.len() as u64, "byte"))
    }
}
