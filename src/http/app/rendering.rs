//! The map as it is shown over HTTP: in JSON, whatever the feed's format, made once a version.

use std::collections::hash_map::RandomState;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::document::{Document, Selection};
use super::filter::{Filter, Selections};
use crate::feed::Feed;
use crate::format;
use crate::map::Map;

/// One version of the map, rendered. Not kept while a peer takes a part of it: what is sent is the document or the entries,
/// each of which may be kept alone.
#[derive(Debug)]
pub(crate) struct Rendering {
    pub(crate) version: u64,
    published: Instant,
    /// How old the map was then.
    age_before: Duration,
    /// Bytes of the frame's payload, in the feed's format.
    pub(crate) bytes: usize,
    pub(crate) map: Map,
    /// The whole map, one JSON object on one line.
    pub(crate) document: Arc<Document>,
    /// The same for the same map, after a restart too; with its quotes, as the header has it.
    pub(crate) etag: String,
    selections: Selections,
    /// See [`entries`](Self::entries).
    entries: OnceLock<Arc<Box<str>>>,
}

/// Renders a feed's current map, once a version, however many ask.
#[derive(Debug)]
pub(crate) struct Renderer {
    feed: Arc<Feed>,
    hasher: RandomState,
    /// Guards what is rendered; held for one look or store, never while a version is rendered.
    state: Mutex<State>,
    /// Signals that a rendering is over.
    rendered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    newest: Option<Arc<Rendering>>,
    /// A thread renders a version: the others wait, so that it is rendered once.
    is_rendering: bool,
}

/// A rendering that a thread has begun. However it ends, another thread may begin one then.
struct Turn<'renderer>(&'renderer Renderer);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().is_rendering = false;
        self.0.rendered.notify_all();
    }
}

impl Renderer {
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self { feed, hasher: RandomState::new(), state: Mutex::default(), rendered: Condvar::new() }
    }

    /// Returns a version that is as new as the current one when this is called, or newer; `None` before the first.
    ///
    /// A thread that waits for another one's rendering takes that, though the map may have changed meanwhile. Where the map
    /// changes faster than it can be rendered, each thread would otherwise render a version of its own, one after the other,
    /// and the last of many streams would wait for all of them.
    ///
    /// # Errors
    /// If what the feed has is no map, or has no form in JSON.
    pub(crate) fn latest(&self) -> Result<Option<Arc<Rendering>>, format::Error> {
        let state = self.lock();
        // Not the frame itself: a thread that waits would keep an old one.
        let wanted = self.feed.version();
        self.at_least(wanted, state)
    }

    /// Returns version `wanted` or a newer one.
    fn at_least(&self, wanted: u64, mut state: MutexGuard<'_, State>) -> Result<Option<Arc<Rendering>>, format::Error> {
        loop {
            if let Some(rendering) = state.newest.as_ref().filter(|rendering| rendering.version >= wanted) {
                return Ok(Some(Arc::clone(rendering)));
            }
            if !state.is_rendering {
                break;
            }
            state = self.rendered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_rendering = true;
        drop(state);
        let _turn = Turn(self);
        let rendering = self.render()?;
        if let Some(rendering) = &rendering {
            self.lock().newest = Some(Arc::clone(rendering));
        }
        Ok(rendering)
    }

    fn render(&self) -> Result<Option<Arc<Rendering>>, format::Error> {
        let Some(snapshot) = self.feed.latest() else { return Ok(None) };
        let payload = snapshot.frame.payload();
        let map = self.feed.format().decode_map(payload)?;
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rendering {
    /// The time since the map changed to this one.
    pub(crate) fn age(&self) -> Duration {
        self.published.elapsed().saturating_add(self.age_before)
    }

    /// Returns the entries that `filter` names: chosen once for all who ask with an equal one, as long as those are not too
    /// many.
    pub(crate) fn select(&self, filter: &Arc<Filter>) -> Arc<Selection> {
        self.selections.select(&self.document, filter)
    }

    /// The map as a JSON list of pairs of texts: the key, and the value's JSON. For the page, which shows integers
    /// with all of their digits and tells what has changed by comparing texts.
    pub(crate) fn entries(&self) -> &Arc<Box<str>> {
        self.entries.get_or_init(|| Arc::new(self.document.pairs()))
    }
}

/// Returns a strong validator: 96 bits of SHA-256. It outlives a restart, as a version would not.
pub(crate) fn etag(content: &[u8]) -> String {
    format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(content)[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
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
    fn who_waits_for_a_rendering_keeps_no_old_map_and_has_the_newest() {
        let renderer = renderer(Format::Bincode);
        for number in 0..20 {
            let rendering = renderer.lock();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| renderer.latest().unwrap().unwrap().version);
                // Time to come to the lock; one that has not yet has the newest all the same.
                std::thread::park_timeout(Duration::from_millis(5));
                renderer.feed.publish(&Map::from([("n".into(), number.into())])).unwrap();
                drop(rendering);
                assert_eq!(waiting.join().unwrap(), renderer.feed.version());
            });
        }
    }

    #[test]
    fn a_thread_that_waits_for_a_rendering_takes_it_though_the_map_has_changed_since() {
        let renderer = renderer(Format::Bincode);
        renderer.lock().is_rendering = true;
        let turn = Turn(&renderer);
        let first = renderer.render().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| renderer.at_least(1, renderer.lock()).unwrap().unwrap().version);
            renderer.feed.publish(&Map::new()).unwrap();
            renderer.lock().newest = first;
            drop(turn);
            assert_eq!(waiting.join().unwrap(), 1);
        });
        assert_eq!(renderer.latest().unwrap().unwrap().version, 2);
    }

    #[test]
    fn a_rendering_that_fails_or_panics_lets_the_next_thread_render() {
        let renderer = renderer(Format::Bincode);
        renderer.lock().is_rendering = true;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = Turn(&renderer);
            panic!("as a fault of ours would");
        }));
        assert!(panicked.is_err() && renderer.latest().unwrap().is_some());
        renderer.feed.publish_typed(&7u32).unwrap();
        assert!(renderer.latest().is_err() && renderer.latest().is_err());
        renderer.feed.publish(&Map::new()).unwrap();
        assert_eq!(renderer.latest().unwrap().unwrap().version, 3);
    }

    #[test]
    fn the_entries_are_pairs_of_texts() {
        let feed = Arc::new(Feed::new(Format::Bincode, 1000));
        let value = crate::map::Value::from(i64::MAX);
        feed.publish(&Map::from([("<b>".into(), value), (1.into(), "\"".into())])).unwrap();
        let rendering = Renderer::new(feed).latest().unwrap().unwrap();
        assert_eq!(***rendering.entries(), *r#"[["1","\"\\\"\""],["<b>","9223372036854775807"]]"#);
    }

    #[test]
    fn a_value_that_is_no_map_is_told() {
        let feed = Arc::new(Feed::new(Format::Bincode, 1000));
        feed.publish_typed(&7u32).unwrap();
        assert!(Renderer::new(feed).latest().is_err());
    }
}
