//! `--settle`: changes that follow each other closely are handed on as one.
#![allow(clippy::doc_markdown, reason = "the options' comments are the help text, which has no backticks")]

use std::time::{Duration, Instant};

use clap::Args;
use mapcast::Map;

use crate::duration::parse_nonzero;

/// How many times as long as a calm a change waits at most, unless told otherwise: as consul-template has it.
const MOST: u32 = 4;

/// The options of the wait.
#[derive(Debug, Args)]
pub(crate) struct SettleArgs {
    /// Wait until the map has not changed for this long before anything is written, run, restarted or signalled
    #[arg(long, value_name = "DURATION", env = "MAPCAST_SETTLE", value_parser = parse_nonzero)]
    settle: Option<Duration>,
    /// Wait at most this long after the first change [default: four times --settle]
    #[arg(long, value_name = "DURATION", env = "MAPCAST_SETTLE_MAX", value_parser = parse_nonzero)]
    settle_max: Option<Duration>,
}

/// How long the map has to be stable.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SettleConfig {
    /// Zero hands every map on at once.
    calm: Duration,
    most: Duration,
}

impl SettleArgs {
    /// Returns how long the map has to be stable.
    ///
    /// # Errors
    /// If it could never be that long.
    pub(crate) fn into_config(self) -> Result<SettleConfig, String> {
        let Some(calm) = self.settle else { return Ok(SettleConfig::default()) };
        let most = self.settle_max.unwrap_or(calm.saturating_mul(MOST));
        if most < calm {
            return Err("--settle-max is shorter than --settle, which could then never be over".to_owned());
        }
        Ok(SettleConfig { calm, most })
    }
}

/// Holds a map back until it is stable.
#[derive(Debug)]
pub(super) struct Settle {
    config: SettleConfig,
    /// The last map that was handed on.
    last: Option<Map>,
    waiting: Option<Waiting>,
}

/// A map that is held back.
#[derive(Debug)]
struct Waiting {
    map: Map,
    first_change: Instant,
    last_change: Instant,
}

impl Settle {
    pub(super) fn new(config: SettleConfig) -> Self {
        Self { config, last: None, waiting: None }
    }

    /// Takes a map that came at `now`. Returns it if it is to be handed on at once: without a wait, and as a repeat of the
    /// one that was handed on last.
    pub(super) fn take(&mut self, map: Map, now: Instant) -> Option<Map> {
        if self.config.calm.is_zero() {
            return Some(map);
        }
        match &mut self.waiting {
            None if self.last.as_ref() == Some(&map) => return Some(map),
            None => self.waiting = Some(Waiting { map, first_change: now, last_change: now }),
            Some(waiting) if waiting.map == map => {}
            Some(waiting) => (waiting.map, waiting.last_change) = (map, now),
        }
        None
    }

    /// Returns when the map that is held back is to be handed on; `None` if none is.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.waiting.as_ref()?;
        let calm = waiting.last_change.checked_add(self.config.calm);
        calm.into_iter().chain(waiting.first_change.checked_add(self.config.most)).min()
    }

    /// True if and only if a map is to be handed on at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// Returns the map that is held back, due or not.
    pub(super) fn hand_on(&mut self) -> Option<Map> {
        let map = self.waiting.take()?.map;
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

    fn settle() -> Settle {
        Settle::new(SettleConfig { calm: SECOND, most: 3 * SECOND })
    }

    #[test]
    fn a_change_waits_for_the_calm_after_the_last_one_and_not_for_a_repeat() {
        let (mut settle, start) = (settle(), Instant::now());
        assert_eq!(settle.due(), None);
        assert_eq!(settle.take(map(1), start), None);
        assert_eq!(settle.take(map(2), start + SECOND / 2), None);
        assert_eq!(settle.take(map(2), start + SECOND), None);
        assert_eq!(settle.due(), Some(start + SECOND * 3 / 2));
        assert!(!settle.is_due(start + SECOND) && settle.is_due(start + 2 * SECOND));
        assert_eq!(settle.hand_on(), Some(map(2)));
        assert_eq!(settle.due(), None);
        assert_eq!(settle.take(map(2), start + 2 * SECOND), Some(map(2)));
    }

    #[test]
    fn a_map_that_never_rests_waits_no_longer_than_the_most() {
        let (mut settle, start) = (settle(), Instant::now());
        for tenth in 0..40 {
            settle.take(map(tenth.into()), start + SECOND / 10 * tenth);
        }
        assert_eq!(settle.due(), Some(start + 3 * SECOND));
        assert_eq!(settle.hand_on(), Some(map(39)));
    }

    #[test]
    fn without_a_wait_every_map_is_handed_on() {
        let mut settle = Settle::new(SettleConfig::default());
        assert_eq!(settle.take(map(1), Instant::now()), Some(map(1)));
        assert_eq!(settle.due(), None);
    }
}
