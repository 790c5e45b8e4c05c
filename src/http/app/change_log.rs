//! The log lines for what was refused, changes and connections above a limit: at most one a second of each kind, however much
//! is asked for.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use log::Level;

use crate::display::throttle::{LOG_PERIOD, Throttle, more};
use crate::service::counted;

/// What has been logged of what was refused.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    /// Each guards when a line of its kind was last logged; never held while one is.
    refused: Mutex<Throttle>,
    failed: Mutex<Throttle>,
    /// Connections above a limit, and which one it was last.
    over_limit: Mutex<(Throttle, String)>,
}

impl Default for ChangeLog {
    fn default() -> Self {
        let throttle = || Mutex::new(Throttle::new(LOG_PERIOD));
        let over_limit = Mutex::new((Throttle::new(LOG_PERIOD), String::new()));
        Self { refused: throttle(), failed: throttle(), over_limit }
    }
}

impl ChangeLog {
    /// Logs that `peer` may not write, and why.
    pub(crate) fn refused(&self, level: Level, peer: SocketAddr, why: &dyn Display) {
        if let Some(held) = with(&self.refused, Throttle::pass) {
            log::log!(level, "writing refused to {peer}: {why}{}", more(held));
        }
    }

    /// Logs that a change that may be made could not be, and why.
    pub(crate) fn failed(&self, why: &dyn Display) {
        if let Some(held) = with(&self.failed, Throttle::pass) {
            log::error!("the map was not changed: {why}{}", more(held));
        }
    }

    /// Logs that the request of `peer` was refused because its connection is above a limit: `why`.
    pub(crate) fn over_limit(&self, peer: SocketAddr, why: &str) {
        let mut over_limit = self.over_limit.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = over_limit.0.pass();
        why.clone_into(&mut over_limit.1);
        drop(over_limit);
        if let Some(held) = passed {
            log::warn!("http client {peer} refused: {why}{}", more(held));
        }
    }

    /// Logs how many lines were held back, when the second is over and no other line has come; at the end, all.
    pub(crate) fn log_held(&self, is_end: bool) {
        if let Some(held) = with(&self.refused, |throttle| throttle.release(is_end)) {
            log::warn!("writing refused: {held} more like this");
        }
        if let Some(held) = with(&self.failed, |throttle| throttle.release(is_end)) {
            log::error!("the map was not changed: {held} more like this");
        }
        let mut over_limit = self.over_limit.lock().unwrap_or_else(PoisonError::into_inner);
        let released = over_limit.0.release(is_end).map(|held| (held, over_limit.1.clone()));
        drop(over_limit);
        if let Some((held, why)) = released {
            log::warn!("{} refused: {why}", counted(held, "more http client"));
        }
    }
}

fn with<T>(throttle: &Mutex<Throttle>, ask: impl FnOnce(&mut Throttle) -> T) -> T {
    ask(&mut throttle.lock().unwrap_or_else(PoisonError::into_inner))
}
