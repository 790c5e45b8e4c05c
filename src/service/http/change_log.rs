//! The log lines for changes that were not made: at most one a second of each kind, however many are asked for.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use log::Level;

use crate::throttle::{LOG_PERIOD, Throttle, more};

/// What has been logged of changes that were not made.
#[derive(Debug)]
pub(super) struct ChangeLog {
    /// Each guards when a line of its kind was last logged; never held while one is.
    refused: Mutex<Throttle>,
    failed: Mutex<Throttle>,
}

impl Default for ChangeLog {
    fn default() -> Self {
        let throttle = || Mutex::new(Throttle::new(LOG_PERIOD));
        Self { refused: throttle(), failed: throttle() }
    }
}

impl ChangeLog {
    /// Logs that `peer` may not write, and why.
    pub(super) fn refused(&self, level: Level, peer: SocketAddr, why: &dyn Display) {
        if let Some(held) = with(&self.refused, Throttle::pass) {
            log::log!(level, "writing refused to {peer}: {why}{}", more(held));
        }
    }

    /// Logs that a change that may be made could not be, and why.
    pub(super) fn failed(&self, why: &dyn Display) {
        if let Some(held) = with(&self.failed, Throttle::pass) {
            log::error!("the map was not changed: {why}{}", more(held));
        }
    }

    /// Logs how many lines were held back, when the second is over and no other line has come.
    pub(super) fn log_held(&self) {
        if let Some(held) = with(&self.refused, Throttle::release) {
            log::warn!("writing refused: {held} more like this");
        }
        if let Some(held) = with(&self.failed, Throttle::release) {
            log::error!("the map was not changed: {held} more like this");
        }
    }
}

fn with<T>(throttle: &Mutex<Throttle>, ask: impl FnOnce(&mut Throttle) -> T) -> T {
    ask(&mut throttle.lock().unwrap_or_else(PoisonError::into_inner))
}
