//! The map as HTTP shows it: JSON for any format of the feed, rendered once a version.

use std::collections::hash_map::RandomState;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::document::{Document, Selection};
use super::filter::Filter;
use super::selections::Selections;
use crate::display::error_chain::ErrorChain;
use crate::feed::{Feed, Prepared};
use crate::format::{self, Format};
use crate::map::Map;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// One version of the map, rendered. A response does not keep it in memory: it keeps the document or the entries, which are
/// shared separately.
#[derive(Debug)]
pub(super) struct Rendering {
    pub(super) version: u64,
    published: Instant,
    /// The map's age at that time.
    age_before: Duration,
    /// The size of the frame's payload in bytes, in the feed's format.
    pub(super) bytes: usize,
    pub(super) map: Map,
    /// The whole map, one JSON object on one line.
    pub(super) document: Arc<Document>,
    /// The header's value with its quotes. Equal for equal maps, also after a restart.
    pub(super) etag: String,
    selections: Selections,
    /// See [`entries`](Self::entries).
    entries: OnceLock<Arc<Box<str>>>,
}

/// Renders a feed's current map, once a version.
#[derive(Debug)]
pub(super) struct Renderer {
    feed: Arc<Feed>,
    hasher: RandomState,
    /// Guards the newest rendering; held for one read or store, never while a version is rendered.
    state: Mutex<State>,
    /// Notified when a rendering is finished.
    rendered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    newest: Option<Arc<Rendering>>,
    /// A thread renders a version. The others wait, so that it is rendered once.
    is_rendering: bool,
}

/// Held while a version is rendered. Dropping it, also by an error or a panic, lets the next thread render.
struct RenderingGuard<'renderer>(&'renderer Renderer);

impl Drop for RenderingGuard<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_rendering = false;
        self.0.rendered.notify_all();
    }
}

impl Renderer {
    pub(super) fn new(feed: Arc<Feed>) -> Self {
        Self { feed, hasher: RandomState::new(), state: Mutex::default(), rendered: Condvar::new() }
    }

    /// Returns the version that is current at the time of the call, or a newer one; `None` before the first.
    ///
    /// A thread that waits for a rendering uses it even if the map has changed meanwhile. Otherwise, if the map changed faster
    /// than it can be rendered, each thread would render a version of its own, one after the other, and the last of many streams
    /// would wait for all of them.
    ///
    /// # Errors
    /// If the feed's value is not a map, or JSON cannot represent it.
    pub(super) fn latest(&self) -> Result<Option<Arc<Rendering>>, format::Error> {
        let state = self.state.lock();
        // Not the frame itself: a waiting thread would keep an old one in memory.
        let wanted = self.feed.version();
        self.at_least(wanted, state, None)
    }

    /// As [`latest`](Self::latest), after `map` was published as `prepared`: if it is current, its frame is not decoded.
    ///
    /// # Errors
    /// As [`latest`](Self::latest).
    pub(super) fn latest_after(&self, map: Map, prepared: Prepared) -> Result<Option<Arc<Rendering>>, format::Error> {
        let state = self.state.lock();
        self.at_least(self.feed.version(), state, Some((map, prepared)))
    }

    /// Returns the current map; `None` if there is none or JSON cannot represent it.
    pub(super) fn shown(&self) -> Option<Arc<Rendering>> {
        self.latest().unwrap_or_else(|error| {
            log::debug!("the feed's value cannot be shown: {}", ErrorChain(&error));
            None
        })
    }

    /// Returns version `wanted` or a newer one. `published` was published last, as far as the caller knows.
    fn at_least(
        &self,
        wanted: u64,
        mut state: MutexGuard<'_, State>,
        published: Option<(Map, Prepared)>,
    ) -> Result<Option<Arc<Rendering>>, format::Error> {
        loop {
            if let Some(rendering) = state.newest.as_ref().filter(|rendering| rendering.version >= wanted) {
                return Ok(Some(Arc::clone(rendering)));
            }
            if !state.is_rendering {
                break;
            }
            state = self.rendered.wait(state);
        }
        state.is_rendering = true;
        drop(state);
        let _guard = RenderingGuard(self);
        let rendering = self.render(published)?;
        if let Some(rendering) = &rendering {
            self.state.lock().newest = Some(Arc::clone(rendering));
        }
        Ok(rendering)
    }

    fn render(&self, published: Option<(Map, Prepared)>) -> Result<Option<Arc<Rendering>>, format::Error> {
        let Some(snapshot) = self.feed.latest() else { return Ok(None) };
        let payload = snapshot.frame.payload();
        let format = self.feed.format();
        // JSON and text change some keys and values: a server that is restarted must render the same map.
        let is_exact = !matches!(format, Format::Json | Format::Text);
        let published = published.filter(|(_, prepared)| is_exact && prepared.equals(&snapshot));
        let map = published.map_or_else(|| format.decode_map(payload), |(map, _)| Ok(map))?;
        let document = Document::new(snapshot.version, &map, self.hasher.clone())?;
        let etag = etag(document.json().as_bytes());
        let rendering = Arc::new(Rendering {
            version: snapshot.version,
            published: snapshot.published,
            age_before: snapshot.age_before,
            bytes: payload.len(),
            map,
            document: Arc::new(document),
            etag,
            selections: Selections::default(),
            entries: OnceLock::new(),
        });
        Ok(Some(rendering))
    }
}

