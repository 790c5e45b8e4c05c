//! The destination of a source's maps: a feed, with an overlay of fixed entries, and optionally a state file.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::state_writer::StateWriter;
use crate::display::advice_suffix;
use crate::display::error_chain::ErrorChain;
use crate::display::notice::Notice;
use crate::feed::{self, Feed};
use crate::map::{Key, Map, Value, parse_number};
use crate::state::{self, StateFile};
use crate::stats::health::Health;
use crate::threads::Threads;

/// Publishes the maps of a source. Clones share the feed, the health and the state.
#[derive(Debug, Clone)]
pub struct Sink {
    feed: Arc<Feed>,
    /// Set in every map, in this order.
    overlay: Vec<(Key, Value)>,
    health: Arc<Health>,
    /// Writes each new map to the state file, if there is one.
    state_writer: Option<Arc<StateWriter>>,
    advice: fn(&Error) -> Option<String>,
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only the Redis source starts a thread"))]
    threads: Threads,
}

/// The result of publishing a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// True if and only if the map differs from the one before.
    pub changed: bool,
    /// Entries of the map, including the overlay.
    pub entries: usize,
    /// The feed's current version.
    pub version: u64,
}

impl Sink {
    /// Returns a sink that sets the entries of `overlay` in every map and publishes it in `feed`. An entry replaces the
    /// value of every key with the same text (`1=x` that of `1` and of `"1"`), or is added with its own key.
    pub fn new(feed: Arc<Feed>, overlay: Vec<(Key, Value)>) -> Self {
        let (health, threads) = (Arc::default(), Threads::default());
        Self { feed, overlay, health, state_writer: None, advice: |_| None, threads }
    }

    /// Returns the sink with `advice`, which returns the fix for an error, such as an option of the program. It is
    /// appended to the error in the log and in the health. Default: no advice.
    #[must_use]
    pub fn with_advice(self, advice: fn(&Error) -> Option<String>) -> Self {
        Self { advice, ..self }
    }

    /// Publishes the map in `state`, if there is one, and from now on writes each new map of the source there: for sources
    /// that may be unreachable when the program starts. A thread of its own, one of `threads`, writes the newest map; the last
    /// one is written when the last clone is dropped. The overlay is not written.
    ///
    /// # Errors
    /// `State` if the file exists and has no map, or the thread cannot be started; `Refused` if its map cannot be sent.
    pub fn keep(&mut self, state: &StateFile, threads: &Threads) -> Result<Option<Published>, Error> {
        let refused = |source| Error::Refused { name: state.name(), source };
        let kept = state.load(self.feed.max_frame())?;
        let published = kept.map(|map| self.put(map, state.age().unwrap_or_default())).transpose().map_err(refused)?;
        let started = StateWriter::start(state.clone(), threads)
            .map_err(|source| state::Error::Unkept { name: state.name(), source })?;
        self.state_writer = Some(Arc::new(started));
        Ok(published)
    }

    /// The feed that the maps are published in.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The health of the source that publishes here.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Sets the overlay in `map` and makes it the feed's current map.
    ///
    /// # Errors
    /// As [`Feed::publish`]: if the map cannot be encoded or is too large. The previous map stays.
    pub fn publish(&self, map: Map) -> Result<Published, feed::Error> {
        self.publish_kept(map, Duration::ZERO)
    }

    /// As [`publish`](Self::publish), for a map that an earlier server published `age` ago.
    pub(super) fn publish_kept(&self, map: Map, age: Duration) -> Result<Published, feed::Error> {
        let kept = self.state_writer.as_ref().map(|state_writer| (state_writer, map.clone()));
        let published = self.put(map, age)?;
        self.health.succeeded();
        if let Some((state_writer, map)) = kept.filter(|_| published.changed) {
            state_writer.keep(map);
        }
        Ok(published)
    }

    fn put(&self, mut map: Map, age: Duration) -> Result<Published, feed::Error> {
        for (key, value) in &self.overlay {
            set_entry(&mut map, key, value);
        }
        let changed = self.feed.publish_kept(&map, age)?;
        Ok(Published { changed, entries: map.len(), version: self.feed.version() })
    }

    /// Records a failure of the source in its health; the previous map stays. `log` receives its text, which is the error with
    /// its sources and the advice, and returns the notice of it, if it is to be logged. The problem in the health is then the
    /// one in the log.
    pub(super) fn fail(&self, error: &Error, log: impl FnOnce(&str) -> Option<Notice>) -> Option<Notice> {
        let text = ErrorChain(error).to_string() + &advice_suffix((self.advice)(error));
        let notice = log(&text);
        self.health.failed(error.kind(), text, notice.is_some());
        notice
    }

    /// Returns the sink with `threads`, in which sources register the threads that they start. Default: threads that nothing
    /// checks.
    #[must_use]
    pub fn with_threads(self, threads: &Threads) -> Self {
        Self { threads: threads.clone(), ..self }
    }

    /// Where a source registers its threads.
    #[cfg(feature = "redis")]
    pub(super) fn threads(&self) -> &Threads {
        &self.threads
    }
}

/// Displayed as `12 entries, version 3`.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.entries == 1 { "entry" } else { "entries" };
        write!(f, "{} {noun}, version {}", self.entries, self.version)
    }
}

