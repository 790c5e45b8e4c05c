//! The log lines about requests. Of each kind of refusal, at most one line a second is logged, however many requests come.

use std::fmt::Display;
use std::net::SocketAddr;

use log::Level;

use crate::display::escape::escape_start;
use crate::display::throttle::{LOG_PERIOD, Throttle, more};
use crate::service::counted;
use crate::sync::Mutex;

/// The maximum number of characters that are logged of a path.
const MAX_LOGGED: usize = 64;

/// Returns `text`, which a peer sent, escaped and shortened for the log.
pub(super) fn loggable(text: &str) -> String {
    escape_start(text, MAX_LOGGED)
}

/// Logs refused changes, failed changes, and connections above a limit.
#[derive(Debug)]
pub(super) struct RefusalLog {
    /// Each guards the throttle of one kind of line; never held while a line is logged.
    change_refused: Mutex<Throttle>,
    change_failed: Mutex<Throttle>,
    /// With the message of the newest line.
    over_limit: Mutex<(Throttle, String)>,
}

impl Default for RefusalLog {
    fn default() -> Self {
        let throttle = || Mutex::new(Throttle::new(LOG_PERIOD));
        let over_limit = Mutex::new((Throttle::new(LOG_PERIOD), String::new()));
        Self { change_refused: throttle(), change_failed: throttle(), over_limit }
    }
}

impl RefusalLog {
    /// Logs that `peer` may not change the map.
    pub(super) fn change_refused(&self, level: Level, peer: SocketAddr, cause: &dyn Display) {
        if let Some(suppressed) = with(&self.change_refused, Throttle::pass) {
            log::log!(level, "writing refused to {peer}: {cause}{}", more(suppressed));
        }
    }

    /// Logs that a permitted change failed. It may still be kept: `cause` says whether that is known.
    pub(super) fn change_failed(&self, cause: &dyn Display) {
        if let Some(suppressed) = with(&self.change_failed, Throttle::pass) {
            log::error!("a change failed: {cause}{}", more(suppressed));
        }
    }

    /// Logs that a request of `peer` was refused because its connection exceeds a limit.
    pub(super) fn over_limit(&self, peer: SocketAddr, cause: &str) {
        let mut over_limit = self.over_limit.lock();
        let passed = over_limit.0.pass();
        // For the line about suppressed refusals, which no request accompanies.
        cause.clone_into(&mut over_limit.1);
        drop(over_limit);
        if let Some(suppressed) = passed {
            log::warn!("http client {peer} refused: {cause}{}", more(suppressed));
        }
    }

    /// Logs the number of suppressed lines of each kind once their second is over; with `is_end` at once.
    pub(super) fn log_suppressed(&self, is_end: bool) {
        if let Some(suppressed) = with(&self.change_refused, |throttle| throttle.release(is_end)) {
            log::warn!("writing refused: {suppressed} more like this");
        }
        if let Some(suppressed) = with(&self.change_failed, |throttle| throttle.release(is_end)) {
            log::error!("a change failed: {suppressed} more like this");
        }
        let mut over_limit = self.over_limit.lock();
        let released = over_limit.0.release(is_end).map(|suppressed| (suppressed, over_limit.1.clone()));
        drop(over_limit);
        if let Some((suppressed, cause)) = released {
            log::warn!("{} refused: {cause}", counted(suppressed, "more http client"));
        }
    }
}

fn with<T>(throttle: &Mutex<Throttle>, operation: impl FnOnce(&mut Throttle) -> T) -> T {
    operation(&mut throttle.lock())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_path_is_escaped_and_shortened() {
        assert_eq!(loggable("/\x1b[2J\n"), "/\\u{1b}[2J\\n");
        assert_eq!(loggable(&"x".repeat(100)), "x".repeat(MAX_LOGGED) + "...");
    }
}
