//! Where a source puts its maps: a feed, with the entries of `--set` laid over every map, and a state, if they are kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::state_writer::StateWriter;
use crate::display::error_chain::ErrorChain;
use crate::feed::{self, Feed};
use crate::map::{Key, Map, Value, parse_number};
use crate::state::{self, StateFile};
use crate::stats::health::Health;
use crate::threads::Threads;

/// Where a source puts its maps. Clones share the feed, the health and the state.
#[derive(Debug, Clone)]
pub struct Sink {
    feed: Arc<Feed>,
    /// Laid over every map, in this order.
    overlay: Vec<(Key, Value)>,
    health: Arc<Health>,
    /// Has each new map kept, if they are.
    state_writer: Option<Arc<StateWriter>>,
}

/// What publishing a map came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// True if and only if the map differs from the one before.
    pub changed: bool,
    /// Entries of the map, those laid over it counted.
    pub entries: usize,
    /// The feed's version now.
    pub version: u64,
}

impl Sink {
    /// Returns a sink that lays the entries of `overlay` over every map and publishes it in `feed`. An entry replaces
    /// the value of one whose key has the same text (`1=x` that of `1` and of `"1"`), or is added with its own key.
    pub fn new(feed: Arc<Feed>, overlay: Vec<(Key, Value)>) -> Self {
        Self { feed, overlay, health: Arc::default(), state_writer: None }
    }

    /// Publishes the map that `state` has, if it has one, and from now on keeps there each new one that a source gives: for
    /// sources that may be away when the program starts. A thread of its own, one of `threads`, writes the newest; the last one is written
    /// when the last clone has gone. The overlay is not kept.
    ///
    /// # Errors
    /// `State` if the file is there and has no map, or there is no thread; `Refused` if its map cannot be sent.
    pub fn keep(&mut self, state: &StateFile, threads: &Threads) -> Result<Option<Published>, Error> {
        let refused = |source| Error::Refused { name: state.name(), source };
        let kept = state.load(self.feed.max_frame())?;
        let published = kept.map(|map| self.put(map, state.age())).transpose().map_err(refused)?;
        let started = StateWriter::start(state.clone(), threads)
            .map_err(|source| state::Error::Unkept { name: state.name(), source })?;
        self.state_writer = Some(Arc::new(started));
        Ok(published)
    }

    /// The feed that is published in.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// How the source that publishes here fares.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Lays the overlay over `map` and makes it the feed's current one.
    ///
    /// # Errors
    /// As [`Feed::publish`]: if the map cannot be encoded or is too large. The one before it stays.
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
            lay_over(&mut map, key, value);
        }
        let changed = self.feed.publish_kept(&map, age)?;
        Ok(Published { changed, entries: map.len(), version: self.feed.version() })
    }

    /// Takes note that the source has no map to give now. The one before stays.
    pub(super) fn fail(&self, error: &Error) {
        self.health.failed(error.kind(), ErrorChain(error).to_string());
    }
}

/// As in the log: `12 entries, version 3`.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.entries == 1 { "entry" } else { "entries" };
        write!(f, "{} {noun}, version {}", self.entries, self.version)
    }
}

fn lay_over(map: &mut Map, key: &Key, value: &Value) {
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
            lay_over(&mut map, key, value);
            map
        })
    }

    #[test]
    fn an_entry_replaces_the_one_whose_key_has_the_same_text() {
        for old in [Key::Int(1), Key::from("1")] {
            for set in [Key::Int(1), Key::from("1")] {
                let map = overlaid([(old.clone(), "old".into())].into(), &[(set, "new".into())]);
                assert_eq!(map, [(old.clone(), "new".into())].into());
            }
        }
    }

    #[test]
    fn an_entry_of_its_own_is_added_with_its_key() {
        let map = overlaid([("01".into(), 1.into())].into(), &[(1.into(), 2.into()), ("x".into(), 3.into())]);
        assert_eq!(map, [(1.into(), 2.into()), ("01".into(), 1.into()), ("x".into(), 3.into())].into());
    }

    #[test]
    fn the_last_entry_of_a_key_wins() {
        assert_eq!(
            overlaid(Map::new(), &[(1.into(), 1.into()), ("1".into(), 2.into())]),
            [(1.into(), 2.into())].into()
        );
    }

    #[test]
    fn the_overlay_is_laid_over_every_map() {
        let feed = Arc::new(Feed::new(Format::Json, 100));
        let sink = Sink::new(Arc::clone(&feed), vec![("on".into(), true.into())]);
        let map = |n: i64| Map::from([("n".into(), n.into()), ("on".into(), false.into())]);
        assert_eq!(sink.publish(map(1)).unwrap(), Published { changed: true, entries: 2, version: 1 });
        assert_eq!(sink.publish(map(1)).unwrap(), Published { changed: false, entries: 2, version: 1 });
        sink.publish(map(2)).unwrap();
        assert_eq!(feed.latest().unwrap().frame.payload(), br#"{"n":2,"on":true}"#);
    }

    #[test]
    fn what_is_kept_is_published_first_and_is_no_success_of_the_source() {
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
        // The overlay is laid over what is kept, and is not in it.
        let (sink, kept) = begin(&[("on".into(), false.into())]);
        assert_eq!(kept, Some(Published { changed: true, entries: 2, version: 1 }));
        let age = sink.feed().latest().unwrap().age();
        assert!(age >= Duration::from_hours(24), "since the change that was kept: {age:?}");
        assert_eq!(sink.feed().latest().unwrap().frame.payload(), br#"{"n":1,"on":false}"#);
        assert_eq!(sink.health().state(), crate::stats::health::State::default());
        assert!(!sink.publish(Map::from([("n".into(), 1.into())])).unwrap().changed);
        drop(sink);
        let small = Arc::new(Feed::new(Format::Json, 5));
        assert!(matches!(Sink::new(small, vec![]).keep(&state, &Threads::default()), Err(Error::Refused { .. })));
    }

    #[test]
    fn a_map_that_the_overlay_makes_too_large_is_refused() {
        let sink = Sink::new(Arc::new(Feed::new(Format::Json, 20)), vec![("on".into(), "x".repeat(20).into())]);
        assert!(matches!(sink.publish(Map::new()), Err(feed::Error::TooLarge { .. })));
    }
}