fn set_entry(map: &mut Map, key: &Key, value: &Value) {
    let text = key.to_string();
    let number = parse_number(&text).map(Key::Int);
    let mut replaced = false;
    for same in number.into_iter().chain([Key::Text(text)]) {
        if let Some(old) = map.get_mut(&same) {
            *old = value.clone();
            replaced = true;
        }
    }
    if !replaced {
        map.insert(key.clone(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn overlaid(map: Map, overlay: &[(Key, Value)]) -> Map {
        overlay.iter().fold(map, |mut map, (key, value)| {
            set_entry(&mut map, key, value);
            map
        })
    }

    #[test]
    fn overlay_entry_replaces_keys_with_the_same_text() {
        for old in [Key::Int(1), Key::from("1")] {
            for set in [Key::Int(1), Key::from("1")] {
                let map = overlaid([(old.clone(), "old".into())].into(), &[(set, "new".into())]);
                assert_eq!(map, [(old.clone(), "new".into())].into());
            }
        }
    }

    #[test]
    fn overlay_entry_without_a_match_is_added() {
        let map = overlaid([("01".into(), 1.into())].into(), &[(1.into(), 2.into()), ("x".into(), 3.into())]);
        assert_eq!(map, [(1.into(), 2.into()), ("01".into(), 1.into()), ("x".into(), 3.into())].into());
    }

    #[test]
    fn overlay_with_a_key_twice_uses_the_last_entry() {
        assert_eq!(
            overlaid(Map::new(), &[(1.into(), 1.into()), ("1".into(), 2.into())]),
            [(1.into(), 2.into())].into()
        );
    }

    #[test]
    fn overlay_is_set_in_every_map() {
        let feed = Arc::new(Feed::new(Format::Json, 100));
        let sink = Sink::new(Arc::clone(&feed), vec![("on".into(), true.into())]);
        let map = |n: i64| Map::from([("n".into(), n.into()), ("on".into(), false.into())]);
        assert_eq!(sink.publish(map(1)).unwrap(), Published { changed: true, entries: 2, version: 1 });
        assert_eq!(sink.publish(map(1)).unwrap(), Published { changed: false, entries: 2, version: 1 });
        sink.publish(map(2)).unwrap();
        assert_eq!(feed.latest().unwrap().frame.payload(), br#"{"n":2,"on":true}"#);
    }

    #[test]
    fn kept_map_is_published_first_and_is_not_a_success() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateFile::open(directory.path().join("state")).unwrap();
        let begin = |overlay: &[(Key, Value)]| {
            let mut sink = Sink::new(Arc::new(Feed::new(Format::Json, 100)), overlay.to_vec());
            let kept = sink.keep(&state, &Threads::default()).unwrap();
            (sink, kept)
        };
        let (sink, kept) = begin(&[("on".into(), true.into())]);
        assert_eq!(kept, None);
        sink.publish(Map::from([("n".into(), 1.into())])).unwrap();
        drop(sink);
        let yesterday = std::time::SystemTime::now() - Duration::from_hours(24);
        std::fs::File::open(directory.path().join("state")).unwrap().set_modified(yesterday).unwrap();
        // The overlay is set in the kept map, and is not written with it.
        let (sink, kept) = begin(&[("on".into(), false.into())]);
        assert_eq!(kept, Some(Published { changed: true, entries: 2, version: 1 }));
        let age = sink.feed().latest().unwrap().age();
        assert!(age >= Duration::from_hours(24), "since the last change: {age:?}");
        assert_eq!(sink.feed().latest().unwrap().frame.payload(), br#"{"n":1,"on":false}"#);
        assert_eq!(sink.health().state(), crate::stats::health::State::default());
        assert!(!sink.publish(Map::from([("n".into(), 1.into())])).unwrap().changed);
        drop(sink);
        let small = Arc::new(Feed::new(Format::Json, 5));
        assert!(matches!(Sink::new(small, vec![]).keep(&state, &Threads::default()), Err(Error::Refused { .. })));
    }

    #[test]
    fn map_that_is_too_large_with_the_overlay_is_refused() {
        let sink = Sink::new(Arc::new(Feed::new(Format::Json, 20)), vec![("on".into(), "x".repeat(20).into())]);
        assert!(matches!(sink.publish(Map::new()), Err(feed::Error::TooLarge { .. })));
    }

    #[test]
    fn advice_follows_the_error_in_the_log_and_in_the_health() {
        let sink = Sink::new(Arc::new(Feed::new(Format::Json, 20)), vec![]);
        let error = Error::TooLong { name: "x.json".to_owned(), max: 20 };
        let fail = |sink: &Sink| {
            let notice = sink.fail(&error, |text| Some(Notice::warning(text.to_owned())));
            notice.map(|notice| notice.text)
        };
        assert_eq!(fail(&sink), Some(error.to_string()));
        let sink = sink.with_advice(|error| matches!(error, Error::TooLong { .. }).then(|| "raise it".to_owned()));
        let advised = Some(format!("{error}; raise it"));
        assert_eq!(fail(&sink), advised);
        assert_eq!(sink.health().state().problem, advised);
    }
}
