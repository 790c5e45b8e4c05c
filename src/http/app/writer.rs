//! Makes the changes of the map: PUT, PATCH and DELETE.
//!
//! A change is permitted, read, decoded, applied, kept in the state, and then published. Changes are made one after the other,
//! so that none is lost.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::change_result::{ChangeResult, Error};
use super::changes::{Change, ChangeKind};
use super::rendering::Renderer;
use super::reply::Reply;
use super::request_log::RefusalLog;
use super::token::{TokenFile, TokenReader};
use crate::backlog::Reservation;
use crate::display::error_chain::ErrorChain;
use crate::feed::{Feed, Prepared};
use crate::http::protocol::head::BodyKind;
use crate::http::protocol::preconditions::{Preconditions, Target};
use crate::http::protocol::request::{Body, Request};
use crate::http::protocol::response::{Code, Response};
use crate::map::{self, Map};
use crate::state::StateFile;
use crate::sync::Mutex;
use crate::threads::{IoThread, Threads, Unanswered};

/// Permits and makes changes.
#[derive(Debug)]
pub(super) struct Writer {
    token: TokenReader,
    feed: Arc<Feed>,
    renderer: Arc<Renderer>,
    state: Option<StateWriter>,
    log: Arc<RefusalLog>,
    /// Held from reading the map until its successor is published, through the state's fsync: this makes changes atomic. Only
    /// other changes wait for it, at most as long as for the state.
    turn: Mutex<()>,
    /// Held while a body is decoded and its change made: a decoded map may take 32 times as much memory as the body.
    decoding: Mutex<()>,
}

/// The state file, and the thread that writes it and then publishes the map. A change whose request stopped waiting is
/// therefore either both kept and published, or neither.
#[derive(Debug)]
struct StateWriter {
    file: StateFile,
    thread: IoThread,
}

/// The longest time that a change waits for the state to be written: 10 s. On a busy disk an fsync may take seconds.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

impl Writer {
    pub(super) fn new(
        feed: Arc<Feed>,
        renderer: Arc<Renderer>,
        token: TokenFile,
        state: Option<StateFile>,
        threads: &Threads,
        log: Arc<RefusalLog>,
    ) -> Self {
        let state = state.map(|file| StateWriter::new(file, threads, WRITE_LIMIT));
        let token = TokenReader::new(token, threads);
        Self { token, feed, renderer, state, log, turn: Mutex::new(()), decoding: Mutex::new(()) }
    }