impl Rendering {
    /// Returns the time since the map changed to this version.
    pub(super) fn age(&self) -> Duration {
        self.published.elapsed().saturating_add(self.age_before)
    }

    /// Returns the entries that `filter` selects. Requests with equal filters share one selection, unless there are too many
    /// filters.
    pub(super) fn select(&self, filter: &Arc<Filter>) -> Arc<Selection> {
        self.selections.select(&self.document, filter)
    }

    /// Returns the map as a JSON list of pairs of strings: the key, and the JSON of the value. The page needs it to show all
    /// digits of integers, and finds changed entries by comparing the strings.
    pub(super) fn entries(&self) -> &Arc<Box<str>> {
        self.entries.get_or_init(|| Arc::new(self.document.pairs()))
    }
}

/// Returns a strong validator: 96 bits of SHA-256. It is stable across restarts, which a version is not.
pub(super) fn etag(content: &[u8]) -> String {
    format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(content)[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::builtin;

    fn renderer(format: Format) -> Renderer {
        let feed = Arc::new(Feed::new(format, 1000));
        feed.publish(&builtin()).unwrap();
        Renderer::new(feed)
    }

    #[test]
    fn the_json_and_its_etag_are_the_same_in_every_format() {
        let json = r#"{"1":"Hola","2":"Bienvenido","3":"Al","4":"Servidor"}"#;
        let tags: Vec<_> = Format::ALL
            .into_iter()
            .map(|format| {
                let rendering = renderer(format).latest().unwrap().unwrap();
                assert_eq!(rendering.document.json(), json);
                rendering.etag.clone()
            })
            .collect();
        assert!(tags.windows(2).all(|pair| pair[0] == pair[1]), "{tags:?}");
    }

    #[test]
    fn a_version_is_rendered_once() {
        let renderer = renderer(Format::Bincode);
        let (first, second) = (renderer.latest().unwrap().unwrap(), renderer.latest().unwrap().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        renderer.feed.publish(&Map::new()).unwrap();
        assert_eq!(renderer.latest().unwrap().unwrap().version, 2);
    }

    #[test]
    fn a_waiting_thread_keeps_no_old_map_and_gets_the_newest() {
        let renderer = renderer(Format::Bincode);
        for number in 0..20 {
            let rendering = renderer.state.lock();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| renderer.latest().unwrap().unwrap().version);
                // Time to reach the lock; a thread that is late gets the newest version anyway.
                std::thread::park_timeout(Duration::from_millis(5));
                renderer.feed.publish(&Map::from([("n".into(), number.into())])).unwrap();
                drop(rendering);
                assert_eq!(waiting.join().unwrap(), renderer.feed.version());
            });
        }
    }

    #[test]
    fn a_waiting_thread_uses_the_rendering_although_it_is_outdated() {
        let renderer = renderer(Format::Bincode);
        renderer.state.lock().is_rendering = true;
        let guard = RenderingGuard(&renderer);
        let first = renderer.render(None).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| renderer.at_least(1, renderer.state.lock(), None).unwrap().unwrap().version);
            renderer.feed.publish(&Map::new()).unwrap();
            renderer.state.lock().newest = first;
            drop(guard);
            assert_eq!(waiting.join().unwrap(), 1);
        });
        assert_eq!(renderer.latest().unwrap().unwrap().version, 2);
    }

    #[test]
    fn a_failed_rendering_lets_the_next_thread_render() {
        let renderer = renderer(Format::Bincode);
        renderer.state.lock().is_rendering = true;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = RenderingGuard(&renderer);
            panic!("in a rendering");
        }));
        assert!(panicked.is_err() && renderer.latest().unwrap().is_some());
        renderer.feed.publish_typed(&7u32).unwrap();
        assert!(renderer.latest().is_err() && renderer.latest().is_err());
        renderer.feed.publish(&Map::new()).unwrap();
        assert_eq!(renderer.latest().unwrap().unwrap().version, 3);
    }

    #[test]
    fn the_entries_are_pairs_of_strings() {
        let feed = Arc::new(Feed::new(Format::Bincode, 1000));
        let value = crate::map::Value::from(i64::MAX);
        feed.publish(&Map::from([("<b>".into(), value), (1.into(), "\"".into())])).unwrap();
        let rendering = Renderer::new(feed).latest().unwrap().unwrap();
        assert_eq!(***rendering.entries(), *r#"[["1","\"\\\"\""],["<b>","9223372036854775807"]]"#);
    }

    #[test]
    fn a_value_that_is_not_a_map_is_an_error() {
        let feed = Arc::new(Feed::new(Format::Bincode, 1000));
        feed.publish_typed(&7u32).unwrap();
        assert!(Renderer::new(feed).latest().is_err());
    }
}
