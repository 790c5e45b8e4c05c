//! The maps to deliver, from the server or the cache.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use log::warn;
use mapcast::client::{Error, Follower};
use mapcast::{Map, display::units};

use super::cache::{Cache, Cached};
use super::debounce::{DebounceConfig, Debouncer};
use super::log_once::LogOnce;
use crate::exit;
use crate::selection::{MissingKey, Selection};

/// How long to wait for the first map before the cached one is delivered: a lost SYN is repeated after 1 s and after 3
/// s (RFC 6298), and a server sends its map at once.
const FIRST_MAP: Duration = Duration::from_secs(5);

/// How long maps are delivered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The number of maps; `None` is no limit.
    pub(crate) count: Option<u64>,
    /// `None` never comes.
    pub(crate) deadline: Option<Instant>,
    /// Whether the follower reconnects. If not, the end of the connection is the end.
    pub(crate) reconnects: bool,
}

/// The maps of a server, or of the cache until the server has sent one.
pub(super) struct MapStream<'f> {
    follower: &'f mut Follower,
    selection: &'f Selection,
    debouncer: Debouncer,
    cache: Option<Cache>,
    /// The cached map, and when to deliver it if the server has sent none.
    cached: Option<(Cached, Option<Instant>)>,
    /// The newest map with all of its entries, for the cache: the next client may request others.
    whole: Option<Map>,
    limits: Limits,
    /// Whether a map has been received.
    any: bool,
    /// The number of delivered maps.
    delivered: u64,
    failure: LogOnce,
}

impl<'f> MapStream<'f> {
    pub(super) fn new(
        follower: &'f mut Follower,
        selection: &'f Selection,
        settle: DebounceConfig,
        cache: Option<PathBuf>,
        limits: Limits,
    ) -> Self {
        let mut cache = cache.map(Cache::new);
        let cached = cache.as_mut().and_then(Cache::load).and_then(|cached| {
            let picked = selection.pick(cached.map).inspect_err(|missing| warn!("the cache cannot be used: {missing}"));
            Some((Cached { map: picked.ok()?, ..cached }, Instant::now().checked_add(FIRST_MAP)))
        });
        if cached.is_some() {
            // One failed attempt is enough to use the cache; the follower keeps trying meanwhile.
            follower.set_wait(Duration::ZERO);
        }
        let debouncer = Debouncer::new(settle);
        let (any, delivered, failure) = (false, 0, LogOnce::default());
        Self { follower, selection, debouncer, cache, cached, whole: None, limits, any, delivered, failure }
    }

    /// Calls `deliver_to` with each map until `count` are delivered or the server closes the last connection.
    /// `deliver_to` returns false if and only if the map does not count. Returns whether a map has been received.
    ///
    /// # Errors
    /// The error that ended the follower. Without a count, an error in a map after the first one is logged instead.
    pub(super) fn for_each(&mut self, mut deliver_to: impl FnMut(&Map) -> bool) -> (bool, anyhow::Result<()>) {
        let outcome = loop {
            if self.limits.count.is_some_and(|count| self.delivered >= count) {
                break Ok(());
            }
            if self.debouncer.is_due(Instant::now()) {
                self.deliver_pending(&mut deliver_to);
                continue;
            }
            let wake = self.debouncer.due_at().into_iter().chain(self.cached.as_ref().and_then(|(_, due)| *due)).min();
            self.follower.set_deadline(wake.into_iter().chain(self.limits.deadline).min());
            match self.follower.next_map() {
                Ok(Some(map)) => match self.take(map, &mut deliver_to) {
                    Ok(()) => {}
                    Err(missing) if self.tolerates_errors() => self.log_error(&missing.into()),
                    Err(missing) => break Err(missing.into()),
                },
                Ok(None) => {
                    self.deliver_pending(&mut deliver_to);
                    break match self.limits.count {
                        Some(count) if self.delivered < count => {
                            Err(anyhow!("the server closed the connection too early"))
                        }
                        _ => Ok(()),
                    };
                }
                Err(Error::TimedOut) if self.limits.deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                    self.deliver_cached("no map has come yet", false, &mut deliver_to);
                }
                Err(error @ (Error::Connect { .. } | Error::Tls(_))) if self.cached.is_some() => {
                    self.deliver_cached(&exit::describe(&error.into()), true, &mut deliver_to);
                }
                Err(error @ (Error::TimedOut | Error::Stopped)) => break Err(error.into()),
                Err(error) if self.tolerates_errors() => self.log_error(&error.into()),
                Err(error) => break Err(error.into()),
            }
        };
        (self.any, outcome)
    }

    /// True if and only if an error in a map is not fatal: an earlier map is in use.
    fn tolerates_errors(&self) -> bool {
        self.any && self.limits.count.is_none() && self.limits.reconnects
    }

    fn log_error(&mut self, error: &anyhow::Error) {
        self.failure.warn(format!("keeping the previous map: {}", exit::describe(error)));
    }

    fn take(&mut self, map: Map, deliver_to: &mut impl FnMut(&Map) -> bool) -> Result<(), MissingKey> {
        let whole = self.cache.is_some().then(|| map.clone());
        let picked = self.selection.pick(map)?;
        self.failure.clear();
        (self.any, self.cached, self.whole) = (true, None, whole);
        if let Some(map) = self.debouncer.push(picked, Instant::now()) {
            self.deliver(&map, deliver_to);
        }
        Ok(())
    }

    fn deliver_pending(&mut self, deliver_to: &mut impl FnMut(&Map) -> bool) {
        if let Some(map) = self.debouncer.take_pending() {
            self.deliver(&map, deliver_to);
        }
    }

    fn deliver(&mut self, map: &Map, deliver_to: &mut impl FnMut(&Map) -> bool) {
        if deliver_to(map) {
            self.delivered += 1;
            if let (Some(cache), Some(whole)) = (&mut self.cache, &self.whole) {
                cache.keep(whole);
            }
        }
    }

    /// Delivers the cached map if it is due, or if `is_refused`; logs `reason`.
    fn deliver_cached(&mut self, reason: &str, is_refused: bool, deliver_to: &mut impl FnMut(&Map) -> bool) {
        let is_due =
            |(_, due): &mut (Cached, Option<Instant>)| is_refused || due.is_some_and(|due| due <= Instant::now());
        let Some((Cached { map, age }, _)) = self.cached.take_if(is_due) else { return };
        let age = age.map_or_else(
            || "of unknown age".to_owned(),
            |age| format!("confirmed by the server {} ago", units::format_duration(Duration::from_secs(age.as_secs()))),
        );
        warn!("{reason}; starting with the map from the cache, {age}; still trying to connect");
        self.follower.set_wait(Duration::MAX);
        self.any = deliver_to(&map);
        self.delivered += u64::from(self.any);
    }
}