    /// Starts the threads that read the token and write the state.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub(super) fn start(&self) -> io::Result<()> {
        self.token.start()?;
        self.state.as_ref().map_or(Ok(()), |state| state.thread.start())
    }

    /// Handles a request for a change. Its body is read only if the change is permitted.
    pub(super) fn handle(&self, kind: ChangeKind, request: &Request, body: &mut Body<'_>) -> Result<Reply, Reply> {
        let reservation = self.permit(request).map_err(Response::closing)?;
        let bytes = body.read()?;
        // Not before the body has come: a slow peer must not delay the changes of others.
        let _decoding = self.decoding.lock();
        let change = kind.decode(&bytes)?;
        drop((bytes, reservation));
        let result = self.apply(change, &request.head.preconditions).map_err(|error| self.report(&error))?;
        result.log(request);
        Ok(result.to_response().into())
    }

    /// Checks the token and the announced body. Returns the reservation of the body's memory.
    fn permit(&self, request: &Request) -> Result<Reservation, Response> {
        let head = &request.head;
        // First: a peer without the token must neither reserve memory nor send a body.
        match self.token.admits(head.authorization.as_deref()) {
            Ok(true) => {}
            Ok(false) => {
                self.log.change_refused(log::Level::Warn, request.peer, &"wrong or no token");
                let message = "wrong or no token: send Authorization: Bearer TOKEN, as curl -H \"Authorization: Bearer $(cat FILE)\"";
                let refusal = Response::error(Code::Unauthorized, message);
                return Err(refusal.with("WWW-Authenticate", "Bearer realm=\"mapcast\""));
            }
            Err(error) => {
                self.log.change_refused(log::Level::Error, request.peer, &ErrorChain(&error));
                return Err(Response::error(Code::Unavailable, "the server cannot read its token file"));
            }
        }
        match head.body_kind {
            BodyKind::Complete => {}
            BodyKind::Partial => {
                // Stored as the complete content, a range would replace the rest (RFC 9110, section 14.5).
                let message =
                    "Content-Range is not supported: send the complete content, or the changed entries with PATCH";
                return Err(Response::bad_request(message));
            }
            BodyKind::Encoded => {
                let message = "Content-Encoding is not supported: send the body without it";
                return Err(Response::error(Code::UnsupportedMediaType, message));
            }
        }
        let max = self.feed.max_frame();
        if head.content_length > max {
            let message = format!("the body is larger than a frame may be: send at most {max} bytes");
            return Err(Response::error(Code::ContentTooLarge, &message));
        }
        self.feed.backlog().reserve(head.content_length).ok_or_else(|| {
            let message = "too many bodies at once: send it again later";
            Response::error(Code::Unavailable, message).with("Retry-After", "1")
        })
    }

    /// Makes `change` if the map meets `preconditions`. When this returns, the new map is kept and published.
    ///
    /// # Errors
    /// If the change was not made. A missing entry is reported before the preconditions are evaluated (RFC 9110,
    /// section 13.2.1).
    fn apply(&self, change: Change, preconditions: &Preconditions) -> Result<ChangeResult, Error> {
        let turn = self.turn.lock();
        if let Some(state) = &self.state {
            // The change of a request that stopped waiting may still complete: read the map afterwards.
            state.thread.wait_idle().map_err(Error::Busy)?;
        }
        let current = self.renderer.latest().map_err(Error::NotJson)?;
        // JSON and text have turned integer keys into strings; a change names them as integers.
        let mut map = map::number_keys(current.as_ref().map(|rendering| rendering.map.clone()).unwrap_or_default());
        if let Change::Remove(key) = &change
            && !map.contains_key(key)
        {
            return Err(Error::NoEntry);
        }
        let exists = change.entry().map_or(current.is_some(), |key| map.contains_key(key));
        preconditions.check(&Target { etag: current.as_ref().map(|rendering| rendering.etag.as_str()), exists })?;
        change.apply_to(&mut map);
        // Before the state is written: a restarted server could not publish a map that is too large.
        let prepared = self.feed.prepare(&map).map_err(Error::Unpublishable)?;
        let (changed, map) = match &self.state {
            Some(state) => state.save_and_publish(&self.feed, map, prepared.clone())?,
            None => (self.feed.publish_prepared(prepared.clone()), map),
        };
        let rendering = self.renderer.latest_after(map, prepared).map_err(Error::NotJson)?.ok_or(Error::NoEntry)?;
        // Not earlier: the response and the log must describe this change and not the next one.
        drop(turn);
        Ok(ChangeResult { changed, rendering })
    }

    /// Logs `error` if the server caused it. Returns the response.
    fn report(&self, error: &Error) -> Response {
        let response = error.to_response();
        if matches!(response.code(), Code::InternalError | Code::Unavailable) {
            self.log.change_failed(&ErrorChain(error));
        }
        response
    }
}

impl StateWriter {
    fn new(file: StateFile, threads: &Threads, limit: Duration) -> Self {
        let thread = IoThread::new(threads, "state", format!("writing {}", file.name()), limit);
        Self { file, thread }
    }

