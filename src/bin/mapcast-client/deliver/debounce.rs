//! `--settle`: combines changes in quick succession into one.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::time::{Duration, Instant};

use clap::Args;
use mapcast::Map;

use crate::duration::parse_nonzero;

/// How many quiet periods a change waits at most by default: 4, as in consul-template.
const DEFAULT_FACTOR: u32 = 4;

/// Options of the wait.
#[derive(Debug, Args)]
pub(crate) struct DebounceArgs {
    /// Wait until the map has not changed for this long before writing, running, restarting or signalling anything
    #[arg(long, value_name = "DURATION", env = "MAPCAST_SETTLE", value_parser = parse_nonzero)]
    settle: Option<Duration>,
    /// Wait at most this long after the first change [default: four times --settle]
    #[arg(long, value_name = "DURATION", env = "MAPCAST_SETTLE_MAX", value_parser = parse_nonzero)]
    settle_max: Option<Duration>,
}

/// How long a map is delayed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DebounceConfig {
    /// How long the map must stay unchanged; zero delivers every map at once.
    quiet: Duration,
    max_wait: Duration,
}

impl DebounceArgs {
    /// Returns how long a map is delayed.
    ///
    /// # Errors
    /// If `--settle-max` is shorter than `--settle`.
    pub(crate) fn into_config(self) -> Result<DebounceConfig, String> {
        let Some(quiet) = self.settle else { return Ok(DebounceConfig::default()) };
        let max_wait = self.settle_max.unwrap_or(quiet.saturating_mul(DEFAULT_FACTOR));
        if max_wait < quiet {
            return Err("--settle-max must not be shorter than --settle".to_owned());
        }
        Ok(DebounceConfig { quiet, max_wait })
    }
}

/// Delays a map until it has stayed unchanged for long enough.
#[derive(Debug)]
pub(super) struct Debouncer {
    config: DebounceConfig,
    /// The last delivered map.
    last: Option<Map>,
    pending: Option<Pending>,
}

/// A delayed map.
#[derive(Debug)]
struct Pending {
    map: Map,
    first_change: Instant,
    last_change: Instant,
}

impl Debouncer {
    pub(super) fn new(config: DebounceConfig) -> Self {
        Self { config, last: None, pending: None }
    }

    /// Adds a map received at `now`. Returns it if it is to be delivered at once: without a delay, or as a repeat of
    /// the last delivered map.
    pub(super) fn push(&mut self, map: Map, now: Instant) -> Option<Map> {
        if self.config.quiet.is_zero() {
            return Some(map);
        }
        match &mut self.pending {
            None if self.last.as_ref() == Some(&map) => return Some(map),
            None => self.pending = Some(Pending { map, first_change: now, last_change: now }),
            Some(pending) if pending.map == map => {}
            Some(pending) => (pending.map, pending.last_change) = (map, now),
        }
        None
    }

    /// Returns when the delayed map is due; `None` if there is none.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let pending = self.pending.as_ref()?;
        let quiet = pending.last_change.checked_add(self.config.quiet);
        quiet.into_iter().chain(pending.first_change.checked_add(self.config.max_wait)).min()
    }

    /// True if and only if a delayed map is due at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due_at().is_some_and(|due_at| due_at <= now)
    }

    /// Returns the delayed map, due or not.
    pub(super) fn take_pending(&mut self) -> Option<Map> {
        let map = self.pending.take()?.map;
        self.last = Some(map.clone());
        Some(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn map(number: i64) -> Map {
        Map::from([("n".into(), number.into())])
    }

    fn debouncer() -> Debouncer {
        Debouncer::new(DebounceConfig { quiet: SECOND, max_wait: 3 * SECOND })
    }

    #[test]
    fn a_change_waits_for_the_quiet_period_a_repeat_does_not() {
        let (mut debouncer, start) = (debouncer(), Instant::now());
        assert_eq!(debouncer.due_at(), None);
        assert_eq!(debouncer.push(map(1), start), None);
        assert_eq!(debouncer.push(map(2), start + SECOND / 2), None);
        assert_eq!(debouncer.push(map(2), start + SECOND), None);
        assert_eq!(debouncer.due_at(), Some(start + SECOND * 3 / 2));
        assert!(!debouncer.is_due(start + SECOND) && debouncer.is_due(start + 2 * SECOND));
        assert_eq!(debouncer.take_pending(), Some(map(2)));
        assert_eq!(debouncer.due_at(), None);
        assert_eq!(debouncer.push(map(2), start + 2 * SECOND), Some(map(2)));
    }

    #[test]
    fn a_map_that_keeps_changing_waits_for_the_maximum() {
        let (mut debouncer, start) = (debouncer(), Instant::now());
        for tenth in 0..40 {
            debouncer.push(map(tenth.into()), start + SECOND / 10 * tenth);
        }
        assert_eq!(debouncer.due_at(), Some(start + 3 * SECOND));
        assert_eq!(debouncer.take_pending(), Some(map(39)));
    }

    #[test]
    fn without_a_delay_every_map_is_delivered() {
        let mut debouncer = Debouncer::new(DebounceConfig::default());
        assert_eq!(debouncer.push(map(1), Instant::now()), Some(map(1)));
        assert_eq!(debouncer.due_at(), None);
    }
}
