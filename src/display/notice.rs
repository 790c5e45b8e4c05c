//! A log line that is written later.

use log::Level;

/// A line for the log. Returned instead of written, so that tests see it and no lock is held while it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) level: Level,
    pub(crate) text: String,
}

impl Notice {
    pub(crate) fn info(text: String) -> Self {
        Self { level: Level::Info, text }
    }

    pub(crate) fn warning(text: String) -> Self {
        Self { level: Level::Warn, text }
    }

    pub(crate) fn log(&self) {
        log::log!(self.level, "{}", self.text);
    }
}