    /// Saves `map` and then publishes it as `prepared`, on the state's thread. Returns true if and only if it differs from
    /// the previous map, and the map.
    fn save_and_publish(&self, feed: &Arc<Feed>, map: Map, prepared: Prepared) -> Result<(bool, Map), Error> {
        let (feed, file, now) = (Arc::clone(feed), self.file.clone(), SystemTime::now());
        // A map that equals the current one keeps its time of change.
        let changed = now.checked_sub(feed.age_of(&prepared)).unwrap_or(now);
        let job = move || {
            file.save(&map, changed).map_err(Error::State)?;
            Ok((feed.publish_prepared(prepared), map))
        };
        self.thread.run(job).map_err(|unanswered| match unanswered {
            // The job has not begun; in all other cases it may still end, in either way.
            Unanswered::Busy { .. } | Unanswered::NoThread(_) => Error::Busy(unanswered),
            unanswered => Error::Unconfirmed(unanswered),
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::http::protocol::preconditions::{PreconditionError, Tags};
    use crate::map::{Key, Value, builtin};
    use std::fs;

    fn writer(has_state: bool) -> (tempfile::TempDir, Writer) {
        writer_in(Format::Bincode, has_state)
    }

    fn writer_in(format: Format, has_state: bool) -> (tempfile::TempDir, Writer) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("token"), "a-token-of-some-length").unwrap();
        let feed = Arc::new(Feed::new(format, 200));
        feed.publish(&builtin()).unwrap();
        let token = TokenFile::open(directory.path().join("token")).unwrap();
        let state = has_state.then(|| StateFile::open(directory.path().join("state.json")).unwrap());
        let renderer = Arc::new(Renderer::new(Arc::clone(&feed)));
        (directory, Writer::new(feed, renderer, token, state, &Threads::default(), Arc::default()))
    }

    fn patch(json: &str) -> Change {
        ChangeKind::Patch.decode(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_patch_changes_only_the_entries_in_it() {
        let (_directory, writer) = writer(false);
        let result = writer.apply(patch(r#"{"1":"Hello","2":null,"dark":true}"#), &Preconditions::default()).unwrap();
        assert!(result.changed);
        assert_eq!(result.rendering.document.json(), r#"{"1":"Hello","3":"Al","4":"Servidor","dark":true}"#);
        assert!(result.rendering.map.contains_key(&Key::Int(1)), "the key stays a number");
        assert!(!writer.apply(patch("{}"), &Preconditions::default()).unwrap().changed);
    }

    #[test]
    fn a_change_is_decoded_again_only_if_its_format_alters_maps() {
        for format in Format::ALL {
            for has_state in [false, true] {
                let (_directory, writer) = writer_in(format, has_state);
                let map = Map::from([(10.into(), "ten".into()), (Key::Int(2), Value::from("two"))]);
                let text = |map: &Map| match map.iter().find(|(key, _)| key.to_string() == "10") {
                    Some((_, Value::Text(text))) => text.as_ptr(),
                    other => panic!("{other:?}"),
                };
                let before = text(&map);
                let result = writer.apply(Change::Replace(map), &Preconditions::default()).unwrap();
                let is_exact = !matches!(format, Format::Json | Format::Text);
                assert_eq!(text(&result.rendering.map) == before, is_exact, "{format}");
                // As a restarted server renders it.
                let decoded = Renderer::new(Arc::clone(&writer.feed)).latest().unwrap().unwrap();
                assert_eq!(decoded.document.json(), result.rendering.document.json(), "{format}");
                assert_eq!((&decoded.map, &decoded.etag), (&result.rendering.map, &result.rendering.etag), "{format}");
            }
        }
    }

    #[test]
    fn a_change_with_a_failed_precondition_is_not_made() {
        let (_directory, writer) = writer(false);
        let current = Tags::parse(&writer.renderer.latest().unwrap().unwrap().etag);
        let if_match = Preconditions { if_match: current.clone(), if_none_match: None };
        let if_none_match = Preconditions { if_match: None, if_none_match: current };
        let excluded = writer.apply(patch(r#"{"a":0}"#), &if_none_match);
        assert!(matches!(excluded, Err(Error::Precondition(PreconditionError::IfNoneMatch))), "{excluded:?}");
        writer.apply(patch(r#"{"a":1}"#), &if_match).unwrap();
        let changes = [Change::Replace(Map::new()), Change::Set("a".into(), 2.into()), Change::Remove("a".into())];
        for change in [patch(r#"{"a":2}"#)].into_iter().chain(changes) {
            let outdated = writer.apply(change, &if_match).unwrap_err();
            assert_eq!(outdated.to_response().code(), Code::PreconditionFailed);
        }
        let missing = writer.apply(Change::Remove("missing".into()), &if_match);
        assert!(matches!(missing, Err(Error::NoEntry)), "{missing:?}");
        assert_eq!(writer.renderer.latest().unwrap().unwrap().map[&Key::from("a")], 1.into());
        writer.apply(patch(r#"{"a":3}"#), &if_none_match).unwrap();
    }

    #[test]
    fn an_entry_is_created_once_under_if_none_match_star() {
        let (_directory, writer) = writer(false);
        let new = Preconditions { if_match: None, if_none_match: Some(Tags::Any) };
        let existing = Preconditions { if_match: Some(Tags::Any), if_none_match: None };
        let set = |key: &str| Change::Set(map::number_key(key.into()), 1.into());
        let refused = writer.apply(set("a"), &existing);
        assert!(matches!(refused, Err(Error::Precondition(PreconditionError::IfMatch))), "{refused:?}");
        assert!(writer.apply(set("a"), &new).unwrap().changed);
        for key in ["a", "2"] {
            let refused = writer.apply(set(key), &new);
            assert!(matches!(refused, Err(Error::Precondition(PreconditionError::IfNoneMatch))), "{key}: {refused:?}");
            writer.apply(set(key), &existing).unwrap();
        }
    }

    #[test]
    fn a_map_above_the_limit_is_neither_kept_nor_published() {
        let (directory, writer) = writer(true);
        let large = patch(&format!("{{\"a\":\"{}\"}}", "x".repeat(200)));
        assert_eq!(
            writer.apply(large, &Preconditions::default()).unwrap_err().to_response().code(),
            Code::ContentTooLarge
        );
        assert!(!directory.path().join("state.json").exists());
        assert_eq!(writer.renderer.latest().unwrap().unwrap().version, 1);
    }

    #[test]
    fn a_map_that_cannot_be_kept_is_not_published() {
        let (directory, writer) = writer(true);
        fs::create_dir_all(directory.path().join("state.json/in-the-way")).unwrap();
        assert!(matches!(writer.apply(patch(r#"{"a":1}"#), &Preconditions::default()), Err(Error::State(_))));
        assert_eq!(writer.renderer.latest().unwrap().unwrap().version, 1);
    }

    #[test]
    fn an_entry_is_removed_once() {
        let (directory, writer) = writer(true);
        let remove = || Change::Remove(map::number_key("2".into()));
        assert!(writer.apply(remove(), &Preconditions::default()).unwrap().changed);
        assert!(matches!(writer.apply(remove(), &Preconditions::default()), Err(Error::NoEntry)));
        let kept = fs::read_to_string(directory.path().join("state.json")).unwrap();
        assert_eq!(kept, "{\n  \"1\": \"Hola\",\n  \"3\": \"Al\",\n  \"4\": \"Servidor\"\n}\n");
    }

    #[test]
    fn an_entry_is_set_to_any_value_including_null() {
        let (_directory, writer) = writer(false);
        let set = |key: &str, json: &str| {
            let change = ChangeKind::Set(map::number_key(key.into())).decode(json.as_bytes()).unwrap();
            writer.apply(change, &Preconditions::default()).unwrap()
        };
        let inner = Map::from([(Key::Int(2), Value::Null)]);
        assert_eq!(set("1", r#"{"2":null}"#).rendering.map[&Key::Int(1)], inner.into(), "numbers at every level");
        assert!(set("a", "[0]").changed && !set("a", " [0]\n").changed);
        let result = set("2", "null");
        assert_eq!(result.rendering.document.json(), r#"{"1":{"2":null},"2":null,"3":"Al","4":"Servidor","a":[0]}"#);
        for body in ["", "{", "1 2", "1e400", "9223372036854775808", &"[".repeat(100_000), &"[".repeat(32)] {
            assert_eq!(ChangeKind::Set("a".into()).decode(body.as_bytes()).unwrap_err().code(), Code::BadRequest);
        }
    }

    #[test]
    fn concurrent_changes_are_all_made() {
        let (_directory, writer) = writer(false);
        writer.apply(Change::Replace(Map::new()), &Preconditions::default()).unwrap();
        std::thread::scope(|scope| {
            for name in ["a", "b"] {
                let writer = &writer;
                scope.spawn(move || {
                    for number in 0..50 {
                        writer.apply(patch(&format!("{{\"{name}\":{number}}}")), &Preconditions::default()).unwrap();
                    }
                });
            }
        });
        let last = writer.renderer.latest().unwrap().unwrap();
        assert_eq!((last.document.json(), last.version), (r#"{"a":49,"b":49}"#, 102));
    }

    #[test]
    fn a_change_with_a_hung_state_is_kept_and_published_or_neither() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("token"), "a-token-of-some-length").unwrap();
        let token = TokenFile::open(directory.path().join("token")).unwrap();
        let state = StateFile::open(directory.path().join("state.json")).unwrap();
        let (feed, limit) = (Arc::new(Feed::new(Format::Bincode, 200)), Duration::from_millis(50));
        let threads = Threads::default();
        let renderer = Arc::new(Renderer::new(Arc::clone(&feed)));
        let mut writer = Writer::new(feed, renderer, token, None, &threads, Arc::default());
        writer.state = Some(StateWriter::new(state.clone(), &threads, limit));
        let write = |body: &str| {
            let change = ChangeKind::Patch.decode(body.as_bytes()).unwrap();
            writer.apply(change, &Preconditions::default())
        };
        // The limit is short: on a busy machine writing the file may take longer.
        let write_until_done = |body: &str| {
            loop {
                match write(body) {
                    Err(Error::Busy(_) | Error::Unconfirmed(_)) => std::thread::yield_now(),
                    result => break result.unwrap(),
                }
            }
        };
        write_until_done("{\"a\":1}");
        let hung = state.hang();
        let error = write("{\"b\":2}").unwrap_err();
        assert!(matches!(error, Error::Unconfirmed(_)), "{error}");
        let response = error.to_response();
        assert_eq!(response.code(), Code::Unavailable);
        assert!(matches!(write("{\"c\":3}").unwrap_err(), Error::Busy(_)));
        threads.check_after(crate::threads::STUCK_AFTER);
        threads.check_after(crate::threads::STUCK_AFTER);
        let problems = threads.problems();
        assert!(matches!(&problems[..], [problem] if !problem.restart_helps), "{problems:?}");
        drop(hung);
        let result = write_until_done("{\"d\":4}");
        assert_eq!(
            result.rendering.document.json(),
            r#"{"a":1,"b":2,"d":4}"#,
            "the next change keeps the one that timed out"
        );
        let kept: serde_json::Value =
            serde_json::from_slice(&fs::read(directory.path().join("state.json")).unwrap()).unwrap();
        assert_eq!(kept.to_string(), result.rendering.document.json());
    }
}
